"""Microcontrollers on emulated boards: the answer is that of a server; sizes, instructions, budgets, packagings."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mlcc import build as build_model
from mlcc.error import Error
from mlcc.plugin import runs
from mlcc.target import load, names
from mlcc_backends.mcu.sections import Board
from tests.backends.models import small
from tests.conftest import Mlcc
from tests.tiny import save

CORES = [n for n in names() if load(n).section(Board) and not load(n).memory.flash]
HERE = [n for n in CORES if runs(load(n))]
KINDS = [n for n in ("cortex-m0plus", "cortex-m4f", "cortex-m55", "rv32imc", "rv32imafc_zve32f") if n in HERE]  # soft floats, hard, vectors
needs_boards = pytest.mark.skipif(not HERE, reason="no qemu-system-arm or qemu-system-riscv32 here")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict]]:
    folder = tmp_path_factory.mktemp("mcu")
    result = build_model(small(folder / "small.onnx"), target=[*KINDS, "native"], out=folder / "dist")
    return folder / "dist" / "small", {a["target"]: a for a in result["artifacts"]}


def test_all_cores_are_known() -> None:
    assert set(CORES) >= {
        "cortex-m0plus",
        "cortex-m3",
        "cortex-m4",
        "cortex-m4f",
        "cortex-m7",
        "cortex-m33",
        "cortex-m55",
        "rv32imc",
        "rv32imafc",
        "rv32imafc_zve32f",
        "rv64imac",
    }


@needs_boards
def test_kinds_of_cores_give_the_answer_of_the_server(built: tuple[Path, dict[str, dict]]) -> None:
    """The build compares each one's digests with the reference's, on all vectors."""
    for target in KINDS:
        about = built[1][target]
        assert about["conformance"] == "passed" and about["class"] == "exact", target
        assert about["instructions"] > 10_000 and 1000 < about["flash_bytes"] < 40_000
        vectors = json.loads((built[0] / target / "conformance.json").read_text())["vectors"]
        assert all(v["ran"] == [target] for v in vectors), target


@pytest.mark.full
@needs_boards
def test_every_core_gives_the_answer_of_the_server(tmp_path: Path) -> None:
    result = build_model(small(tmp_path / "small.onnx"), target=[*CORES, "native"], out=tmp_path / "d")
    assert {a["target"] for a in result["artifacts"] if a["conformance"] == "passed"} >= {*HERE, "native"}


@needs_boards
@pytest.mark.parametrize(
    "bytes, cores",
    [
        pytest.param(np.int8, ["cortex-m55"], id="int8"),  # whole vectors
        *(pytest.param(b, HERE, id=f"{b.__name__}-all", marks=pytest.mark.full) for b in (np.int8, np.uint8)),
    ],
)
def test_whole_vectors_of_bytes(bytes: type, cores: list[str], tmp_path: Path) -> None:
    """Eight channels and bytes of either sign, so that the cores' own instructions do the work."""
    targets = [*(c for c in cores if c in HERE), "native"]
    result = build_model(small(tmp_path / "small.onnx", 8, bytes), target=targets, out=tmp_path / "d")
    assert [a["conformance"] for a in result["artifacts"]] == ["passed"] * len(targets)


