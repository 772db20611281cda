"""Binary32 in JAX: as the device does it, or exactly, in integers; and elementary functions over either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.arithmetic.sequence import Instruction, Sequence
from mlcc.error import Error
from mlcc_backends.tpu import soft

Array = Any
FLOAT32 = jnp.dtype("float32")
NATIVE: dict[str, Callable[..., Array]] = {  # elementary functions as the device has them
    "Exp": jnp.exp,
    "Log": jnp.log,
    "Sin": jnp.sin,
    "Cos": jnp.cos,
    "Tan": jnp.tan,
    "Asin": jnp.arcsin,
    "Acos": jnp.arccos,
    "Atan": jnp.arctan,
    "Sinh": jnp.sinh,
    "Cosh": jnp.cosh,
    "Tanh": jnp.tanh,
    "Asinh": jnp.arcsinh,
    "Acosh": jnp.arccosh,
    "Atanh": jnp.arctanh,
    "Erf": jax.scipy.special.erf,
    "Sigmoid": jax.nn.sigmoid,
    "Pow": jnp.power,
}


class Floats:
    """Binary32 arithmetic as the device does it. precision: of products (jax.lax.Precision)."""

    exact = False

    def __init__(self, precision: lax.Precision) -> None:
        self.precision = precision

    add, sub, mul, div = staticmethod(jnp.add), staticmethod(jnp.subtract), staticmethod(jnp.multiply), staticmethod(jnp.divide)
    sqrt, floor, ceil, round = staticmethod(jnp.sqrt), staticmethod(jnp.floor), staticmethod(jnp.ceil), staticmethod(jnp.round)
    less, equal = staticmethod(jnp.less), staticmethod(jnp.equal)

    def fma(self, a: Array, b: Array, c: Array) -> Array:
        return a * b + c

    def neg(self, a: Array) -> Array:
        return -a

    def abs(self, a: Array) -> Array:
        return jnp.abs(a)

    def from_integer(self, a: Array) -> Array:
        return a.astype(FLOAT32)

    def to_integer(self, a: Array, dtype: Any) -> Array:
        info = jnp.iinfo(dtype)
        top = np.nextafter(np.float32(info.max), np.float32(0)) if float(np.float32(info.max)) > info.max else info.max
        inside = jnp.clip(jnp.where(jnp.isnan(a), 0, jnp.trunc(a)), float(info.min), float(top)).astype(dtype)
        return jnp.where(a >= float(info.max), info.max, inside).astype(dtype)

    def elementary(self, name: str, *x: Array) -> Array:
        refuse_doubles(name, x)
        return NATIVE[name](*x) if name in NATIVE else run_sequence(SEQUENCES[name], self, x)


def refuse_doubles(name: str, x: tuple[Array, ...]) -> None:
    if x[0].dtype == jnp.float64:
        raise Error("unsupported", f"{name} of float64 in XLA, which has no fused multiply-add", hint="cast to float32")


class ExactFloats(Floats):
    """The contract's binary32 arithmetic, in integers."""

    exact = True
    add, sub, mul, div = staticmethod(soft.add), staticmethod(soft.sub), staticmethod(soft.mul), staticmethod(soft.div)
    sqrt, floor, round = staticmethod(soft.sqrt), staticmethod(soft.floor), staticmethod(soft.round_even)  # type: ignore[assignment]
    less, equal = staticmethod(soft.less), staticmethod(soft.equal)

    def __init__(self) -> None:
        super().__init__(lax.Precision.HIGHEST)

    def ceil(self, a: Array) -> Array:
        return soft.neg(soft.floor(soft.neg(a)))

    def fma(self, a: Array, b: Array, c: Array) -> Array:
        return soft.fma(a, b, c)

    def neg(self, a: Array) -> Array:
        return soft.neg(a)

    def abs(self, a: Array) -> Array:
        return soft.magnitude(a)

    def from_integer(self, a: Array) -> Array:
        return soft.from_integer(a)

    def to_integer(self, a: Array, dtype: Any) -> Array:
        info = jnp.iinfo(dtype)
        return soft.to_integer(a, int(info.min), int(info.max)).astype(dtype)

    def elementary(self, name: str, *x: Array) -> Array:
        refuse_doubles(name, x)
        return run_sequence(SEQUENCES[name], self, x)


def run_sequence(s: Sequence, f: Floats, arguments: tuple[Array, ...]) -> Array:
    """A sequence as the contract defines it, one instruction after the other."""
    v: list[Array] = []
    for i in s.instructions:
        types = [s.instructions[o].dtype for o in i.operands]
        v.append(_instruction(i, types, [v[o] for o in i.operands], f, arguments))
    return jnp.broadcast_to(v[-1], jnp.broadcast_shapes(*(a.shape for a in arguments)))


PLAIN: dict[str, Callable[..., Array]] = {  # what is no float arithmetic of the device's own
    "add": jnp.add,
    "sub": jnp.subtract,
    "mul": jnp.multiply,
    "div": lax.div,
    "rem": lax.rem,
    "sqrt": jnp.sqrt,
    "floor": jnp.floor,
    "ceil": jnp.ceil,
    "round": jnp.round,
    "neg": jnp.negative,
    "abs": jnp.abs,
    "and": jnp.bitwise_and,
    "or": jnp.bitwise_or,
    "xor": jnp.bitwise_xor,
    "not": jnp.bitwise_not,
    "shl": lax.shift_left,
    "sar": lax.shift_right_arithmetic,
    "shr": lax.shift_right_logical,
    "lt": jnp.less,
    "le": jnp.less_equal,
    "eq": jnp.equal,
    "nan": jnp.isnan,
    "select": jnp.where,
}


def _instruction(i: Instruction, types: list[str], x: list[Array], f: Floats, arguments: tuple[Array, ...]) -> Array:
    match i.op:
        case "arg":
            return arguments[i.value]
        case "const":
            return jnp.asarray(i.value, i.dtype)
        case "call":
            return run_sequence(i.value, f, tuple(x))
        case "reinterpret":
            return lax.bitcast_convert_type(x[0], i.dtype)
        case "convert" if i.dtype == "float32" and types[0] != "float64":
            return f.from_integer(x[0])
        case "convert":
            return f.to_integer(x[0], jnp.dtype(i.dtype)) if types[0] == "float32" and i.dtype != "float64" else x[0].astype(i.dtype)
    if types[0] == "float32":
        match i.op:
            case "add" | "sub" | "mul" | "div" | "fma" | "sqrt" | "floor" | "ceil" | "round" | "neg" | "abs":
                return getattr(f, i.op)(*x)
            case "lt":
                return f.less(*x)
            case "le":
                return f.less(*x) | f.equal(*x)
            case "eq":
                return f.equal(*x)
    if len(x) > 1:
        x = jnp.broadcast_arrays(*x)
    return PLAIN[i.op](*x)
