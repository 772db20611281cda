"""Stages that prepare images. `layout`: NHWC or NCHW; `dtype`: of the pixels that come in; what goes out is float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlcc.error import Error
from mlcc.importers.nodes import Nodes

MODES = ("linear", "nearest", "cubic")


@dataclass(frozen=True)
class Image:
    """Of all of them. shape: of the image that comes in, sizes or names of sizes that are said later; none: 1, height, width, 3."""

    layout: str = "NHWC"
    dtype: str = "float32"
    shape: tuple[object, ...] = ()

    def __post_init__(self) -> None:
        if sorted(self.layout) != sorted("NHWC"):
            raise Error("usage", f"layout {self.layout}", hint="NHWC or NCHW")

    @property
    def inputs(self) -> dict[str, tuple[str, tuple[object, ...]]]:
        sizes = {"N": 1, "C": 3, "H": "height", "W": "width"}
        return {"image": (self.dtype, self.shape or tuple(sizes[c] for c in self.layout))}

    @property
    def plane(self) -> list[int]:
        """The axes of height and width."""
        return [self.layout.index(c) for c in "HW"]

    def floats(self, w: Nodes, image: str) -> str:
        return image if self.dtype == "float32" else w.cast(image, "float32")


@dataclass(frozen=True)
class Resize(Image):
    """To a height and width, as Pillow does it: aligned by half pixels; antialias: averages where it gets smaller."""

    height: int = 0
    width: int = 0
    mode: str = "linear"
    antialias: bool = False
    outputs = {"resized": "float32"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in MODES:
            raise Error("usage", f"mode {self.mode}", hint=f"one of {', '.join(MODES)}")
        if not self.height or not self.width:
            raise Error("usage", "height and width missing")

    def write(self, w: Nodes, image: str) -> list[str]:
        return [self.resized(w, self.floats(w, image), "stretch")]

    def resized(self, w: Nodes, image: str, policy: str) -> str:
        options: dict[str, dict[str, Any]] = {"nearest": {"nearest_mode": "round_prefer_ceil"}, "cubic": {"cubic_coeff_a": -0.5}}
        return w.op(
            "Resize", image, "", "", w.integers(self.height, self.width), axes=self.plane, mode=self.mode,
            antialias=int(self.antialias), exclude_outside=int(self.antialias), coordinate_transformation_mode="half_pixel",
            keep_aspect_ratio_policy=policy, **options.get(self.mode, {}),
        )  # fmt: skip


@dataclass(frozen=True)
class Letterbox(Resize):
    """To a height and width, its proportions kept, bars of `fill` around it: as YOLO's training has it."""

    fill: float = 114.0
    outputs = {"letterboxed": "float32"}

    def write(self, w: Nodes, image: str) -> list[str]:
        small = self.resized(w, self.floats(w, image), "not_larger")
        axes = self.plane
        shape = w.op("Gather", w.op("Shape", small), w.integers(*axes), axis=0)
        missing = w.op("Sub", w.integers(self.height, self.width), shape)
        before = w.op("Div", missing, w.integers(2))
        pads = w.op("Concat", before, w.op("Sub", missing, before), axis=0)
        return [w.op("Pad", small, pads, w.constant(self.fill, "float32"), w.integers(*axes))]


@dataclass(frozen=True)
class Colours(Image):
    """Channels in the opposite order: RGB of BGR, and back."""

    outputs = {"turned": "float32"}

    def write(self, w: Nodes, image: str) -> list[str]:
        return [w.slice(self.floats(w, image), self.layout.index("C"), -1, -(2**63), -1)]


@dataclass(frozen=True)
class Normalise(Image):
    """(x · scale − mean) / deviation, a mean and deviation a channel or one for all."""

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)
    outputs = {"normalised": "float32"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 in self.deviation:
            raise Error("usage", "a deviation of 0")

    def write(self, w: Nodes, image: str) -> list[str]:
        x, place = self.floats(w, image), self.layout.index("C")

        def channels(values: tuple[float, ...]) -> str:
            laid = w.constant(values, "float32")
            return w.op("Reshape", laid, w.integers(*(-1 if i == place else 1 for i in range(4))))

        if self.scale != 1:
            x = w.op("Mul", x, w.constant(self.scale, "float32"))
        return [w.op("Div", w.op("Sub", x, channels(self.mean)), channels(self.deviation))]


@dataclass(frozen=True)
class Layout(Image):
    """Axes in another order."""

    to: str = "NCHW"
    outputs = {"laid": "float32"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if sorted(self.to) != sorted(self.layout):
            raise Error("usage", f"to {self.to}", hint="NHWC or NCHW")

    def write(self, w: Nodes, image: str) -> list[str]:
        return [w.transpose(self.floats(w, image), [self.layout.index(c) for c in self.to])]
