"""Compile many kernels: cached by content, the rest in worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any

from mlcc.cache.code import code_digest
from mlcc.cache.store import Store, key_of
from mlcc.error import Error
from mlcc.machine import Machine
from mlcc.program.kernel import Kernel

Job = tuple[str, Kernel, Machine, tuple[tuple[str, Any], ...]]  # symbol, kernel, machine, LLVM target


def compile_one(job: Job) -> bytes:
    """Emit a kernel and generate its object."""
    from mlcc.tir.codegen import object_code
    from mlcc.tir.kernels import emit

    symbol, kernel, machine, llvm = job
    return object_code(emit(kernel, machine), symbol, {k: list(v) if isinstance(v, tuple) else v for k, v in llvm})


def compile_batch(jobs: Sequence[Job]) -> list[tuple[str, bytes]]:
    return [(job[0], compile_one(job)) for job in jobs]


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes started here never see Ctrl-C, which a terminal sends to all: the one that started them ends them."""
    if os.name != "posix":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _silent() -> Iterator[None]:
    """Processes started here say nothing on stderr: one that starts while its parent ends would print a traceback, and what goes wrong in a
    worker comes back as an exception."""
    kept = os.dup(2)
    quiet = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(quiet, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(quiet)


@contextmanager
def _apart() -> Iterator[None]:
    """Processes started here do not run the caller's script again, which need not be guarded by `if __name__ == "__main__"` then: they need
    nothing of it. Nor do they take modules from the current folder, which may be a stranger's."""
    main, safe = sys.modules["__main__"], os.environ.get(SAFE)
    sys.modules["__main__"] = types.ModuleType("__main__")
    os.environ[SAFE] = "1"
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if safe is None:
            del os.environ[SAFE]
        else:
            os.environ[SAFE] = safe


SAFE = "PYTHONSAFEPATH"
WORTH = 12  # kernels from which worker processes are started


def prepare() -> None:
    """Start the process that workers are forked from ahead of their work: it loads the compiler while others use this one's time."""
    if os.name == "posix":
        multiprocessing.set_forkserver_preload(["mlcc.tir.kernels", "mlcc.tir.codegen"])
        with _deaf_to_interrupts(), _silent(), _apart():
            forkserver.ensure_running()


def compile_all(
    jobs: Iterable[Job], store: Store | None, processes: int, progress: Callable[[int, int], None] | None = None
) -> dict[str, bytes]:
    """Objects by symbol."""
    found: dict[str, bytes] = {}
    missing: list[tuple[str, Job]] = []
    for job in jobs:
        key = key_of("kernel", code_digest(), repr(job))
        body = store.get(key) if store else None
        if body is None:
            missing.append((key, job))
        else:
            found[job[0]] = bytes(body)
    keys = {job[0]: key for key, job in missing}
    total, done = len(missing), 0

    def keep(results: Iterable[tuple[str, bytes]]) -> None:
        nonlocal done
        for symbol, body in results:
            found[symbol] = store.put(keys[symbol], body) if store else body
            done += 1
        if progress:
            progress(done, total)

    todo = [job for _, job in missing]
    if len(todo) < WORTH or processes < 2:
        for job in todo:
            keep(compile_batch([job]))
        return found
    # small batches in turn: neighbours are alike, so that each worker gets its share of slow ones
    size = max(1, min(8, len(todo) // (processes * 4)))
    batches = [todo[i : i + size] for i in range(0, len(todo), size)]
    context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
    try:
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            try:
                with _deaf_to_interrupts(), _silent(), _apart():
                    futures = [pool.submit(compile_batch, b) for b in batches]
                for future in as_completed(futures):
                    keep(future.result())
            except BaseException:
                for worker in list((pool._processes or {}).values()):
                    worker.terminate()
                pool.shutdown(cancel_futures=True)
                raise
    except BrokenProcessPool:
        raise Error(
            "toolchain", "a kernel compiler process died", hint="is there enough memory? MLCC_JOBS=1 compiles one kernel at a time"
        ) from None
    return found
