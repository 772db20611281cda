"""One C file, several compilers: strict C99 by GCC and Clang, C++, and a big-endian machine; each gives the reference's answer."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import mlcc
from mlcc.cache.store import cache_folder

ZIG = [sys.executable, "-m", "ziglang", "cc"]
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
COMPILERS = {
    "gcc": ["gcc", "-std=c99", *STRICT],
    "gcc-gnu": ["gcc", "-O3", "-march=x86-64-v3", *STRICT],  # where GCC fuses unless told otherwise
    "g++": ["g++", "-std=c++11", "-x", "c++", *STRICT],
    "clang": [*ZIG, "-std=c99", "-fno-sanitize=all", *STRICT],
    "s390x": [*ZIG, "-target", "s390x-linux-musl", "-std=c99", "-static", "-fno-sanitize=all", *STRICT],
}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convolutions of bytes and floats, a depthwise one, pooling, softmax."""
    r = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(r.standard_normal(shape).astype(np.float32), name)

    def scalar(name: str, value: float, dtype: type = np.float32) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(value, dtype), name)

    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], pads=[1, 1, 1, 1], group=6),
        helper.make_node("QuantizeLinear", ["c1", "s", "z"], ["q1"]),
        helper.make_node("DequantizeLinear", ["q1", "s", "z"], ["d1"]),
        helper.make_node("DequantizeLinear", ["w2q", "s", "z0"], ["w2"]),
        helper.make_node("Conv", ["d1", "w2"], ["c2"], pads=[0, 1, 1, 0]),
        helper.make_node("QuantizeLinear", ["c2", "s", "z"], ["q2"]),
        helper.make_node("DequantizeLinear", ["q2", "s", "z"], ["d2"]),
        helper.make_node("GlobalAveragePool", ["d2"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Softmax", ["f"], ["y"], axis=1),
    ]
    tensors = [weights("w0", 6, 3, 3, 3), weights("b0", 6), weights("w1", 6, 1, 3, 3)]
    tensors += [numpy_helper.from_array(r.integers(-50, 50, (5, 6, 2, 2)).astype(np.int8), "w2q")]
    tensors += [scalar("s", 0.05), scalar("z", -7, np.int8), scalar("z0", 0, np.int8)]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 3, 9, 11]), ("y", [1, 5])))
    folder = tmp_path_factory.mktemp("c")
    model = helper.make_model(helper.make_graph(nodes, "small", [x], [y], tensors), opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, str(folder / "small.onnx"))
    mlcc.build(folder / "small.onnx", target=["c99", "native"], out=folder / "dist")
    return folder / "dist" / "small" / "c99"


@pytest.mark.parametrize("name", sorted(COMPILERS))
def test_compiles_without_a_warning_and_agrees(name: str, artifact: Path, tmp_path: Path) -> None:
    command = COMPILERS[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here")
    environment = {
        "ZIG_GLOBAL_CACHE_DIR": str(cache_folder() / "zig"),
        "ZIG_LOCAL_CACHE_DIR": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
    }

    def run(line: list[str]) -> str:
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    include = [f"-I{artifact}/include", f"-I{artifact}/share/selftest"]
    run([*command, "-O2", *include, "-c", f"{artifact}/src/small.c", "-o", "model.o"])
    plain = [c for c in command if c not in STRICT and c not in ("-x", "c++", "-std=c++11")]
    plain = ["gcc" if c == "g++" else c for c in plain]
    run(
        [
            *plain,
            "-std=gnu11",
            *include,
            "-o",
            "test",
            "model.o",
            f"{artifact}/share/selftest/selftest.c",
            f"{artifact}/share/selftest/main.c",
            "-lm",
        ]
    )
    emulator = shutil.which("qemu-s390x-static") if name == "s390x" else ""
    if emulator is None:
        pytest.skip("no qemu-s390x-static here")
    for vector in range(3):
        digest, status = run([*([emulator] if emulator else []), "./test", "test", str(vector), "-1"]).split()
        assert status == "0", (name, vector, digest)
