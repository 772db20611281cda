"""Distance from an outside judge: ULP histogram and absolute differences."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mlcc.error import Error

BINS = (0, 1, 2, 4, 16, 256, 65536, 2**24)


def ulps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance in units in the last place between float32 arrays; NaN against NaN is 0, against a number the largest distance."""

    def key(x: np.ndarray) -> np.ndarray:
        i = np.ascontiguousarray(x, np.float32).view(np.int32).astype(np.int64)
        return np.where(i < 0, -(i & 0x7FFFFFFF), i)

    d = np.abs(key(a) - key(b))
    nan_a, nan_b = np.isnan(a), np.isnan(b)
    return np.where(nan_a & nan_b, 0, np.where(nan_a | nan_b, 2**31, d))


@cache
def runtime() -> Any:
    """The onnxruntime module. As it is imported it starts telemetry, unless it is told not to: a build reports to nobody. It also writes a
    file of a known name into the folder for temporary files, through whatever link lies there: it gets a folder of this process alone.
    Raises ImportError."""
    own = tempfile.mkdtemp(prefix="mlcc-")
    atexit.register(shutil.rmtree, own, True)
    ours = {"TMPDIR": own, "ORT_DISABLE_TELEMETRY": "1"}
    before = {key: os.environ.get(key) for key in ours}
    os.environ.update(ours)
    try:
        import onnxruntime
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
    return onnxruntime


def session(model: Path | bytes, threads: int = 1, optimised: bool = True) -> Any:
    """An ONNX Runtime session on the CPU."""
    try:
        onnxruntime = runtime()
    except ImportError:
        raise Error("usage", "comparing needs ONNX Runtime", hint="pip install 'mlcc[compare]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 4
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        source = model if isinstance(model, bytes) else str(model.resolve())
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as e:
        where = "" if isinstance(model, bytes) else str(model)
        raise Error("unsupported", f"ONNX Runtime cannot load the model: {str(e).splitlines()[0]}", where) from None


def asked(session: Any) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
    """A session as a function from inputs by name, of which it takes its own, to outputs in their order."""
    wanted = {i.name for i in session.get_inputs()}
    names = list(dict.fromkeys(o.name for o in session.get_outputs()))
    order = [names.index(o.name) for o in session.get_outputs()]

    def run(feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        found = session.run(names, {n: np.ascontiguousarray(a) for n, a in feed.items() if n in wanted})
        return [tensor(found[i]) for i in order]

    return run


def tensor(found: Any) -> np.ndarray:
    """What a session gives, maps (one a row: class → probability) as rows of numbers."""
    rows = [list(m.values()) for m in found] if isinstance(found, list) and found and isinstance(found[0], dict) else found
    return np.asarray(rows, np.float32 if rows is not found else None)


def difference(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """Histogram by ULP (floats), or the number of unequal elements (others)."""
    if ours.shape != theirs.shape:
        return {"shapes": [list(ours.shape), list(theirs.shape)]}
    if ours.dtype.kind != "f":
        return {"elements": int(ours.size), "unequal": int(np.sum(ours != theirs))}
    with np.errstate(all="ignore"):
        d, gap = ulps(ours, theirs), np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
        relative = gap / (1e-3 + np.abs(theirs.astype(np.float64)))
    histogram = {f"<= {b}": int(np.sum(d <= b)) - (int(np.sum(d <= BINS[i - 1])) if i else 0) for i, b in enumerate(BINS)}
    histogram[f"> {BINS[-1]}"] = int(np.sum(d > BINS[-1]))
    finite = np.isfinite(gap)
    rows = ours.ndim > 0 and ours.shape[-1] > 1 and ours.size > 0
    return {
        "elements": int(ours.size),
        "max_ulp": int(d.max(initial=0)),
        "median_ulp": float(np.median(d)) if d.size else 0.0,
        "max_abs": float(gap[finite].max(initial=0.0)),
        "max_relative": float(relative[finite].max(initial=0.0)),
        **({"argmax": float(np.mean(ours.argmax(-1) == theirs.argmax(-1)))} if rows else {}),
        "histogram": histogram,
    }
