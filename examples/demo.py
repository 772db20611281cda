"""Builds a real model (magika, Google's file-type detector, from its PyPI package) for three instruction sets, verifies what was built, and
asks all three what a few files of this machine are: the same answer, bit for bit. `make demo`"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np

from mlcc.artifact import manifest
from mlcc.conformance.execute import execute
from mlcc.graph.freeze import outputs_digest
from mlcc.plugin import runs
from mlcc.target import load

TARGETS = ("x86_64-linux", "aarch64-linux", "riscv64-v-linux")
ROOT = Path(__file__).parents[1]
MAGIKA = Path(str(files("magika") / "models" / "standard_v3_3"))


def mlcc(*arguments: object) -> None:
    line = [str(a) for a in arguments]
    print(f"\n$ mlcc {' '.join(line)}", flush=True)
    subprocess.run([sys.executable, "-m", "mlcc.cli", *line], check=True)


def features(path: Path, about: dict[str, int]) -> np.ndarray:
    """What magika looks at: the file's first and last bytes without the white space around them, filled up."""
    raw, size = path.read_bytes(), about["block_size"]
    first, last = raw[:size].lstrip()[: about["beg_size"]], raw[-size:].rstrip()[-about["end_size"] :]
    found = np.full((1, about["beg_size"] + about["end_size"]), about["padding_token"], np.int32)
    found[0, : len(first)] = list(first)
    if last:
        found[0, -len(last) :] = list(last)
    return found


def answer(artifact: Path, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return execute(artifact, manifest.read(artifact), feed)[0]


def main() -> None:
    out = Path(tempfile.mkdtemp(prefix="mlcc-demo-"))
    model = out / "magika.onnx"
    shutil.copy(MAGIKA / "model.onnx", model)
    mlcc("build", model, *(x for t in TARGETS for x in ("--target", t)), "--shape", "bytes=1x2048", "-o", out / "dist")
    here = [t for t in TARGETS if runs(load(t))]
    mlcc("verify", out / "dist/magika" / here[0])

    about = json.loads((MAGIKA / "config.min.json").read_text())
    asked = [ROOT / "README.md", ROOT / "examples/demo.py", Path(sys.executable), model]
    print(f"\nWhat magika says of a few files of this machine, by the artifacts for {', '.join(here)}:\n")
    print(f"  {'file':<16}{'it is':<12}{'sure':>5}   SHA-256 of the 214 outputs, each target's")
    alike = True
    feeds = [{"bytes": features(path, about)} for path in asked]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # emulators are processes of their own
        answers = {t: pool.map(partial(answer, out / "dist/magika" / t), feeds) for t in here}
        rows = list(zip(asked, zip(*answers.values())))
    for path, each in rows:
        digests, scores = [outputs_digest(outputs) for outputs in each], each[0]["target_label"][0]
        best, same = int(scores.argmax()), len(set(digests)) == 1
        alike &= same
        seen = f"{digests[0][:16]}  {len(here)} of {len(here)} the same" if same else "  ".join(d[:16] for d in digests)
        print(f"  {path.name:<16}{about['target_labels_space'][best]:<12}{scores[best]:>5.0%}   {seen}", flush=True)
    print("\nOne model, one answer." if alike else "\nThe targets differ: this is a bug in mlcc, please report it.")
    print(f"The artifacts are in {out}/dist; {out}/dist/magika/comparison.html shows the distance from ONNX Runtime.")
    sys.exit(0 if alike else 1)


if __name__ == "__main__":
    main()
