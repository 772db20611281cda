"""CUDA without a GPU: the kernels' own source on the host in adverse orders, the library against a driver for tests, the machine code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlcc
from mlcc.cli.build import parse_shapes
from mlcc.core.graph import CoreGraph, canonical_bytes
from mlcc.error import Error
from mlcc.graph.builder import Builder, Value
from mlcc.graph.draws import draws
from mlcc.graph.freeze import golden_input
from mlcc.program.kernel import BlockDot, Dot, Nest
from mlcc.program.lower import lower
from mlcc.reference.execute import execute
from mlcc.target import load
from mlcc_backends.cuda import nvrtc
from mlcc_backends.cuda.nvrtc import compile_image
from mlcc_backends.cuda.sections import architectures_of
from mlcc_backends.cuda.tiles import TILES, WORD_TILES, tile
from tests.backends.models import small
from tests.backends.on_host import assert_exact_on_host, run_kernels, sources_of
from tests.graph.open_models import MODELS
from tests.graph.test_open_sizes import every, numbers_in
from tests.graph.test_open_sizes import graph_of as graph_at
from tests.kernels.test_attention import attention
from tests.support import assert_same_bits, graph_of, numbers

HERE = Path(__file__).parent
ARCHITECTURES = architectures_of(load("cuda"))


def product(m: int, k: int, n: int, kind: str, seed: int = 0) -> CoreGraph:
    """A product with a bias and an end, of floats or bytes."""

    def make(b: Builder, x: Value) -> Value:
        w = b.constant(numbers(seed, (k, n), "float32" if kind == "float32" else "int8"))
        if kind == "float32":
            return b("Relu", b("MatMul", x, w, b.constant(numbers(seed + 1, (n,), "float32"))))
        acc = b.many("MatMul", [x, w], zero=3)[0]
        return b("Requantize", acc, b.constant(np.float32(0.01)), to="int8", zero=3, low=-100, high=127)

    return graph_of({"x": (kind, (m, k))}, make)


def convolution(channels: int, size: int, out: int, stride: int, kind: str, seed: int) -> CoreGraph:
    window = {"strides": (stride, stride), "dilations": (1, 1), "before": (1, 1), "after": (1, 1), "group": 1}

    def make(b: Builder, x: Value) -> Value:
        w = b.constant(numbers(seed, (out, channels, 3, 3), "float32" if kind == "float32" else "int8"))
        if kind == "float32":
            return b("Relu", b.many("Conv", [x, w], **window)[0])
        return b("Requantize", b.many("Conv", [x, w], **window, zero=5)[0], b.constant(np.float32(0.01)), to=kind, zero=5, low=0, high=100)

    return graph_of({"x": (kind, (1, channels, size, size))}, make)


KINDS = st.sampled_from(["float32", "int8", "uint8"])


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 300), st.integers(1, 70), st.integers(1, 140), KINDS, st.integers(0, 99))
def test_products(m: int, k: int, n: int, kind: str, seed: int) -> None:
    assert_exact_on_host(product(m, k, n, kind, seed), {"x": numbers(seed, (m, k), kind, True)})


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 20), st.integers(3, 24), st.integers(1, 40), st.integers(1, 2), KINDS, st.integers(0, 99))
def test_convolutions(channels: int, size: int, out: int, stride: int, kind: str, seed: int) -> None:
    feed = {"x": numbers(seed, (1, channels, size, size), kind, True)}
    assert_exact_on_host(convolution(channels, size, out, stride, kind, seed), feed)


# one for each tile
SHAPES = {
    "float32": [(3000, 33, 300), (1500, 40, 300), (100, 37, 2000), (9000, 20, 30), (20000, 9, 12), (50, 30, 50), (400, 35, 256)],
    "uint8": [(3000, 33, 300), (1500, 40, 300), (100, 37, 2000), (50, 64, 2000), (9000, 20, 12), (1500, 30, 12), (20, 30, 20)],
}


@pytest.mark.parametrize("kind", ["float32", pytest.param("uint8", marks=pytest.mark.full)])
def test_every_tile_is_exact(kind: str) -> None:
    seen = set()
    for m, k, n in SHAPES[kind]:
        program = assert_exact_on_host(product(m, k, n, kind), {"x": numbers(m, (m, k), kind, True)}, (2,))
        seen |= {tile(s) for s in program.kernels.values() if isinstance(s, Dot)}
    tiles = TILES if kind == "float32" else [(t, r) for t, r in WORD_TILES if t.warps or t.rows == 8]  # the rest is for OpenCL
    assert seen == {t for t, _ in tiles}


@pytest.mark.parametrize(("shape", "axes"), [((3, 5000), (1,)), ((5000, 3), (0,)), ((70, 90, 2), (0, 1)), ((6000, 20), (1,))])
def test_reductions(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    def make(b: Builder, x: Value) -> tuple[Value, ...]:
        return tuple(b(k, x, axes=axes) for k in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"))

    assert_exact_on_host(graph_of({"x": ("float32", shape)}, make), {"x": numbers(1, shape, "float32", True)})


@pytest.mark.parametrize("rows", [24, 37])
def test_attention_in_shared_memory(rows: int) -> None:
    graph = attention((2,), rows, 128, 16, 16)
    feed = {n: numbers(i, graph.types[n].shape, "float32", True) for i, n in enumerate(graph.inputs)}
    program = assert_exact_on_host(graph, feed)
    assert any(isinstance(k, Nest) for k in program.kernels.values())


def test_the_bf16_profile() -> None:
    w = numbers(5, (70, 40), "float32", True)
    w = np.where(np.isfinite(w), w, np.float32(1))
    graph = graph_of({"x": ("float32", (9, 70))}, lambda b, x: b.many("MatMul", [x, b.constant(w)], bf16=1)[0])
    program = assert_exact_on_host(graph, {"x": numbers(6, (9, 70), "float32", True)})
    assert any(isinstance(k, BlockDot) for k in program.kernels.values())


def without(text: str, what: str, which: int) -> str:
    """The text without the n-th of something."""
    parts = text.split(what)
    return what.join(parts[: which + 1]) + parts[which + 1] + what.join(["", *parts[which + 2 :]])


@pytest.mark.parametrize("what", ["__syncthreads();", "COPY_WAIT(1);"])
def test_a_missing_barrier_shows(what: str) -> None:
    """The harness must be able to fail: without a barrier, or without waiting for a copy, some order gives other bits."""
    graph = product(300, 70, 140, "float32")
    program, feed = lower(graph), {"x": numbers(1, (300, 70), "float32")}
    expected = execute(graph, feed)["y0"]
    text = sources_of(program).files["src/test.cu"].decode()
    kernel = text[text.rindex("KERNEL(") :]
    for which in range(kernel.count(what)):
        results = []
        for order in range(4):
            try:
                found = run_kernels(program, feed, (order,), lambda t, w=which: t.replace(kernel, without(kernel, what, w)))
                results.append(canonical_bytes(found[0]["y0"]) == canonical_bytes(expected))
            except Error:  # the harness itself found it
                results.append(False)
        assert not all(results), f"{what} number {which} could go"


def test_barriers_that_not_all_threads_reach_show() -> None:
    program = lower(product(300, 70, 140, "float32"))
    with pytest.raises(Error, match="signal|exit"):
        run_kernels(
            program,
            {"x": numbers(1, (300, 70), "float32")},
            (0,),
            lambda t: t.replace("__syncthreads();", "if (threadIdx.x) __syncthreads();", 1),
        )


# the library, against a driver that runs the kernels on the host


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("cuda")
    result = mlcc.build(small(folder / "small.onnx", 8), target=["cuda", "native"], out=folder / "dist")
    return folder / "dist" / "small", result


@pytest.fixture(scope="module")
def driver(built: tuple[Path, dict], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with libcuda.so.1."""
    folder = tmp_path_factory.mktemp("driver")
    subprocess.run([*driver_line(built[0] / "cuda"), "-o", folder / "libcuda.so.1"], check=True)
    return folder


