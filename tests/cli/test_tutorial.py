"""docs/tutorial.md, executed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"


def test_every_command_of_the_tutorial_works(small_model: Path, tmp_path: Path) -> None:
    shutil.copy(small_model, tmp_path / "small.onnx")
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "mlcc"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mlcc.cli "$@"\n')
    script.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    text = TUTORIAL.read_text()
    commands = [
        line[2:] for block in re.findall(r"```console\n(.*?)```", text, re.S) for line in block.splitlines() if line.startswith("$ ")
    ]
    assert len(commands) > 8
    for line in commands:
        wanted = int(m.group(1)) if (m := re.search(r"# exit (\d+)", line)) else 0
        done = subprocess.run(line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == wanted, (line, done.stdout, done.stderr)
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        subprocess.run([sys.executable, "-c", block], cwd=tmp_path, check=True, env=environment)
