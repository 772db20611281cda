"""Running artifacts from Python: NumPy (or any DLPack tensor) in, NumPy out. Needs neither TVM nor onnx.

>>> m = load("dist/model/native", threads=2)
>>> outputs = m(x=array)          # by name; m({"input.1": array}) where the name is no identifier
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mlcc.artifact import manifest
from mlcc.core.narrow import TEXTS, coded, meant, numpy_type, shown
from mlcc.error import Error
from mlcc.runtime.library import fresh


@dataclass(frozen=True)
class Tensor:
    """An input or output: name, NumPy dtype name, shape; element: the narrow type (ml_dtypes' name) that its bytes stand for, "string",
    or ''; labels: of the numbers; counts: (axis, the output that says how much of it is meant)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    element: str = ""
    labels: tuple[str, ...] = ()
    counts: tuple[tuple[int, str], ...] = ()
    open: tuple[int | str, ...] = ()  # its extents, where a run decides some; `shape` is then the largest

    @cached_property
    def closed(self) -> list[tuple[int, int]]:
        """(axis, extent) of those that are known."""
        return [(i, n) for i, n in enumerate(self.open) if isinstance(n, int)]

    @property
    def numpy(self) -> np.dtype[Any]:
        if self.dtype == "bfloat16":
            import ml_dtypes

            return np.dtype(ml_dtypes.bfloat16)
        return np.dtype(self.dtype)


def _tensor(t: manifest.Tensor) -> Tensor:
    counts = tuple((axis, size) for axis, size in t.get("counts", ()))
    return Tensor(
        t["name"], t["dtype"], tuple(t["shape"]), t.get("element", ""), tuple(t.get("labels", ())), counts, tuple(t.get("open", ()))
    )


class Model:
    """A loaded artifact. Calls release the GIL; one instance may be called from many threads (each waits its turn for the pool, if there is
    one)."""

    def __init__(self, folder: Path, threads: int = 1, variant: str | None = None) -> None:
        data = manifest.read(folder)
        self.name, self.target = data["name"], data["target"]
        self.inputs, self._written = (tuple(map(_tensor, data[group])) for group in ("inputs", "outputs"))
        counted = {size for t in self._written for _, size in t.counts}
        self.outputs = tuple(t for t in self._written if t.name not in counted)
        self.sizes = {s["name"]: range(s["least"], s["most"] + 1, s["step"]) for s in data.get("sizes", [])}  # those that a run decides
        library = folder / "lib" / f"lib{self.name}.so"
        if not library.exists():
            raise Error(
                "unsupported",
                f"an artifact for {self.target} has no shared library to load",
                str(folder),
                "build for this machine: --target native",
            )
        try:
            self._library = fresh(library)
        except OSError as e:
            raise Error(
                "unsupported",
                f"this machine cannot load a library for {self.target}: {e}",
                str(folder),
                "`mlcc run` uses an emulator where there is one",
            ) from None
        self._run = getattr(self._library, f"{self.name}_run_arrays")
        self._run.restype = ctypes.c_int
        self._signed(data, folder)
        self._manifest = data
        self._variant = self._choose(variant)
        self._bytes = int(data["workspace_bytes"])
        self._local = threading.local()
        self._lock = threading.Lock()
        self._last: tuple[Any, Any, list[tuple[int, ...]]] | None = None  # shapes given, what follows from them
        self._pool: int | None = None
        if threads < 1:
            raise Error("usage", f"{threads} threads", hint="threads is 1 or more")
        self.threads = threads
        if threads > 1:
            create = getattr(self._library, f"{self.name}_pool_create")
            create.restype = ctypes.c_void_p
            self._pool = create(ctypes.c_int(threads))
            if not self._pool:
                raise Error("usage", f"cannot make {threads} threads")
        self._pool_for = getattr(self._library, f"{self.name}_pool_for", None)

    def _signed(self, data: manifest.Manifest, folder: Path) -> None:
        """Raise Error(verification) where the library is for other inputs and outputs than the manifest says: it would read and write
        elsewhere."""
        try:
            function = getattr(self._library, f"{self.name}_signature")
        except AttributeError:
            raise Error("verification", "the library does not say what it takes", str(folder), "build the artifact again") from None
        function.restype = ctypes.c_char_p
        if (function() or b"").decode(errors="replace") != manifest.signature(data):
            raise Error("verification", "the library takes other inputs or outputs than the manifest says", str(folder), "fetch it again")

    @property
    def variants(self) -> tuple[str, ...]:
        """The instruction sets in the library that this CPU runs."""
        name = getattr(self._library, f"{self.name}_variant_name")
        name.restype = ctypes.c_char_p
        runs = getattr(self._library, f"{self.name}_variant_runs")
        return tuple(name(i).decode() for i in range(8) if name(i) and runs(i))

    def _choose(self, variant: str | None) -> int:
        if variant is None:
            return -1
        if variant not in self.variants:
            raise Error("usage", f"no variant {variant} that runs here", self.name, f"variants: {', '.join(self.variants)}")
        return self.variants.index(variant)

    def _workspace(self) -> np.ndarray:
        if not hasattr(self._local, "workspace"):
            self._local.workspace = np.empty(self._bytes, np.uint8)
        found: np.ndarray = self._local.workspace
        return found

    def _input(self, t: Tensor, given: Mapping[str, Any]) -> np.ndarray:
        if t.name not in given:
            raise Error("usage", f"input {t.name} is missing", self.name, f"inputs: {', '.join(i.name for i in self.inputs)}")
        value = given[t.name]
        if not isinstance(value, np.ndarray):
            value = np.from_dlpack(value) if hasattr(value, "__dlpack__") else np.asarray(value, t.numpy)
        fits = value.shape == t.shape if not t.open else value.ndim == len(t.shape) and all([value.shape[i] == n for i, n in t.closed])
        if value.dtype != t.numpy or not fits:
            wanted = t.open or t.shape
            raise Error(
                "usage", f"{value.dtype}{list(value.shape)} given, {t.dtype}[{', '.join(map(str, wanted))}] wanted", f"input {t.name}"
            )
        return np.ascontiguousarray(value).reshape(value.shape)

    def _sized(self, given: Sequence[tuple[int, ...]]) -> tuple[Any, list[tuple[int, ...]]]:
        """The sizes that arrays of these shapes have, as the library takes them, and the outputs' shapes then; the last are kept, since
        finding them takes longer than a small model does. Raises Error(usage) where a size is not allowed."""
        if not self.sizes:
            return None, [t.shape for t in self._written]
        key = tuple(given)
        known = self._last
        if known is None or known[0] != key:
            sizes = manifest.sizes_given(self._manifest, {t.name: shape for t, shape in zip(self.inputs, given)})
            numbers = (ctypes.c_int32 * len(sizes))(*sizes.values())
            self._last = known = key, numbers, [manifest.extents(t, sizes) for t in self._manifest["outputs"]]
        return known[1], known[2]

    def __call__(self, inputs: Mapping[str, Any] | None = None, /, **named: Any) -> dict[str, np.ndarray]:
        """Output name → array (fresh, so it may be kept; NumPy arrays speak DLPack). Narrow types are ml_dtypes'."""
        given, words = {**(inputs or {}), **named}, dict[str, int]()
        for t in self.inputs:
            if t.element and t.name in given and (array := np.asarray(given[t.name])).dtype != t.numpy:
                plain = array.astype(object if t.element in TEXTS else numpy_type(t.element))
                given[t.name] = coded(plain, t.element, t.labels, words, t.shape[-1] if t.shape else 0)
        found = self.stored(given)
        kept = shown({t.name: t.counts for t in self.outputs}, found)
        return {t.name: meant(kept[t.name], t.element, t.labels, words) if t.element else kept[t.name] for t in self.outputs}

    def stored(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Output name → array as the library writes it: narrow types as their codes."""
        results, call = self._prepared(inputs)
        call(0, -1)
        return {t.name: a for t, a in zip(self._written, results)}

    def step_seconds(self, inputs: Mapping[str, Any], steps: int) -> list[float]:
        """One inference, a kernel call at a time: seconds of each of its `steps`."""
        _, call = self._prepared(inputs)
        idle = []
        for _ in range(20):
            start = time.perf_counter()
            call(steps, steps)
            idle.append(time.perf_counter() - start)
        overhead, found = sorted(idle)[len(idle) // 2], []
        for i in range(steps):
            start = time.perf_counter()
            call(i, i + 1)
            found.append(max(0.0, time.perf_counter() - start - overhead))
        return found

    def _refusal(self, status: int) -> Error:
        """What a status that is not 0 means: in the library's words, where it has some."""
        words = self._words()
        if words is None:
            return Error("conformance", f"the library returned status {status}", self.name)
        return Error("unsupported", words, f"{self.name} for {self.target}")

    def _words(self) -> str | None:
        """What the library says of its last failure; None where it says nothing ever."""
        function = getattr(self._library, f"{self.name}_error", None)
        if function is None:
            return None
        function.restype = ctypes.c_char_p
        return (function() or b"").decode(errors="replace")

    def _know(self, given: Mapping[str, Any]) -> None:
        unknown = set(given) - {t.name for t in self.inputs}
        if unknown:
            raise Error("usage", f"no input is called {sorted(unknown)[0]}", self.name, f"inputs: {', '.join(i.name for i in self.inputs)}")

    def _prepared(self, given: Mapping[str, Any]) -> tuple[list[np.ndarray], Callable[[int, int], None]]:
        """The output arrays, and what runs steps first to last − 1 (−1: to the end) into them."""
        self._know(given)
        arrays = [self._input(t, given) for t in self.inputs]
        numbers, shapes = self._sized([a.shape for a in arrays])
        results = [np.empty(shape, t.numpy) for t, shape in zip(self._written, shapes)]
        ins = (ctypes.c_void_p * (len(arrays) + 1))(*(a.ctypes.data for a in arrays), ctypes.addressof(numbers) if numbers else None)
        outs = (ctypes.c_void_p * (len(results) + 1))(*(a.ctypes.data for a in results))
        workspace = ctypes.c_void_p(self._workspace().ctypes.data)
        threads = (self._pool_for, ctypes.c_void_p(self._pool)) if self._pool else (None, None)

        def call(first: int, last: int, owners: object = (arrays, results, numbers)) -> None:  # alive as long as their pointers
            with self._lock if self._pool else nullcontext():
                status = self._run(ins, outs, workspace, *threads, first, last, self._variant)
            if status:
                raise self._refusal(status)

        return results, call

    def close(self) -> None:
        """Stop the threads."""
        if getattr(self, "_pool", None):
            getattr(self._library, f"{self.name}_pool_destroy")(ctypes.c_void_p(self._pool))
            self._pool = None

    def __del__(self) -> None:
        self.close()