def driver_line(root: Path) -> list[Any]:
    """What compiles a driver for an artifact's kernels."""
    cc = [
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        "-shared",
        "-fPIC",
        "-O1",
        "-std=c++20",
        "-nostdinc++",
        "-fno-exceptions",
        "-fno-rtti",
        "-fno-sanitize=all",
    ]
    return [*cc, "-ffp-contract=off", "-mcpu=native", f"-I{root}/share/selftest", HERE / "cuda_driver.cpp", "-lpthread"]


CALLER = """
import json, sys
import numpy as np
from mlcc.runtime import dlpack
from mlcc.error import Error
from mlcc.runtime import load

class OnGpu:
    '''A tensor of another library, in what the test's driver takes for a GPU's memory.'''
    def __init__(self, array, device=0):
        self.raw = np.zeros(array.nbytes + 256, np.uint8)
        at = -self.raw.ctypes.data % 256
        self.array = self.raw[at : at + array.nbytes].view(array.dtype).reshape(array.shape)
        self.array[...] = array
        self.device = device
    def __dlpack_device__(self):
        return 2, self.device
    def __dlpack__(self, stream=None):
        return dlpack.EXPORTED.capsule(self.array.ctypes.data, (2, self.device), str(self.array.dtype), self.array.shape, self)

x, times, how = np.load(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
try:
    m = load(sys.argv[1])
    for _ in range(times):
        if how == "host":
            y = m(x=x)["y"]
        elif how == "device":
            result = m(x=OnGpu(x))["y"]
            memory = dlpack.read(result, None)
            assert memory.device == (2, 0) and memory.shape == result.shape and memory.pointer == result.pointer and memory.contiguous
            y = result.numpy()
            del memory, result
        elif how == "stream":
            out = OnGpu(np.zeros((1, 8), np.float32))
            m.run_on_stream({"x": OnGpu(x)}, {"y": out})
            y = out.array
        elif how == "uploaded":
            ins, outs = m.upload({"x": x}), m.empty()
            m.run_on_stream(ins, outs)
            y = outs["y"].numpy()
            del ins, outs
        else:
            m(x=OnGpu(x[:, :, :4]) if how == "shape" else OnGpu(x.astype(np.float64)) if how == "dtype" else OnGpu(x, 1))
    print(json.dumps({"y": y.view(np.uint32).tolist()}))
    m.close()
    assert not dlpack.EXPORTED._alive, "a capsule is still held"
except Error as e:
    print(json.dumps({"error": str(e), "code": e.code}))
"""


