"""Binary32 in JAX: as the device does it, or exactly, in integers; and elementary functions over either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.arithmetic.sequence import Sequence
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
        return NATIVE[name](*x) if name in NATIVE else run_sequence(SEQUENCES[name], self, x)


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
        return run_sequence(SEQUENCES[name], self, x)


def run_sequence(s: Sequence, f: Floats, arguments: tuple[Array, ...]) -> Array:
    """An elementary function as the contract defines it, one instruction after the other."""
    kinds = {"f32": jnp.float32, "i32": jnp.int32, "i64": jnp.int64}
    v: list[Array] = []
    for i in s.instructions:
        x = [v[o] for o in i.operands]
        floating = bool(i.operands) and s.instructions[i.operands[0]].dtype == "f32"
        match i.op:
            case "arg":
                v.append(arguments[int(i.value or 0)])
            case "const":
                v.append(jnp.asarray(i.value, kinds[i.dtype]))
            case "add" | "sub" | "mul":
                v.append(
                    getattr(
                        f if floating else jnp,
                        {"add": "add", "sub": "sub" if floating else "subtract", "mul": "mul" if floating else "multiply"}[i.op],
                    )(*x)
                )
            case "div" | "fma" | "sqrt":
                v.append(getattr(f, i.op)(*x))
            case "neg" | "abs":
                v.append(getattr(f, i.op)(*x) if floating else (-x[0] if i.op == "neg" else jnp.abs(x[0])))
            case "and" | "or" | "xor":
                v.append({"and": jnp.bitwise_and, "or": jnp.bitwise_or, "xor": jnp.bitwise_xor}[i.op](*x))
            case "not":
                v.append(jnp.logical_not(x[0]))
            case "shl":
                v.append(lax.shift_left(*jnp.broadcast_arrays(*x)))
            case "sar":
                v.append(lax.shift_right_arithmetic(*jnp.broadcast_arrays(*x)))
            case "shr":
                v.append(lax.shift_right_logical(*jnp.broadcast_arrays(*x)))
            case "lt":
                v.append(f.less(*x) if floating else x[0] < x[1])
            case "le":
                v.append(f.less(*x) | f.equal(*x) if floating else x[0] <= x[1])
            case "eq":
                v.append(f.equal(*x) if floating else x[0] == x[1])
            case "select":
                v.append(jnp.where(*x))
            case "bits":
                v.append(lax.bitcast_convert_type(x[0], jnp.int32))
            case "float_of_bits":
                v.append(lax.bitcast_convert_type(x[0], jnp.float32))
            case "to_float":
                v.append(f.from_integer(x[0]))
            case "to_int64":
                v.append(x[0].astype(jnp.int64))
            case "zero_extend":
                v.append(lax.bitcast_convert_type(x[0], jnp.uint32).astype(jnp.int64))
            case "narrow":
                v.append(x[0].astype(jnp.int32))
            case _:
                raise AssertionError(i.op)
    return jnp.broadcast_to(v[-1], jnp.broadcast_shapes(*(a.shape for a in arguments)))
