"""Stages for rows of numbers, text, and what models answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlcc.artifact import plain
from mlcc.error import Error
from mlcc.importers.nodes import Nodes


@dataclass(frozen=True)
class Scaler:
    """(x − offset) · scale, a number each for all features or for each one."""

    offset: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    shape: tuple[object, ...] = ("rows", "features")
    outputs = {"scaled": "float32"}

    @property
    def inputs(self) -> dict[str, tuple[str, tuple[object, ...]]]:
        return {"x": ("float32", self.shape)}

    def write(self, w: Nodes, x: str) -> list[str]:
        return [w.op("Mul", w.op("Sub", x, w.constant(self.offset, "float32")), w.constant(self.scale, "float32"))]


@dataclass(frozen=True)
class Lookup:
    """Each text's line in a vocabulary, a file with a word on each line, counted from 0; `unknown` for all others."""

    vocabulary: Path = Path()
    unknown: int = 0
    shape: tuple[object, ...] = (1, "words")
    outputs = {"ids": "int64"}

    @property
    def inputs(self) -> dict[str, tuple[str, tuple[object, ...]]]:
        return {"text": ("string", self.shape)}

    def write(self, w: Nodes, text: str) -> list[str]:
        try:
            words = plain.read(self.vocabulary, code="usage").decode().splitlines()
        except (OSError, UnicodeDecodeError) as e:
            raise Error("usage", f"cannot read the vocabulary: {e}", str(self.vocabulary)) from None
        if len(set(words)) < len(words):
            raise Error("usage", "a word stands twice in the vocabulary", str(self.vocabulary))
        places = list(range(len(words)))
        return [w.op("LabelEncoder", text, domain="ai.onnx.ml", keys_strings=words, values_int64s=places, default_int64=self.unknown)]


@dataclass(frozen=True)
class Scores:
    """Of those that read what a classifier gives. axis: along which classes lie; none: the last."""

    axis: int | None = None
    shape: tuple[object, ...] = (1, "classes")

    @property
    def inputs(self) -> dict[str, tuple[str, tuple[object, ...]]]:
        return {"scores": ("float32", self.shape)}

    @property
    def along(self) -> int:
        return -1 if self.axis is None else self.axis


@dataclass(frozen=True)
class Softmax(Scores):
    """Probabilities."""

    outputs = {"probabilities": "float32"}

    def write(self, w: Nodes, scores: str) -> list[str]:
        return [w.op("Softmax", scores, axis=self.along)]


@dataclass(frozen=True)
class Best(Scores):
    """The class with the largest score, the first of equal ones."""

    outputs = {"best": "int64"}

    def write(self, w: Nodes, scores: str) -> list[str]:
        return [w.op("ArgMax", scores, axis=self.along, keepdims=0)]


@dataclass(frozen=True)
class TopK(Scores):
    """The k largest scores, largest first, and their classes."""

    k: int = 5
    outputs = {"values": "float32", "classes": "int64"}

    def write(self, w: Nodes, scores: str) -> list[str]:
        return w.several("TopK", scores, w.integers(self.k), outputs=2, axis=self.along)


@dataclass(frozen=True)
class Nms:
    """Boxes that overlap no better one of their class by more than `overlap` (intersection over union), with scores above `score`, at most
    `most` a class: rows of (image, class, box). centres: boxes are centre and size, else corners. Inputs: boxes [images, boxes, 4], scores
    [images, classes, boxes]."""

    most: int = 100
    overlap: float = 0.5
    score: float = 0.0
    centres: bool = False
    boxes: int = 0
    classes: int = 0
    outputs = {"selected": "int64"}

    @property
    def inputs(self) -> dict[str, tuple[str, tuple[object, ...]]]:
        boxes = self.boxes or "boxes"
        return {"boxes": ("float32", (1, boxes, 4)), "scores": ("float32", (1, self.classes or "classes", boxes))}

    def write(self, w: Nodes, boxes: str, scores: str) -> list[str]:
        limits = [w.integers(self.most), w.constant(np.array([self.overlap]), "float32"), w.constant(np.array([self.score]), "float32")]
        return [w.op("NonMaxSuppression", boxes, scores, *limits, center_point_box=int(self.centres))]
