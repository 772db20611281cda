"""Fixtures: real models from wheels, an own signing key for the whole run, a command that works as a user types it."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from tests.command import Server

os.environ.setdefault("MLCC_CHECK", "1")  # graphs are validated after each pass
TINY = Path(__file__).resolve().parents[2] / "shared" / "models" / "mlperf-tiny"


def pytest_configure(config: pytest.Config) -> None:
    """Every worker signs with a key of its own, never with the user's."""
    import tempfile

    from mlcc.cache.store import cache_folder

    os.environ.setdefault("ZIG_GLOBAL_CACHE_DIR", str(cache_folder() / "zig"))  # a target's C library is built once, half a minute each
    if "MLCC_TEST_KERNELS" not in os.environ:  # workers have their parent's
        os.environ["MLCC_TEST_KERNELS"] = tempfile.mkdtemp(prefix="mlcc-kernels-")
        atexit.register(shutil.rmtree, os.environ["MLCC_TEST_KERNELS"], True)
    os.environ["MLCC_CONFIG"] = tempfile.mkdtemp(prefix="config-", dir=os.environ["MLCC_TEST_KERNELS"])  # workers end without their atexit
    os.environ.pop("MLCC_SIGNING_KEY", None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long sweeps run only when asked for: -m full."""
    items.sort(key=lambda item: "slow" not in item.keywords)  # the longest first, else one worker ends long after the other
    if "full" not in (config.getoption("-m") or ""):
        skip = pytest.mark.skip(reason="a long sweep: make test-full")
        for item in items:
            if "full" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def magika() -> Path:
    return Path(str(files("magika") / "models" / "standard_v3_3" / "model.onnx"))


@pytest.fixture(scope="session")
def tiny() -> Callable[[str], Path]:
    """An MLPerf Tiny model; skips where the folder of models is not beside the project."""

    def find(name: str) -> Path:
        path = TINY / f"{name}.onnx"
        if not path.exists():
            pytest.skip(f"no {path}: the MLPerf Tiny models are not here")
        return path

    return find


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with a convolution, a pool, a normalisation and a product; no folder of models needed."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    r = np.random.default_rng(3)
    weights = {"w": r.standard_normal((8, 3, 3, 3)), "b": r.standard_normal(8), "m": r.standard_normal((8 * 4 * 4, 10)) * 0.1}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "m"], ["l"], name="dense"),
        helper.make_node("Softmax", ["l"], ["y"], name="softmax", axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


Mlcc = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def mlcc() -> Iterator[Mlcc]:
    """The command, in a process of its own."""
    server = Server()

    def call(*arguments: object, cwd: Path | None = None, memory: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        return server.run(list(map(str, arguments)), cwd, {**os.environ, **environment}, memory)

    yield call
    server.end()
