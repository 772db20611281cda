"""scikit-learn's vectorisers of text: what skl2onnx gets wrong of them, and documents by which a conversion is judged."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from mlcc.error import Error
from mlcc.importers.columns import parts

# What skl2onnx takes in place of scikit-learn's own pattern counts words of one letter, and takes letters beyond ASCII apart:
# https://github.com/onnx/sklearn-onnx/blob/main/skl2onnx/operator_converters/text_vectoriser.py
DEFAULT = r"(?u)\b\w\w+\b"


def tokens(model: Any) -> dict[int, dict[str, str]]:
    """skl2onnx's options for the vectorisers in it that have scikit-learn's own pattern: the words that it stands for."""
    of_words = [p for p in vectorisers(model) if p.token_pattern == DEFAULT and p.analyzer == "word"]
    return {id(p): {"tokenexp": f"[{words()}]{{2,}}"} for p in of_words}


@cache
def words() -> str:
    r"""The characters that Python's \w is, as ranges of a class."""
    is_word = np.array([c < 0xD800 or c > 0xDFFF for c in range(0x110000)])
    is_word &= np.array([chr(c).isalnum() or c == 95 for c in range(0x110000)])
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_word.astype(np.int8), [0]])))
    pairs = zip(edges[::2], edges[1::2] - 1)
    return "".join(chr(a) if a == b else f"{chr(a)}-{chr(b)}" for a, b in pairs)


def vectorisers(model: Any) -> list[Any]:
    return [p for p in parts(model) if hasattr(p, "vocabulary_") and hasattr(p, "token_pattern")]


def demand(model: Any, where: str) -> None:
    """Raise Error(unsupported) for what skl2onnx converts to something else."""
    for p in vectorisers(model):
        if p.get_stop_words() and p.ngram_range[1] > 1:
            what = "stop words are left out of the n-grams, which skl2onnx does not do"
            raise Error("unsupported", f"{type(p).__name__}: {what}", where, "fit it without stop_words, or with single words")


DOCUMENTS, LETTERS = 6, 60  # a text input has 64 letters unless more are asked for


def documents(model: Any) -> list[str]:
    """Texts of a model's own words, some twice, some in capitals, beside others that it does not know."""
    held = vectorisers(model)
    known = sorted({w for p in held for gram in p.vocabulary_ for w in (gram.split() if p.analyzer == "word" else [gram])})
    others = ["a", "of", "42", "x-y", *sorted(w for p in held for w in list(p.get_stop_words() or ())[:8])]
    random, found = np.random.default_rng(0), []
    for _ in range(DOCUMENTS if known else 0):
        text, last = "", ""
        while True:
            kind = random.random()
            word = last if last and kind < 0.15 else str(random.choice(others if kind > 0.85 else known))
            more = text + (str(random.choice([" ", " ", ", ", "  "])) if text else "") + (word.upper() if random.random() < 0.1 else word)
            if len(more) > LETTERS:
                break
            text, last = more, word
        found.append(text)
    return found