def call(
    built: tuple[Path, dict], driver: Path | None, folder: Path, times: int = 1, how: str = "host", **settings: int
) -> tuple[dict, dict]:
    """(what the caller printed, the driver's counts)."""
    x = np.random.default_rng(3).standard_normal((1, 3, 9, 11)).astype(np.float32)
    np.save(folder / "x.npy", x)
    environment = {
        **os.environ,
        **{f"CUDA_TEST_{k.upper()}": str(v) for k, v in settings.items()},
        "CUDA_TEST_REPORT": str(folder / "report.json"),
    }
    environment["LD_LIBRARY_PATH"] = str(driver) if driver else ""
    line = [sys.executable, "-c", CALLER, built[0] / "cuda", folder / "x.npy", str(times), how]
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = folder / "report.json"
    return json.loads(done.stdout), json.loads(report.read_text()) if report.exists() else {}


SIZES = """
import json, sys
import numpy as np
from mlcc.error import Error
from mlcc.runtime import load

gpu, cpu = load(sys.argv[1]), load(sys.argv[2])
for time in (3, 3, 3, 9, 2, 3):
    x = np.random.default_rng(time).standard_normal((2, time, 6)).astype(np.float32)
    found, want = gpu(x=x), cpu(x=x)
    ins, outs = gpu.upload({"x": x}), gpu.empty(batch=2, time=time)
    gpu.run_on_stream(ins, outs)
    for name, y in want.items():
        for other in (found[name], outs[name].numpy()):
            assert other.shape == y.shape and other.tobytes() == y.tobytes(), (time, name)
    del ins, outs
refused = 0
for shape in ((2, 10, 6), (4, 3, 6), (2, 3, 5)):
    try:
        gpu(x=np.zeros(shape, np.float32))
    except Error:
        refused += 1
gpu.close()
print(json.dumps(refused))
"""


