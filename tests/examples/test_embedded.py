"""examples/embedded: a bare-metal program on an emulated Cortex-M4 that classifies a picture, the model linked in or in a slot of its
own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.corpus import fetch

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "embedded"
pytestmark = pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None or shutil.which("make") is None, reason="no qemu-system-arm or no make"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("embedded")
    try:
        shutil.copy(fetch("cls"), out / "cls.onnx")
    except OSError as e:
        pytest.skip(str(e))
    return out


def make(goal: str, folder: Path, *variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-s", goal, f"OUT={folder}", f"PYTHON={sys.executable}", *variables],
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
        timeout=500,
    )


@pytest.mark.parametrize("goal", ["run", "update"])
def test_tells_upright_from_upside_down(goal: str, folder: Path) -> None:
    for turned, word in (("upright", "upright, 9"), ("turned", "upside down, ")):
        done = make(goal, folder, f"TURNED={turned}")
        assert done.returncode == 0, done.stderr[-1000:]
        assert word in done.stdout, done.stdout
        if goal == "update":
            assert "model version 2.1" in done.stdout


def test_arduino_sketch(folder: Path) -> None:
    for turned, word in (("upright", "upright"), ("turned", "upside down")):
        done = make("arduino", folder, f"TURNED={turned}")
        assert done.returncode == 0, done.stderr[-1000:]
        assert done.stdout.splitlines()[-1].strip() == word


needs_arm_user = pytest.mark.skipif(not (shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")), reason="no qemu-aarch64")


@pytest.mark.full
@needs_arm_user
def test_program_for_linux(folder: Path) -> None:
    for turned, word in (("upright", "upright"), ("turned", "upside down")):
        done = make("linux", folder, f"TURNED={turned}")
        assert done.returncode == 0, done.stderr[-1000:]
        assert done.stdout.splitlines()[-1] == word


@needs_arm_user
def test_yocto_recipe(folder: Path, tmp_path: Path) -> None:
    """The recipe's own shell functions, with what bitbake would give them: a cross compiler, unpacked sources, a destination."""
    assert make("linux", folder).returncode == 0
    recipe = EXAMPLE / "yocto" / "meta-classify" / "recipes-ml" / "classify" / "classify_1.0.bb"
    text = recipe.read_text()
    sources = re.search(r'SRC_URI = "(.*)"', text)
    assert sources
    places = [recipe.parent / "../../../../linux", folder / "dist" / "cls" / "c99"]
    for wanted in re.findall(r"file://(\S+)", sources[1]):
        if wanted == "model":
            shutil.copytree(places[1], tmp_path / "model")
        else:
            shutil.copy(places[0] / wanted, tmp_path)
    functions = "\n".join(re.findall(r"^do_\w+\(\) \{.*?^\}", text, re.M | re.S))
    cross = (
        "aarch64-linux-gnu-gcc -static"
        if shutil.which("aarch64-linux-gnu-gcc")
        else f"{sys.executable} -m ziglang cc -target aarch64-linux-musl"
    )
    given = {"CC": cross, "D": str(tmp_path / "image"), "prefix": "/usr"}
    script = f'set -e\noe_runmake() {{ make -s "$@"; }}\n{functions}\ndo_compile\ndo_install\n'
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, env={**os.environ, **given}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-1000:]
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static") or ""
    done = subprocess.run(
        [emulator, tmp_path / "image/usr/bin/classify", folder / "input.ppm"], capture_output=True, text=True, timeout=100
    )
    assert done.stdout == "upright\n", done.stderr


def test_a_firmware_refuses_another_model(folder: Path) -> None:
    """The slot holds a module whose inputs are others: the check on the device says so."""
    make("update", folder)
    from mlcc import build
    from tests.backends.models import small

    build(
        small(folder / "cls_small.onnx"),
        target="cortex-m4f",
        out=folder / "other",
        emit=("mcuboot",),
        settings={"mcuboot": {"slot": "0x200000:2M"}},
        name="cls",
    )
    line = ["qemu-system-arm", "-M", "mps2-an386", "-display", "none", "-serial", "stdio", "-semihosting-config", "enable=on,target=native"]
    image = folder / "other" / "cls" / "cortex-m4f" / "update" / "cls.signed.bin"
    loader = f"loader,file={image},addr=0x200000,force-raw=on"
    done = subprocess.run([*line, "-kernel", folder / "updated.elf", "-device", loader], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and "no usable model in the slot: 3" in done.stdout
