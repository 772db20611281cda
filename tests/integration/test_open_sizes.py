"""One artifact for many sizes, as its users meet it: C, Python and the command line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import mlcc
from tests.conftest import Mlcc
from tests.graph.open_models import MODELS

CALLER = r"""
#include <stdio.h>
#include <string.h>
#include "cut.h"

static unsigned char workspace[CUT_WORKSPACE_BYTES];
static float x[3 * 9 * 6], y[CUT_OUTPUT_Y_ELEMENTS], z[CUT_OUTPUT_Z_ELEMENTS];
static int64_t best[CUT_OUTPUT_BEST_ELEMENTS];

static int call(int32_t batch, int32_t time, int32_t *shape)
{
    const cut_inputs in = { x, batch, time };
    const cut_outputs out = { y, shape, best, NULL, z, NULL };
    return cut_run(&in, &out, workspace);
}

int main(void)
{
    int32_t shape[3] = {0, 0, 0};
    for (int k = 0; k < 3 * 9 * 6; k++) x[k] = (float)(k % 17) * 0.25f - 2.0f;
    const int fits = call(2, 5, shape);
    printf("%d %d %d %d\n", fits, shape[0], shape[1], shape[2]);
    memset(y, 0x5A, sizeof y);
    const int more = call(2, 10, NULL), less = call(0, 5, NULL), below = call(1, 1, NULL);
    const unsigned char *bytes = (const unsigned char *)y;
    int touched = 0;
    for (size_t k = 0; k < sizeof y; k++) touched += bytes[k] != 0x5A;
    printf("%d %d %d %d %d\n", more, less, below, CUT_BAD_SIZE, touched);
    return cut_selftest(workspace);
}
"""


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("open")
    onnx.save(MODELS["cut and joined"]()[0], folder / "cut.onnx")
    made = mlcc.build(folder / "cut.onnx", ["native", "c99"], {"x": ["1..3", "2..9", 6]}, folder / "dist")
    return {a["target"]: Path(a["path"]) for a in made["artifacts"]} | {"model": folder / "cut.onnx"}


def test_sizes_in_c(artifacts: dict[str, Path], tmp_path: Path) -> None:
    """Sizes in the inputs' struct, extents returned, what is not allowed refused before anything is written."""
    (tmp_path / "caller.c").write_text(CALLER)
    root = artifacts["c99"]
    line = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{root}/include", f"-I{root}/share/selftest", "-o", "caller", "caller.c"]
    big = [f"{root}/src/cut.c", f"{root}/share/selftest/selftest.c", "-lm"]
    source = CALLER.replace("[CUT_WORKSPACE_BYTES]", "[CUT_WORKSPACE_BYTES + 65536]")
    (tmp_path / "caller.c").write_text(source)
    subprocess.run([*line, *big], cwd=tmp_path, check=True)
    done = subprocess.run(["./caller"], cwd=tmp_path, capture_output=True, text=True)
    first, second = (list(map(int, row.split())) for row in done.stdout.splitlines())
    assert first == [0, 2, 1, 6]
    assert second == [7, 7, 7, 7, 0] and done.returncode == 0


def test_sizes_in_python(artifacts: dict[str, Path]) -> None:
    """Shapes follow from the arrays; one model serves all sizes, also from threads."""
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(artifacts["model"]), providers=["CPUExecutionProvider"])
    for threads in (1, 2):
        m = mlcc.load(artifacts["native"], threads=threads)
        assert m.sizes == {"batch": range(1, 4), "time": range(2, 10)}
        for batch, time in ((1, 2), (3, 9), (2, 5), (1, 9)):
            x = np.random.default_rng(time).standard_normal((batch, time, 6)).astype(np.float32)
            found, want = m(x=x), session.run(None, {"x": x})
            for o, theirs in zip(session.get_outputs(), want):
                assert found[o.name].shape == theirs.shape
                np.testing.assert_allclose(found[o.name], theirs, rtol=1e-5, atol=1e-5)
        for shape in ((1, 10, 6), (0, 5, 6), (4, 5, 6), (1, 5, 7), (5, 6)):
            with pytest.raises(mlcc.Error):
                m(x=np.zeros(shape, np.float32))


def test_sizes_on_the_command_line(artifacts: dict[str, Path], tmp_path: Path, mlcc: Mlcc) -> None:
    digests = [json.loads(mlcc("run", artifacts[t], "--dim", "time=4", "--json").stdout)["output_digest"] for t in ("native", "c99")]
    assert digests[0] == digests[1]
    np.save(tmp_path / "x.npy", np.ones((2, 7, 6), np.float32))
    assert "2x1x6" in mlcc("run", artifacts["c99"], "--input", f"x={tmp_path / 'x.npy'}").stdout
    for words, said in ((("--dim", "time=77"), "2 to 9"), (("--dim", "tide=7"), "sizes: batch, time")):
        done = mlcc("run", artifacts["native"], *words)
        assert done.returncode == 2 and said in done.stderr
    assert mlcc("verify", artifacts["native"]).returncode == 0


def test_an_axis_that_is_one_at_some_sizes_only_is_not_dropped_silently(tmp_path: Path) -> None:
    """The build for one step would have another rank."""
    ends = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, d) for n, d in (("x", ["time", 3]), ("y", None))]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Squeeze", ["x"], ["y"])], "g", ends[:1], ends[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    with pytest.raises(mlcc.Error, match="whether an axis is dropped"):
        mlcc.build(tmp_path / "m.onnx", "c99", dims={"time": "1..4"}, out=tmp_path)
    assert mlcc.build(tmp_path / "m.onnx", "c99", dims={"time": "2..4"}, out=tmp_path)["artifacts"][0]["conformance"] == "passed"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dims": {"batch": 1, "tide": "1..4"}}, "no dimension is called tide"),
        ({"shapes": {"x": ["1..3", "9..2", 6]}}, "is no size"),
        ({"shapes": {"x": ["0..3", 4, 6]}}, "is no size"),
        ({"shapes": {"x": ["1..3", "1..9", 7]}}, "do not broadcast"),
        ({"precision": "bf16", "dims": {"batch": 1, "time": "2..4"}}, "bf16 of sizes"),
        ({"target": "hls-u250", "dims": {"batch": 1, "time": "2..4"}}, "a run cannot decide sizes"),
    ],
)
def test_what_is_refused(options: dict[str, Any], said: str, artifacts: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(mlcc.Error) as e:
        mlcc.build(artifacts["model"], options.pop("target", "c99"), out=tmp_path, **options)
    assert said in str(e.value)
