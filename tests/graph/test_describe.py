"""What a model's file says of its inputs and outputs, for people."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

import mlcc
from mlcc import Error, project
from mlcc.core.describe import Description, described, parse_labels, told

V = h.make_tensor_value_info


def model(nodes: list[Any], inputs: list[Any], outputs: list[Any], known: dict[str, Any] | None = None, **notes: str) -> onnx.ModelProto:
    constants = [numpy_helper.from_array(np.asarray(a), n) for n, a in (known or {}).items()]
    made = h.make_model(h.make_graph(nodes, "g", inputs, outputs, constants), opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    h.set_model_props(made, notes)
    return made


def said(made: onnx.ModelProto) -> dict[str, Description]:
    return described(ir.from_proto(made))


QUANTISED = {
    "s": np.float32(0.5), "z": np.int8(3), "t": np.float32(0.25), "u": np.uint8(7), "w": np.ones((2, 3, 1, 1), np.float32),
}  # fmt: skip


def quantised() -> onnx.ModelProto:
    nodes = [
        h.make_node("Transpose", ["x"], ["a"], perm=[0, 3, 1, 2]),
        h.make_node("DequantizeLinear", ["a", "s", "z"], ["b"]),
        h.make_node("Conv", ["b", "w"], ["c"]),
        h.make_node("QuantizeLinear", ["c", "t", "u"], ["d"]),
        h.make_node("Transpose", ["d"], ["y"], perm=[0, 2, 3, 1]),
    ]
    return model(nodes, [V("x", T.INT8, [1, 4, 5, 3])], [V("y", T.UINT8, [1, 4, 5, 2])], QUANTISED, labels='["cat", "dog"]')


def test_scales_layouts_and_labels_are_found_behind_what_moves() -> None:
    found = said(quantised())
    assert found["x"].entry() == {"scale": 0.5, "zero_point": 3, "layout": "NHWC"}
    assert found["y"].entry() == {"scale": 0.25, "zero_point": 7, "layout": "NHWC", "labels": ["cat", "dog"]}


def test_scales_that_disagree_are_not_told() -> None:
    nodes = [h.make_node("DequantizeLinear", ["x", "s", "z"], ["a"]), h.make_node("DequantizeLinear", ["x", "t", "z"], ["b"])]
    nodes += [h.make_node("Add", ["a", "b"], ["y"])]
    assert said(model(nodes, [V("x", T.INT8, [4])], [V("y", T.FLOAT, [4])], QUANTISED)).get("x", Description()) == Description()


def test_a_scale_that_is_computed_is_not_told() -> None:
    nodes = [h.make_node("QuantizeLinear", ["x", "scale", "u"], ["y"])]
    assert "y" not in said(model(nodes, [V("x", T.FLOAT, [4]), V("scale", T.FLOAT, [])], [V("y", T.UINT8, [4])], QUANTISED))


@pytest.mark.parametrize(
    "shape, to, layout", [([1, 9, 7, 1], [-1, 1, 9, 7], "NHWC"), ([1, 9, 7, 1], [1, 1, 7, 9], ""), ([1, 9, 7, 1], [1, 9, 7, 1], "NCHW")]
)
def test_reshapes_that_stand_for_transpositions(shape: list[int], to: list[int], layout: str) -> None:
    nodes = [h.make_node("Reshape", ["x", "to"], ["a"]), h.make_node("GlobalMaxPool", ["a"], ["y"])]
    made = model(nodes, [V("x", T.FLOAT, shape)], [V("y", T.FLOAT, None)], {"to": np.array(to)})
    assert said(made).get("x", Description()).layout == layout


def test_scales_by_channel_of_an_axis() -> None:
    nodes = [h.make_node("DequantizeLinear", ["x", "s", "z"], ["y"], axis=0)]
    known = {"s": np.array([0.5, 0.25], np.float32), "z": np.array([1, 2], np.int8)}
    made = model(nodes, [V("x", T.INT8, [2, 3])], [V("y", T.FLOAT, [2, 3])], known)
    assert said(made)["x"].entry() == {"scale": [0.5, 0.25], "zero_point": [1, 2], "axis": 0}


def test_onnx_metadata_of_images() -> None:
    notes = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "Normalized_0_1"}
    nodes = [h.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2])]
    found = said(model(nodes, [V("x", T.FLOAT, [1, 3, 4, 4])], [V("y", T.FLOAT, [1, 3, 3, 3])], **notes))
    assert found["x"].entry() == {"layout": "NCHW", "channels": "BGR", "range": [0.0, 1.0]}


@pytest.mark.parametrize(
    "text, labels",
    [
        ('["a", "b"]', ("a", "b")), ("{0: 'a', 1: 'b'}", ("a", "b")), ('{"1": "b", "0": "a"}', ("a", "b")), ("a, b", ("a", "b")), ("a\nb\n", ("a", "b")),
        ("{0: 'a', 2: 'b'}", ()), ("['a', ['b']]", ()), ("[" * 10_000, ()), ("__import__('os')", ()), ("", ()),
    ],
)  # fmt: skip
def test_labels_in_all_their_ways(text: str, labels: tuple[str, ...]) -> None:
    assert parse_labels(text) == labels


def test_labels_of_a_detector() -> None:
    """As YOLO's exporter writes them: more numbers than classes."""
    made = model(
        [h.make_node("Relu", ["x"], ["y"])], [V("x", T.FLOAT, [1, 6, 50])], [V("y", T.FLOAT, [1, 6, 50])], names="{0: 'a', 1: 'b'}"
    )
    assert said(made)["y"].labels == ("a", "b")
    made = model(
        [h.make_node("Relu", ["x"], ["y"]), h.make_node("Neg", ["x"], ["z"])],
        [V("x", T.FLOAT, [2])],
        [V("y", T.FLOAT, [2]), V("z", T.FLOAT, [2])],
        names="a,b",
    )
    assert not any(d.labels for d in said(made).values())  # which of the two is not said