def test_sizes_that_a_run_decides(driver: Path, tmp_path: Path) -> None:
    """Launch parameters follow from the sizes; a graph is replayed for those that it was captured with alone."""
    onnx.save(MODELS["cut and joined"]()[0], tmp_path / "cut.onnx")
    made = mlcc.build(tmp_path / "cut.onnx", ["cuda-sm90", "native"], {"x": ["1..3", "2..9", 6]}, tmp_path / "dist")
    cuda, native = (a["path"] for a in made["artifacts"])
    line = [*driver_line(Path(cuda)), "-o", tmp_path / "libcuda.so.1"]
    subprocess.run(line, check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "CUDA_TEST_REPORT": str(tmp_path / "report.json")}
    done = subprocess.run([sys.executable, "-c", SIZES, cuda, native], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == 3
    counts = json.loads((tmp_path / "report.json").read_text())
    assert counts["allocated"] == counts["freed"] and counts["graphs"] == 0


@pytest.mark.parametrize("name", ["attention", "any pixels", "reshaped", "LSTM", "looped", "resized linear"])
def test_kernels_of_open_sizes(name: str) -> None:
    proto, spec = MODELS[name]()
    shapes = parse_shapes(tuple(f"{n}={d}" for n, d in spec.items()))
    graph = graph_at(proto, shapes)
    program = lower(graph)
    sources = sources_of(program)
    compile_image(sources.files[f"src/{sources.name}.cu"], sources.name, "sm_75")
    for sizes in every(shapes, 2):
        alone = graph_at(proto, sizes)
        how, chosen = draws(alone), numbers_in(graph, alone)
        feed = {n: golden_input(alone.types[n], i, 5, "uniform", how[n]) for i, n in enumerate(alone.inputs)}
        found = run_kernels(program, feed, (2,), numbers=chosen)[0]
        for v, right in execute(alone, feed).items():
            assert_same_bits(found[v], right, f"{v} at {chosen}", alone)


def test_artifact_says_what_it_holds(built: tuple[Path, dict]) -> None:
    about = next(a for a in built[1]["artifacts"] if a["target"] == "cuda")
    assert about["conformance"] == "passed" and about["class"] == "exact"
    assert about["architectures"] == list(ARCHITECTURES) == ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100"]
    header = (built[0] / "cuda/include/small.h").read_text()
    assert "small_run_on_stream" in header and "small_create" in header


def test_library_gives_the_answer_of_the_cpu(built: tuple[Path, dict], driver: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(3).standard_normal((1, 3, 9, 11)).astype(np.float32)
    want = mlcc.load(built[0] / "native")(x=x)["y"].view(np.uint32).tolist()
    for order in (0, 1, 2):
        assert call(built, driver, tmp_path, order=order)[0]["y"] == want


def test_a_second_call_replays_a_graph_and_nothing_leaks(built: tuple[Path, dict], driver: Path, tmp_path: Path) -> None:
    once, counts = call(built, driver, tmp_path)
    steps = counts["launches"]
    assert steps > 3 and counts["replays"] == 0
    again, counts = call(built, driver, tmp_path, times=5)
    assert again == once and counts["launches"] == 2 * steps and counts["replays"] == 4
    assert counts["allocated"] == counts["freed"] and counts["graphs"] == counts["contexts"] == counts["pushed"] == 0


@pytest.mark.parametrize(("how", "tensors"), [("device", 1), ("stream", 0), ("uploaded", 2)])
def test_tensors_on_the_gpu_are_used_where_they_lie(built: tuple[Path, dict], driver: Path, tmp_path: Path, how: str, tensors: int) -> None:
    want, _ = call(built, driver, tmp_path)
    found, counts = call(built, driver, tmp_path, times=3, how=how)
    assert found == want and counts["allocated"] == counts["freed"]
    assert counts["allocated"] == 2 + tensors, "weights, workspace, and tensors that are used again"


@pytest.mark.parametrize(
    ("how", "words"), [("shape", "float32[1, 3, 9, 11] wanted"), ("dtype", "float32[1, 3, 9, 11] wanted"), ("other", "GPU 0 is wanted")]
)
def test_a_wrong_tensor_is_refused(built: tuple[Path, dict], driver: Path, tmp_path: Path, how: str, words: str) -> None:
    assert words in call(built, driver, tmp_path, how=how)[0]["error"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"devices": 0}, "no NVIDIA GPU"),
        ({"cc": 52}, "architecture sm_52; this library holds sm_75"),
        ({"load": 209, "version": 12040}, "knows CUDA 12.4; this library's code is of CUDA 13"),
        ({"load": 2}, "out of memory"),
    ],
)
def test_what_is_wrong_is_said(built: tuple[Path, dict], driver: Path, tmp_path: Path, settings: dict[str, int], words: str) -> None:
    found, _ = call(built, driver, tmp_path, **settings)
    assert words in found["error"]


