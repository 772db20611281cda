"""TensorFlow Lite's operators in core operators. Integers with scales give the bits of LiteRT's reference kernels.

Integer arithmetic is named by the kernel's file: https://github.com/google-ai-edge/LiteRT/tree/main/tflite/kernels/internal/reference
"""

from __future__ import annotations

from mlcc.graph.rules import Rule
from mlcc.graph.rules.lite import floats, pointwise, products, recurrent, reduce, shapes, spectral

PLAIN: dict[str, Rule] = {**floats.TABLE, **recurrent.TABLE, **pointwise.TABLE, **products.TABLE, **reduce.TABLE, **shapes.TABLE}
TABLE: dict[str, Rule] = {
    **{op: spectral.by_parts(rule) if op in spectral.MOVED else spectral.real(rule) for op, rule in PLAIN.items()},
    **spectral.TABLE,
    "CAST": spectral.casting(PLAIN["CAST"]),
}