def test_a_project_says_what_the_file_does_not(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    text = (
        'model = "m.onnx"\ntargets = ["c99"]\n[describe.x]\nunit = "dB"\nscale = 0.125\n[describe.y]\nlabels = "labels.txt"\nrange = '
        "[0, 1]\n"
    )
    (tmp_path / "mlcc.toml").write_text(text)
    given = project.load(tmp_path / "mlcc.toml").describe
    found = told(said(quantised()), given, ["x", "y"])
    assert found["x"].entry() == {"scale": 0.125, "zero_point": 3, "layout": "NHWC", "unit": "dB"}
    assert found["y"].labels == ("cat", "dog") and found["y"].range == (0, 1)
    with pytest.raises(Error, match="names no input or output: z"):
        told({}, {"z": {}}, ["x"])
    for bad in ("range = [1]", "labels = [1]", "unit = 3", "colour = 'red'"):
        (tmp_path / "mlcc.toml").write_text(f'model = "m.onnx"\ntargets = ["c99"]\n[describe.x]\n{bad}\n')
        with pytest.raises(Error):
            project.load(tmp_path / "mlcc.toml")


USER = r"""
#include <assert.h>
#include <string.h>
#include "m.h"
int main(void) {
    static const char *const labels[M_OUTPUT_CLASSES] = M_OUTPUT_LABELS;
    static int8_t x[M_INPUT_ELEMENTS];
    static uint8_t y[M_OUTPUT_BYTES], w[M_WORKSPACE_BYTES];
    assert(M_INPUT_SCALE == 0.5f && M_INPUT_ZERO_POINT == 3 && M_OUTPUT_SCALE == 0.25f && M_OUTPUT_ZERO_POINT == 7);
    assert(!strcmp(labels[0], "c\"at?\?/") && !strcmp(labels[1], "d\303\266g"));
    const m_inputs in = {x};
    const m_outputs out = {y}, inside = {w + 8}, one = {(uint8_t *)x};
    assert(m_run(&in, &out, w) == M_OK && y[0] == 0);
    assert(m_run(&in, &inside, w) == M_OVERLAP && m_run(&in, &one, w) == M_OVERLAP);
    assert(m_run_checked(&in, &out, w, sizeof w) == M_OK && m_run_checked(&in, &out, w, sizeof w - 1) == M_WORKSPACE_TOO_SMALL);
    assert(m_run_checked(&in, &inside, w, sizeof w) == M_OVERLAP && m_run_checked(&in, &out, 0, 0) == M_NULL_POINTER);
    return 0;
}
"""


def test_header_manifest_and_readme_say_it(tmp_path: Path) -> None:
    made = quantised()
    h.set_model_props(made, {"labels": json.dumps(['c"at??/', "dög"])})
    onnx.save(made, tmp_path / "m.onnx")
    artifact = Path(mlcc.build(tmp_path / "m.onnx", target="c99", out=tmp_path / "d")["artifacts"][0]["path"])
    about = json.loads((artifact / "manifest.json").read_text())
    assert (
        about["inputs"][0]["scale"] == 0.5
        and about["inputs"][0]["layout"] == "NHWC"
        and about["outputs"][0]["labels"] == ['c"at??/', "dög"]
    )
    parts = about["memory"]
    assert parts["ram"]["workspace"] == about["workspace_bytes"] and parts["flash"]["weights"] == about["constant_bytes"]
    text = (artifact / "README.md").read_text()
    assert "| scale | 0.5 |" in text and "| zero point | 3 |" in text and "NHWC" in text and '0: c"at??/, 1: dög' in text
    (tmp_path / "t.c").write_text(USER)
    snippet = re.search(r"```c\n(.*?)```", text, re.S)
    assert snippet
    (tmp_path / "u.c").write_text(snippet[1])
    for compiler in ("gcc", "g++"):
        language = ["-x", "c++"] if compiler == "g++" else ["-std=c99"]
        line = [
            compiler,
            *language,
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wno-unused-variable",
            "-I",
            artifact / "include",
            tmp_path / "t.c",
            tmp_path / "u.c",
            *sorted(artifact.glob("src/*.c")),
        ]
        done = subprocess.run([*map(str, line), "-o", str(tmp_path / "t")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        assert subprocess.run([tmp_path / "t"]).returncode == 0


def test_misaligned_pointers_are_refused(tmp_path: Path) -> None:
    onnx.save(model([h.make_node("Relu", ["x"], ["y"])], [V("x", T.FLOAT, [4])], [V("y", T.FLOAT, [4])]), tmp_path / "m.onnx")
    artifact = Path(mlcc.build(tmp_path / "m.onnx", target="native", out=tmp_path / "d")["artifacts"][0]["path"])
    source = """#include "m.h"
    int main(void) { static float b[16]; static char w[M_WORKSPACE_BYTES];
        const m_inputs in = {(const float *)(const void *)((const char *)b + 2)}; const m_outputs out = {b + 8};
        const m_inputs good = {b}; const m_outputs bad = {(float *)(void *)((char *)(b + 8) + 1)};
        return !(m_run(&in, &out, w) == M_MISALIGNED && m_run(&good, &bad, w) == M_MISALIGNED && m_run(&good, &out, w + 1) == M_OK); }"""
    (tmp_path / "t.c").write_text(source)
    line = ["gcc", "-I", artifact / "include", tmp_path / "t.c", artifact / "lib/libm.a", "-lpthread", "-lm", "-o", tmp_path / "t"]
    subprocess.run(list(map(str, line)), check=True)
    assert subprocess.run([tmp_path / "t"]).returncode == 0
