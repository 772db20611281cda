"""What a fitted scikit-learn estimator takes: one matrix of numbers, or, where columns differ in kind or are chosen by name, an input a
column. A file does not say of what type its columns were: the estimators that read them do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from mlcc.error import Error

MATRIX = "X"  # [rows, features]
TEXT = "text"  # [rows, 1]
DROPPED = (None, "drop", "passthrough")


def inputs(model: Any, where: str) -> list[tuple[str, Any]]:
    """(name, skl2onnx's type) of each input. Raises Error(model) where the estimator knows of none."""
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    names = [str(n) for n in getattr(model, "feature_names_in_", ())]
    count = len(names) or getattr(model, "n_features_in_", None)
    if count is None:
        if not reads_text(model):
            raise Error("model", "not fitted, or it does not know how many features it takes", where, "fit it before it is saved")
        return [(TEXT, StringTensorType([None, 1]))]
    named = names or [f"x{i}" for i in range(int(count))]
    read = list(reads(model, {n: n for n in names} | {i: n for i, n in enumerate(named)}))
    text, named_choice = {n for n, is_text in read if is_text}, by_name(model)
    if not text and not named_choice:
        return [(MATRIX, FloatTensorType([None, int(count)]))]
    kept = {n for n, _ in read} if named_choice else set(named)  # columns that are chosen by their place must all be there
    return [(n, (StringTensorType if n in text else FloatTensorType)([None, 1])) for n in named if n in kept]


def reads(model: Any, columns: Mapping[Any, str]) -> Iterator[tuple[str, bool]]:
    """The columns that an estimator reads, of those that it is given (by name and by place), and whether as text."""
    for part, chosen in chosen_by(model):
        if part is None or part == "drop":
            continue
        if chosen is not None:
            given = {k: columns[c] for i, c in enumerate(chosen) for k in (c, i)}
            yield from reads(part, given)
        elif hasattr(part, "categories_"):
            yield from ((columns[i], np.asarray(c).dtype.kind in "OUS") for i, c in enumerate(part.categories_))
        elif part == "passthrough" or part is model or reads_text(part) or hasattr(part, "statistics_"):
            word = part != "passthrough" and np.asarray(getattr(part, "statistics_", 0)).dtype.kind in "OU"  # an imputer's commonest
            yield from ((n, word or reads_text(part)) for n in columns.values())
        else:
            yield from reads(part, columns)


def chosen_by(model: Any) -> Iterator[tuple[Any, list[Any] | None]]:
    """The estimators that a model hands its columns to, and which of them (None: all). A pipeline's are its steps, until one makes other
    columns of them."""
    kind = type(model).__name__
    if kind == "ColumnTransformer":
        for _, part, chosen in model.transformers_:
            yield part, listed(chosen, model)
    elif kind == "FeatureUnion":
        yield from ((part, None) for _, part in model.transformer_list)
    elif hasattr(model, "steps"):
        for _, part in model.steps:
            if part in DROPPED:
                continue
            yield part, None
            if not type(part).__name__.endswith("Imputer"):
                return
    else:
        yield model, None


def arranged(model: Any, names: list[str]) -> Callable[[Mapping[str, np.ndarray]], Any]:
    """Inputs by name as the estimator takes them: a matrix, a list of texts, or a table of columns; of a column that it does not read,
    zeros."""
    known = [str(n) for n in getattr(model, "feature_names_in_", ())]

    def arrange(feed: Mapping[str, np.ndarray]) -> Any:
        if names == [MATRIX]:
            return feed[MATRIX]
        if names == [TEXT]:
            return [str(t) for t in feed[TEXT].ravel()]
        rows = len(next(iter(feed.values())))
        given = {n: feed[n].ravel() if n in feed else np.zeros(rows) for n in known or names}
        if known:
            import pandas

            return pandas.DataFrame({n: a.astype(object) if a.dtype.kind in "US" else a for n, a in given.items()})
        return np.array(list(given.values()), object).T

    return arrange


def parts(model: Any) -> Iterator[Any]:
    """A model and all that it is made of."""
    yield model
    for held in (*getattr(model, "steps", ()), *getattr(model, "transformer_list", ()), *getattr(model, "transformers_", ())):
        if held[1] is not None and not isinstance(held[1], str):
            yield from parts(held[1])


def listed(chosen: Any, model: Any) -> list[Any]:
    """A ColumnTransformer's choice of columns, as names or places."""
    if isinstance(chosen, str | int):
        return [chosen]
    if isinstance(chosen, slice):
        return list(range(model.n_features_in_))[chosen]
    held = list(chosen)
    return [i for i, c in enumerate(held) if c] if held and all(isinstance(c, bool | np.bool_) for c in held) else held


def reads_text(model: Any) -> bool:
    """Whether a document is what it takes: a vectoriser of text, or a pipeline that begins with one."""
    first = model.steps[0][1] if hasattr(model, "steps") and model.steps else model
    return type(first).__module__ == "sklearn.feature_extraction.text" and type(first).__name__ != "TfidfTransformer"


def by_name(model: Any) -> bool:
    """Whether a ColumnTransformer in it chooses by name."""
    for part, chosen in chosen_by(model):
        if chosen is not None and any(isinstance(c, str) for c in chosen):
            return True
        if part is not model and part not in DROPPED and by_name(part):
            return True
    return False
