"""`python -m mlcc.importers.pickled convert|judge FILE` (`apart.py`): a saved estimator of scikit-learn, in a process that can change no
file and open no connection, where the system allows that. Whoever unpickles runs what the file says: `--trust-pickle` is its user's word
for it."""

from __future__ import annotations

import sys
from pathlib import Path

from mlcc.error import Error
from mlcc.importers import apart
from mlcc.importers.confine import confine


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
        raise Error("model", f"not a pickle that can be read: {type(e).__name__}: {apart.first_line(e)}") from None


def main() -> None:
    from mlcc.importers import sklearn

    name = Path(sys.argv[2]).name
    apart.main(confined, lambda model: sklearn.converted(model, name).SerializeToString(), lambda model: sklearn.judge(model, name))


def confined(path: Path) -> object:
    if not confine():
        print("note: this system cannot confine who reads a pickle (no Landlock)", file=sys.stderr)
    return read(path)


if __name__ == "__main__":
    main()
