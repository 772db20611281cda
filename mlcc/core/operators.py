"""The core operators: their families and arities. Everything ONNX says is written in these."""

from __future__ import annotations

from dataclasses import dataclass

from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.arithmetic.scalar import OPERATORS as SCALARS
from mlcc.arithmetic.scalar import arity


@dataclass(frozen=True)
class Operator:
    family: str
    min_inputs: int
    max_inputs: int


def _family(name: str, arities: dict[str, int | tuple[int, int]]) -> dict[str, Operator]:
    return {op: Operator(name, *(a if isinstance(a, tuple) else (a, a))) for op, a in arities.items()}


OPERATORS: dict[str, Operator] = {
    # elementwise with NumPy broadcasting; what they do to one number: mlcc.arithmetic.scalar
    **_family(
        "elementwise",
        {
            **{op: arity(op) for op in SCALARS},
            **{name: s.arity for name, s in SEQUENCES.items()},
            "Cast": 1,  # attribute `to`
            "BitCast": 1,  # attribute `to`, of the same width
            "Requantize": 2,  # (int32, float32) → `to`: round(x · scale) + `zero`, between `low` and `high`
        },
    ),
    **_family(
        "move",
        {
            "Reshape": 1,
            "Transpose": 1,
            "Expand": 1,
            "Slice": 1,
            "Pad": 1,
            "Concat": (1, 1 << 16),
            "Gather": 2,
            "GatherElements": 2,
            "GatherND": 2,
            "ScatterElements": 3,
            "ScatterND": 3,
        },
    ),
    **_family(
        "reduce",
        {"ReduceSum": 1, "ReduceProd": 1, "ReduceMax": 1, "ReduceMin": 1, "ArgMax": 1, "ArgMin": 1, "CumSum": 1, "CumProd": 1, "TopK": 1},
    ),
    **_family("pool", {"PoolMax": 1, "PoolSum": 1}),
    **_family("matmul", {"MatMul": (2, 3)}),  # third: the chains' start
    **_family("control", {"Repeat": (1, 1 << 16)}),  # `count` turns of `body`: see mlcc.core.graph.Body
    **_family("conv", {"Conv": (2, 3), "ConvTranspose": (2, 3)}),
}


def family(op: str) -> str:
    return OPERATORS[op].family
