"""Builds a real model (magika, Google's file-type detector, from its PyPI package) for two CPUs, verifies, runs and compares it. `make
demo`"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from mlcc.plugin import runs
from mlcc.target import load


def mlcc(*arguments: object) -> None:
    line = [str(a) for a in arguments]
    print(f"\n$ mlcc {' '.join(line)}", flush=True)
    subprocess.run([sys.executable, "-m", "mlcc.cli", *line], check=True)


def main() -> None:
    out = Path(tempfile.mkdtemp(prefix="mlcc-demo-"))
    model = out / "magika.onnx"
    shutil.copy(str(files("magika") / "models" / "standard_v3_3" / "model.onnx"), model)
    targets = ["x86_64-linux", "aarch64-linux", "riscv64-linux"]
    mlcc("inspect", model, "--shape", "bytes=1x2048")
    mlcc("build", model, *(x for t in targets for x in ("--target", t)), "--shape", "bytes=1x2048", "-o", out / "dist")
    for t in targets:
        mlcc("verify", out / "dist/magika" / t)
    print("\nOne model, one answer: the same outputs digest from every target that can run here.")
    for t in targets:
        if runs(load(t)):
            mlcc("run", out / "dist/magika" / t)
    if runs(load("x86_64-linux")) and load("x86_64-linux").machine == load("native").machine:
        mlcc("run", out / "dist/magika/x86_64-linux", "--threads", 2, "--compare", "onnxruntime", "--model", model)
    print(f"\nThe artifacts are in {out}/dist; {out}/dist/magika/comparison.html shows the distance from ONNX Runtime.")


if __name__ == "__main__":
    main()
