"""TensorFlow Lite's operators in core operators. Integers with scales give the bits of LiteRT's reference kernels.

Integer arithmetic is named by the kernel's file: https://github.com/google-ai-edge/LiteRT/tree/main/tflite/kernels/internal/reference
"""

from __future__ import annotations

from mlcc.graph.rules import Rule
from mlcc.graph.rules.lite import floats, pointwise, products, recurrent, reduce, shapes, spectral

TABLE: dict[str, Rule] = {**floats.TABLE, **recurrent.TABLE, **pointwise.TABLE, **products.TABLE, **reduce.TABLE, **shapes.TABLE}
TABLE |= {**spectral.TABLE, **{op: spectral.by_parts(TABLE[op]) for op in spectral.MOVED}, "CAST": spectral.casting(TABLE["CAST"])}
