"""`python -m mlcc.importers.pickled FILE`: a saved estimator of scikit-learn to ONNX on stdout, in a process that can write no file and,
where the system allows it, has no network. Whoever unpickles runs what the file says: `--trust-pickle` is its user's word for it."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path

from mlcc.error import Error

NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000  # CLONE_NEWUSER, CLONE_NEWNET of Linux


def confine() -> None:
    """No files are written from here on. No network: a namespace without one, where this user may make it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if libc.unshare(NEW_NETWORK) != 0:
            libc.unshare(NEW_USER | NEW_NETWORK)


def read(path: Path) -> object:
    return _skops(path) if path.suffix.lower() == ".skops" else _pickle(path)


def _skops(path: Path) -> object:
    """skops builds types that it knows to be harmless; scikit-learn's own others (its trees' arrays) are let through, in this process."""
    try:
        import skops.io
    except ImportError:
        raise Error("usage", "reading it needs skops", hint="pip install 'mlcc[sklearn]'") from None
    try:
        unknown = {str(t) for t in skops.io.get_untrusted_types(file=str(path))}
    except Exception as e:
        raise Error("model", f"not a file of skops: {type(e).__name__}", hint="write it with skops.io.dump") from None
    strange = sorted(t for t in unknown if not t.startswith("sklearn."))
    if strange:
        raise Error(
            "unsupported", f"types that skops does not trust: {', '.join(strange)}", hint="save a model of scikit-learn's own types"
        )
    return skops.io.load(str(path), trusted=sorted(unknown))


def _pickle(path: Path) -> object:
    try:
        import joblib
    except ImportError:
        raise Error("usage", "reading it needs joblib", hint="pip install 'mlcc[sklearn]'") from None
    try:
        return joblib.load(path)
    except ModuleNotFoundError as e:
        raise Error("usage", f"the pickle names the package {e.name}, which is not installed", hint=f"pip install {e.name}") from None
    except Exception as e:
        raise Error("model", f"not a pickle that can be read: {type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}") from None


def main() -> None:
    from mlcc.importers.sklearn import converted

    path, out = Path(sys.argv[1]), os.dup(1)
    os.dup2(2, 1)  # what the pickle prints is not the model
    sys.dont_write_bytecode = True
    confine()
    try:
        body = converted(read(path), path.name).SerializeToString()
    except Error as e:
        sys.exit(f"mlcc-pickle: {e.code} {e.what}\n{e.hint}")
    with os.fdopen(out, "wb") as f:
        f.write(body)


if __name__ == "__main__":
    main()