def test_no_driver(built: tuple[Path, dict], tmp_path: Path) -> None:
    found, _ = call(built, None, tmp_path)
    assert "no NVIDIA driver" in found["error"]


@pytest.mark.parametrize(("cc", "ptx"), [(75, 0), (87, 0), (90, 0), (103, 0), (120, 1)])
def test_code_is_chosen_by_architecture(built: tuple[Path, dict], driver: Path, tmp_path: Path, cc: int, ptx: int) -> None:
    """Older code of the same generation runs; later generations take PTX."""
    found, counts = call(built, driver, tmp_path, cc=cc)
    assert "y" in found and counts["ptx"] == ptx


# machine code


@pytest.fixture(scope="module")
def disassembler() -> Iterator[Callable[[bytes, str], dict[str, list[str]]]]:
    from importlib.metadata import files

    path = next(Path(str(f.locate())) for f in files("nvidia-cuda-nvdisasm") or () if f.name == "nvdisasm")

    def disassemble(source: bytes, architecture: str) -> dict[str, list[str]]:
        """Kernel → its instructions' names."""
        import tempfile

        with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
            cubin.write(nvrtc.compile_image(source, "test", architecture))
            cubin.flush()
            text = subprocess.run([path, "-c", cubin.name], capture_output=True, text=True, check=True).stdout
        found: dict[str, list[str]] = {}
        kernel = ""
        for line in text.splitlines():
            if head := re.match(r"\.text\.(\S+):", line.strip()):
                kernel = head[1]
            elif instruction := re.search(r"\*/\s+(?:@!?\w+\s+)?([A-Z][A-Z0-9_.]+)", line):
                found.setdefault(kernel, []).append(instruction[1].split(".")[0])
        return found

    yield disassemble


@pytest.mark.parametrize("architecture", ["sm_75", "sm_90", "sm_100"])
def test_nothing_is_fused_unasked(disassembler: Callable[[bytes, str], dict[str, list[str]]], architecture: str) -> None:
    graph = graph_of({n: ("float32", (999,)) for n in "xyz"}, lambda b, x, y, z: b("Add", b("Mul", x, y), z))
    code = disassembler(sources_of(lower(graph)).files["src/test.cu"], architecture)
    (instructions,) = code.values()
    assert "FMUL" in instructions and "FADD" in instructions and "FFMA" not in instructions


@pytest.mark.parametrize("architecture", [pytest.param(a, marks=pytest.mark.full) for a in ("sm_75", "sm_86", "sm_100")])
def test_tiles_stay_in_registers(disassembler: Callable[[bytes, str], dict[str, list[str]]], architecture: str) -> None:
    """No local memory, and an inner loop that is mostly arithmetic."""
    for kind, arithmetic in (("float32", {"FFMA"}), ("uint8", {"IMMA", "IDP"})):
        for m, k, n in SHAPES[kind]:
            code = disassembler(sources_of(lower(product(m, k, n, kind))).files["src/test.cu"], architecture)
            for kernel, instructions in code.items():
                assert not {"LDL", "STL"} & set(instructions), (kernel, m, k, n)
                if kernel.startswith("dot_"):
                    assert arithmetic & set(instructions), kernel


def test_same_bytes_again() -> None:
    source = sources_of(lower(product(64, 64, 64, "float32"))).files["src/test.cu"]
    assert all(nvrtc.compile_image(source, "test", a) == nvrtc.compile_image(source, "test", a) for a in ("sm_80", "compute_100"))