@needs_boards
def test_instructions_never_vary(built: tuple[Path, dict[str, dict]], tmp_path: Path) -> None:
    target = HERE[0]
    again = build_model(built[0].parents[1] / "small.onnx", target=target, out=tmp_path, cache=False)["artifacts"][0]
    assert again["instructions"] == built[1][target]["instructions"]
    first, second = (
        {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        for root in (built[0] / target, tmp_path / "small" / target)
    )
    assert first == second, "the same inputs give the same bytes"


@needs_boards
def test_a_finished_artifact_runs(built: tuple[Path, dict[str, dict]], mlcc: Mlcc, tmp_path: Path) -> None:
    x = np.random.default_rng(3).standard_normal((1, 3, 9, 11)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    digests = {
        t: json.loads(mlcc("run", built[0] / t, "--input", f"x={tmp_path}/x.npy", "--json").stdout)["output_digest"]
        for t in (HERE[0], "native")
    }
    assert len(set(digests.values())) == 1


def test_libraries_need_nothing_but_memcpy_and_soft_floats(built: tuple[Path, dict[str, dict]]) -> None:
    if shutil.which("nm") is None:
        pytest.skip("no nm here")
    for target in KINDS:
        text = subprocess.run(["nm", built[0] / target / "lib" / "libsmall.a"], capture_output=True, text=True).stdout
        defined = {line.split()[-1] for line in text.splitlines() if len(line.split()) == 3}
        wanted = {line.split()[-1] for line in text.splitlines() if line.split()[:1] == ["U"]} - defined
        outside = {w for w in wanted if not w.startswith("__") and w not in ("memcpy", "memset", "memmove")}
        assert not outside, (target, outside)
        floats = {w for w in wanted if w.startswith("__aeabi_f") or w in ("__addsf3", "__mulsf3", "__divsf3")}
        assert bool(floats) == (load(target).zig.endswith("eabi") or target in ("rv32imc", "rv64imac")), (target, floats)


LIMITS = {"kws_ref_model": (6.8, 16000, 42124), "ad01_fp32": (1.0, 3072, 1064872), "pretrainedResnet_quant": (31.0, 49152, 100644)}


SEEDED = {  # as LIMITS, of the same architectures with seeded weights (tests/tiny.py): name, quantised
    ("anomaly", False): (1.0, 3072, 1064872),
    ("anomaly", True): (0.64, 1024, 280000),
    ("keywords", True): (6.8, 16000, 42124),
    ("images", True): (23.0, 49152, 100644),
    ("persons", True): (19.0, 56000, 249000),
}


@needs_boards
@pytest.mark.parametrize(("name", "quantised"), sorted(SEEDED))
def test_the_architectures_of_mlperf_tiny_stay_within_their_limits(name: str, quantised: bool, tmp_path: Path) -> None:
    about = build_model(save(name, quantised, tmp_path), target="cortex-m4f", out=tmp_path)["artifacts"][0]
    assert about["conformance"] == "passed"
    found = about["instructions"] / 1e6, about["arena_bytes"], about["flash_bytes"]
    assert all(x <= most for x, most in zip(found, SEEDED[name, quantised])), found


@needs_boards
@pytest.mark.parametrize("model", sorted(LIMITS))
def test_real_models_stay_within_their_limits(model: str, tiny: Callable[[str], Path], tmp_path: Path) -> None:
    """Instructions in millions, arena and flash in bytes: at most what is asked for, and the best peer's."""
    about = build_model(tiny(model), target="cortex-m4f", out=tmp_path)["artifacts"][0]
    assert about["conformance"] == "passed"
    assert (
        about["instructions"] / 1e6 <= LIMITS[model][0]
        and about["arena_bytes"] <= LIMITS[model][1]
        and about["flash_bytes"] <= LIMITS[model][2]
    )


def test_budgets_fail_early_and_say_what_would_fit(tmp_path: Path) -> None:
    model = small(tmp_path / "small.onnx")
    for limits, what in (({"ram": 2048}, "bytes of RAM"), ({"flash": 2048}, "bytes of flash")):
        with pytest.raises(Error) as e:
            build_model(model, target="cortex-m4f", out=tmp_path / "d", **limits)
        assert e.value.code == "unsupported" and what in str(e.value) and "--target" in (e.value.hint or "")
        assert not (tmp_path / "d").exists()
    build_model(model, target="cortex-m4f", out=tmp_path / "d", flash=65536, ram=16384)


@needs_boards
def test_early_layers_run_in_strips_where_ram_is_short(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    model = tiny("vww_96_int8")
    whole, strips = (build_model(model, target="cortex-m4f", out=tmp_path / "d", ram=ram) for ram in (256 << 10, 64 << 10))
    assert whole["output_digest"] == strips["output_digest"] and strips["artifacts"][0]["conformance"] == "passed"
    assert strips["artifacts"][0]["arena_bytes"] < 0.7 * whole["artifacts"][0]["arena_bytes"]
    assert any("strips of rows" in note for note in strips["notes"]) and not any("strips" in note for note in whole["notes"])


def test_budget_options(mlcc: Mlcc, tmp_path: Path) -> None:
    model = small(tmp_path / "small.onnx")
    assert mlcc("build", model, "-t", "cortex-m4f", "--flash", "1K", "-o", tmp_path / "d").returncode == 4
    assert mlcc("build", model, "-t", "cortex-m4f", "--ram", "lots", "-o", tmp_path / "d").returncode == 2
    assert mlcc("build", model, "-t", "cortex-m4f", "--ram", "1.5", "-o", tmp_path / "d").returncode == 2
    assert mlcc("build", model, "-t", "native", "--emit", "zephyr", "-o", tmp_path / "d").returncode == 2
    for option in ("--ram", "--flash"):
        done = mlcc("build", model, "-t", "native", option, "1.5M", "-o", tmp_path / "d")
        assert done.returncode == 2 and f"{option} is for microcontrollers" in done.stderr
    done = mlcc("build", model, "-t", "native", "-t", "cortex-m4f", "--emit", "zephyr", "--ram", "1.5M", "-o", tmp_path / "d")
    assert done.returncode == 0 and all(n in done.stdout + done.stderr for n in ("native: no zephyr", "native: --ram is not checked"))
    assert (tmp_path / "d/small/cortex-m4f/zephyr/Kconfig").exists() and not (tmp_path / "d/small/native/zephyr").exists()
    assert mlcc("build", model, "-t", "c99", "--name", "main", "-o", tmp_path / "d").returncode == 2


def test_packagings(tmp_path: Path) -> None:
    import xml.etree.ElementTree as ET
    import zipfile

    import yaml

    model = small(tmp_path / "small.onnx")
    emit = ("zephyr", "platformio", "arduino", "esp-idf", "cmsis-pack", "mcuboot")
    build_model(model, target="cortex-m4f", out=tmp_path / "d", emit=emit, version="1.2.3")
    root = tmp_path / "d" / "small" / "cortex-m4f"
    assert yaml.safe_load((root / "zephyr/module.yml").read_text())["build"]["kconfig"] == "zephyr/Kconfig"
    assert json.loads((root / "library.json").read_text())["version"] == "1.2.3"
    assert yaml.safe_load((root / "idf_component.yml").read_text())["version"] == "1.2.3"
    for path in ET.parse(root / "mlcc.small.pdsc").getroot().iter("file"):
        assert (root / path.attrib["name"]).exists()
    with zipfile.ZipFile(root / "mlcc.small.1.2.3.pack") as pack:
        assert pack.namelist() == ["include/small.h", "mlcc.small.pdsc", "src/small.c", "src/small_selftest.c"] and pack.testzip() is None
        assert all(pack.read(p) == (root / p).read_bytes() for p in pack.namelist())
    assert "depends on FPU" in (root / "zephyr/Kconfig").read_text()
    assert "version=1.2.3\n" in (root / "library.properties").read_text()
    assert (root / "src/small.h").read_bytes() == (root / "include/small.h").read_bytes()
    signed = root / "update" / "small.signed.bin"
    done = subprocess.run([sys.executable, "-m", "imgtool.main", "dumpinfo", str(signed)], capture_output=True, text=True)
    assert "1.2.3+0" in done.stdout and "ED25519" in done.stdout.upper()


def test_stack_and_memory_are_told(tmp_path: Path) -> None:
    """The figures are measured on the board, and lie in manifest, README and page."""
    model = small(tmp_path / "small.onnx")
    build_model(model, target=("cortex-m4f", "rv32imc"), out=tmp_path / "d")
    for target in ("cortex-m4f", "rv32imc"):
        root = tmp_path / "d" / "small" / target
        about = json.loads((root / "manifest.json").read_text())
        frames = json.loads((root / "report/stack.json").read_text())
        deepest = max(n for f, n in frames.items() if "selftest" not in f)
        assert deepest <= about["stack_bytes"] < 4096 and about["stack_bytes"] <= about["selftest_stack_bytes"] + 64
        assert about["memory"]["ram"]["stack"] == about["stack_bytes"] and about["memory"]["flash"]["code"] > 0
        assert f"| {about['stack_bytes']} | stack (RAM) |" in (root / "README.md").read_text()
        page = (root / "conformance.html").read_text()
        assert "RAM: stack" in page and "<rect" in page


def test_cmake_and_pkg_config_find_it(tmp_path: Path) -> None:
    model = small(tmp_path / "small.onnx")
    build_model(model, target=("cortex-m4f", "native"), out=tmp_path / "d", version="1.4.2")
    (tmp_path / "CMakeLists.txt").write_text(
        """cmake_minimum_required(VERSION 3.16)
project(t C)
find_package(small 1.3 CONFIG REQUIRED)
message(STATUS "found ${small_VERSION}")
add_executable(t t.c)
target_link_libraries(t PRIVATE small::small)
find_package(small 2.0 CONFIG QUIET)
if(small_FOUND)
  message(FATAL_ERROR "2.0 is another interface")
endif()
"""
    )
    (tmp_path / "t.c").write_text(
        '#include "small.h"\n#include <stdlib.h>\nint main(void) { return small_selftest(malloc(small_selftest_bytes())); }\n'
    )
    if shutil.which("cmake"):
        root = tmp_path / "d/small/native"
        run = lambda *a: subprocess.run(list(map(str, a)), capture_output=True, text=True)  # noqa: E731
        done = run("cmake", "-S", tmp_path, "-B", tmp_path / "b", f"-DCMAKE_PREFIX_PATH={root}")
        assert done.returncode == 0 and "found 1.4.2" in done.stdout, done.stdout + done.stderr
        assert run("cmake", "--build", tmp_path / "b").returncode == 0 and run(tmp_path / "b/t").returncode == 0
    text = (tmp_path / "d/small/cortex-m4f/lib/cmake/small/smallConfig.cmake").read_text()
    assert "libsmall.a" in text and "libsmall.so" not in text and "small::small INTERFACE" in text
    assert "Version: 1.4.2" in (tmp_path / "d/small/cortex-m4f/lib/pkgconfig/small.pc").read_text()


def test_thumb_instructions_are_told_apart() -> None:
    from mlcc_backends.mcu.cycles import CORES, counted, instructions

    known = {
        0x2001: ("other", 0), 0x6808: ("load", 1), 0x6008: ("store", 1), 0x4801: ("load", 1), 0xB530: ("several", 3), 0xBD30: ("several", 3), 0xC806: ("several", 2),
        0x4770: ("branch", 0), 0x4348: ("other", 0), 0xF000F800: ("link", 0), 0xEEA00A81: ("fused", 0), 0xEE800A81: ("float divide", 0), 0xEE300A81: ("other", 0),
        0xEEB10AC0: ("float divide", 0), 0xEEB40A40: ("other", 0), 0xED900A00: ("load", 1), 0xED800A00: ("store", 1), 0xED2D8A04: ("several", 4), 0xFB91F0F2: ("divide", 0),
        0xFB013002: ("accumulate", 0), 0xFB01F002: ("other", 0), 0xFB213002: ("accumulate", 0), 0xFBA20103: ("long", 0), 0xF8D01004: ("load", 1), 0xF8C01004: ("store", 1),
        0xE8900006: ("several", 2), 0xE9D01200: ("several", 2), 0xEB000001: ("other", 0), 0xF0008001: ("other", 0), 0xEE100A10: ("other", 0),
    }  # fmt: skip
    code = b"".join(
        (k if k < 0x10000 else k >> 16).to_bytes(2, "little") + ((k & 0xFFFF).to_bytes(2, "little") if k >= 0x10000 else b"") for k in known
    )
    assert list(instructions(code)) == list(known.values())
    loop = "100 10 9 08680868013801d1"  # ldr, ldr, subs, bne: ten times, nine of them back
    assert counted(loop, CORES["cortex_m4"]) == (40, 10 * (2 + 1 + 1 + 1) + 9 * 2)


def test_cycles_are_modelled_where_timings_are_published(tmp_path: Path) -> None:
    build_model(small(tmp_path / "small.onnx"), target=("cortex-m4f", "cortex-m0plus", "cortex-m33"), out=tmp_path / "d")
    for target, most in (("cortex-m4f", 2.5), ("cortex-m0plus", 3.0), ("cortex-m33", None)):
        about = json.loads((tmp_path / "d/small" / target / "manifest.json").read_text())
        assert ("cycles" in about) == (most is not None)
        if most is not None:
            assert 1.0 < about["cycles"] / about["instructions"] < most


def test_an_images_slot_lies_in_the_chips_own_flash() -> None:
    from mlcc_backends.mcu.module import default_slot

    def slot(name: str) -> tuple[int, int]:
        board = load(name).section(Board)
        assert board is not None
        return default_slot(load(name), board)

    assert slot("stm32f746") == (0x08080000, 0x80000) and slot("rp2040")[0] > 0x10000000
    board = load("cortex-m7").section(Board)
    assert board is not None and slot("cortex-m7")[0] == board.flash_at + board.flash_bytes // 2
    with pytest.raises(Error, match="flash_at"):
        slot("esp32c3")
