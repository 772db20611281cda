"""A cloned repository is a stranger's: building in it runs nothing of its own, and writes nothing elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_cli import many_kernels

MLCC = Path(sys.executable).with_name("mlcc")
EVIL = "open('{pwned}', 'w').write('ran')\nraise SystemExit(3)\n"


@pytest.fixture
def clone(tmp_path: Path, small_model: Path) -> Path:
    """A folder whose every file means ill."""
    folder = tmp_path / "clone"
    folder.mkdir()
    shutil.copy(small_model, folder / "small.onnx")
    many_kernels(folder / "many.onnx")
    for module in ("selectors.py", "jax.py", "numpy.py", "ziglang.py", "onnxruntime.py", "mlcc_backends/__init__.py", "tvm/__init__.py"):
        (folder / module).parent.mkdir(exist_ok=True)
        (folder / module).write_text(EVIL.format(pwned=tmp_path / "pwned"))
    script = folder / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/pwned\n")
    script.chmod(0o755)
    return folder


def mlcc(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MLCC_JOBS": "2", "MLCC_CONFIG": str(clone.parent / "config")}
    return subprocess.run([MLCC, *arguments], cwd=clone, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("target", ["native", "stablehlo"])
def test_modules_of_the_current_folder_are_not_taken(target: str, clone: Path) -> None:
    done = mlcc(clone, "build", "many.onnx", "-t", target, "--no-cache")
    assert done.returncode == 0, done.stderr
    assert not (clone.parent / "pwned").exists()


RISCV = Path(__file__).parents[2] / "targets/riscv64-linux.toml"
CHANGES = {
    "emulator": ('emulator = ["qemu-riscv64-static"]', 'emulator = ["./evil.sh"]'),
    "shell": ('emulator = ["qemu-riscv64-static"]', 'emulator = ["sh", "-c", "./evil.sh"]'),
    "plugin": ('emulator = ["qemu-riscv64-static"]', 'emulator = ["qemu-riscv64-static", "-plugin", "./evil.so"]'),
    "flags": ("[link]\n", '[link]\nflags = ["-Wl,-Map=/tmp/elsewhere"]\n'),
    "triple": ('zig = "riscv64-linux-gnu.2.27"', 'zig = "@evil.rsp"'),
}


@pytest.mark.parametrize("change", CHANGES)
def test_target_files_that_would_run_something_need_trust(change: str, clone: Path) -> None:
    text = RISCV.read_text()
    assert CHANGES[change][0] in text
    (clone / "evil.toml").write_text(text.replace(*CHANGES[change]))
    (clone / "child.toml").write_text('extends = "./evil.toml"\n')
    (clone / "mlcc.toml").write_text('model = "small.onnx"\ntargets = ["./evil.toml"]\n[shapes]\nx = [1, 3, 8, 8]\n')
    ways = (["build"], ["targets", "./evil.toml"], ["targets", "./child.toml"])
    for line in ways if change == "emulator" else ways[1:2]:
        done = mlcc(clone, *line)
        assert done.returncode == 2 and "not trusted" in done.stderr and "mlcc trust" in done.stderr, done.stderr
    assert not (clone.parent / "pwned").exists()
    if change != "emulator":
        return
    assert mlcc(clone, "trust", "evil.toml").returncode == 0
    assert mlcc(clone, "targets", "./evil.toml").returncode == 0
    (clone / "evil.toml").write_text(text.replace(*CHANGES[change]) + "\n# changed since\n")
    assert mlcc(clone, "targets", "./evil.toml").returncode == 2


def test_a_target_file_like_ours_needs_none(clone: Path) -> None:
    (clone / "mine.toml").write_text(RISCV.read_text().replace("generic-rv64", "sifive-u74"))
    assert mlcc(clone, "targets", "./mine.toml").returncode == 0


def test_projects_write_within_their_folder(clone: Path) -> None:
    victim = clone.parent / "victim"
    (victim / "small/.ssh").mkdir(parents=True)
    (victim / "small/.ssh/id").write_text("mine")
    (clone / ".ssh.toml").write_text(RISCV.read_text())
    for out, targets in (("../victim", "native"), (str(victim), "native"), ("dist", "./.ssh.toml")):
        (clone / "mlcc.toml").write_text(f'model = "small.onnx"\ntargets = ["{targets}"]\nout = "{out}"\n[shapes]\nx = [1, 3, 8, 8]\n')
        assert mlcc(clone, "build").returncode == 2
    assert (victim / "small/.ssh/id").read_text() == "mine"


def test_files_that_extend_themselves(clone: Path) -> None:
    (clone / "a.toml").write_text('extends = "./b.toml"\n')
    (clone / "b.toml").write_text('extends = "./a.toml"\n')
    done = mlcc(clone, "targets", "./a.toml")
    assert done.returncode == 2 and "extends itself" in done.stderr
