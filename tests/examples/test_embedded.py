"""examples/embedded: a bare-metal program on an emulated Cortex-M4 that classifies a picture, the model linked in or in a slot of its own."""

from __future__ import annotations

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
        slot=(0x200000, 0x200000),
        name="cls",
    )
    line = ["qemu-system-arm", "-M", "mps2-an386", "-display", "none", "-serial", "stdio", "-semihosting-config", "enable=on,target=native"]
    image = folder / "other" / "cls" / "cortex-m4f" / "update" / "cls.signed.bin"
    loader = f"loader,file={image},addr=0x200000,force-raw=on"
    done = subprocess.run([*line, "-kernel", folder / "updated.elf", "-device", loader], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and "no usable model in the slot: 3" in done.stdout
