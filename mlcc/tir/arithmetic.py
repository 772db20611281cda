"""The contract's operations as TIR expressions for one target: what is fused, fenced, emulated.

LLVM, as TVM sets it up, may fuse a product into a following addition; a fence around every float product forbids it.
Where the target has no fma instruction, the product is taken in binary64 (exact), the sum rounded to odd there and then once to
binary32 (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008).
"""

from __future__ import annotations

import numpy as np
from tvm import tirx as t

from mlcc.arithmetic.sequence import Instruction, Sequence
from mlcc.machine import Machine
from mlcc.tir.builder import Expr, Function, int32, vector

BIT_NODES = {
    "bitwise_and": t.BitwiseAnd,
    "bitwise_or": t.BitwiseOr,
    "bitwise_xor": t.BitwiseXor,
    "bitwise_not": t.BitwiseNot,
    "shift_left": t.LShift,
    "shift_right": t.RShift,
}
SEQUENCE_DTYPES = {"f32": "float32", "i32": "int32", "i64": "int64"}


class Arithmetic:
    """Expression makers over vectors of `lanes`."""

    def __init__(self, f: Function, lanes: int, machine: Machine) -> None:
        self.f, self.lanes, self.machine = f, lanes, machine

    def v(self, dtype: str) -> str:
        return vector(dtype, self.lanes)

    def wide(self, scalar: Expr) -> Expr:
        return scalar if self.lanes == 1 else t.Broadcast(scalar, int32(self.lanes))

    def const(self, value: float | int, dtype: str) -> Expr:
        if dtype.startswith("float"):
            value = float(value)
            if not np.isfinite(value) or (value == 0 and np.signbit(value)):
                integer = dtype.replace("float", "int")
                bits = int(np.array(value, dtype).view(integer))
                return self.wide(t.call_intrin(dtype, "tirx.reinterpret", t.IntImm(integer, bits)))
            return self.wide(t.FloatImm(dtype, value))
        if dtype == "bool":
            return self.wide(t.IntImm("bool", int(value)))
        if dtype == "uint64" and int(value) >= 1 << 63:  # literals are signed
            return self.wide(t.call_intrin(dtype, "tirx.reinterpret", t.IntImm("int64", int(value) - (1 << 64))))
        return self.wide(t.IntImm(dtype, int(value)))

    def intrinsic(self, name: str, dtype: str, *args: Expr) -> Expr:
        return t.call_llvm_pure_intrin(self.v(dtype), name, *args)

    def reinterpret(self, dtype: str, x: Expr) -> Expr:
        return t.call_intrin(self.v(dtype), "tirx.reinterpret", x)

    def cast(self, dtype: str, x: Expr) -> Expr:
        return t.Cast(self.v(dtype), x)

    def number(self, x: Expr, stored: str, dtype: str) -> Expr:
        """A loaded value in the type that it is computed in: bytes become int32."""
        if stored in ("int8", "uint8") and dtype == "int32":
            x = self.cast(dtype, x)
        return self.f.let(x, self.v(dtype))

    def mul(self, dtype: str, a: Expr, b: Expr) -> Expr:
        product = t.Mul(a, b)
        return self.intrinsic("llvm.arithmetic.fence", dtype, product) if dtype.startswith("float") else product

    def fma(self, dtype: str, a: Expr, b: Expr, c: Expr) -> Expr:
        if dtype not in ("float32", "float64"):
            return t.Add(t.Mul(a, b), c)
        if self.machine.fma or dtype == "float64":
            return self.intrinsic("llvm.fma", dtype, a, b, c)

        def let(x: Expr, d: str) -> Expr:
            return self.f.let(x, self.v(d))

        product = let(self.mul("float64", self.cast("float64", a), self.cast("float64", b)), "float64")
        addend = let(self.cast("float64", c), "float64")
        total = let(t.Add(product, addend), "float64")
        back = let(t.Sub(total, product), "float64")
        error = let(t.Add(t.Sub(product, t.Sub(total, back)), t.Sub(addend, back)), "float64")
        bits = self.f.let(self.reinterpret("int64", total), self.v("int64"))
        one, zero = self.const(1, "int64"), self.const(0.0, "float64")
        inexact_even = t.And(
            t.Or(t.LT(error, zero), t.LT(zero, error)), t.EQ(self.int_op("bitwise_and", "int64", bits, one), self.const(0, "int64"))
        )
        away = t.Not(differ(t.LT(zero, error), t.LT(zero, total)))
        odd = self.f.let(
            t.Add(bits, t.Select(inexact_even, t.Select(away, one, self.const(-1, "int64")), self.const(0, "int64"))), self.v("int64")
        )
        return self.cast("float32", self.reinterpret("float64", odd))

    def int_op(self, name: str, dtype: str, *args: Expr) -> Expr:
        del dtype  # the operands' own
        return BIT_NODES[name](*args)

    def sqrt(self, dtype: str, x: Expr) -> Expr:
        return self.intrinsic("llvm.sqrt", dtype, x)

    def neg(self, dtype: str, x: Expr) -> Expr:
        if dtype.startswith("float"):
            return t.Mul(x, self.const(-1.0, dtype))  # exact, so no fence
        return t.Sub(self.const(0, dtype), x)

    def run_sequence(self, s: Sequence, arguments: list[Expr]) -> Expr:
        """An elementary function, one bound variable an instruction."""
        values: list[Expr] = []
        for i in s.instructions:
            value = self._instruction(i, [values[o] for o in i.operands], arguments)
            if i.op not in ("const", "arg") and i.dtype != "b":
                value = self.f.let(value, self.v(SEQUENCE_DTYPES[i.dtype]))
            values.append(value)
        return values[-1]

    def _instruction(self, i: Instruction, x: list[Expr], arguments: list[Expr]) -> Expr:
        dtype = SEQUENCE_DTYPES.get(i.dtype, "bool")
        a, b, c = (x + [None] * 3)[:3]
        match i.op:
            case "arg":
                return arguments[int(i.value or 0)]
            case "const":
                return self.const(i.value or 0, dtype)
            case "add":
                return t.Add(a, b)
            case "sub":
                return t.Sub(a, b)
            case "mul":
                return self.mul(dtype, a, b)
            case "div":
                return t.Div(a, b)
            case "fma":
                return self.fma(dtype, a, b, c)
            case "sqrt":
                return self.sqrt(dtype, a)
            case "neg":
                return self.neg(dtype, a)
            case "abs":
                return self.intrinsic("llvm.fabs", dtype, a)
            case "and" | "or" | "xor":
                if dtype == "bool":
                    return {"and": t.And, "or": t.Or, "xor": differ}[i.op](a, b)
                return self.int_op(f"bitwise_{i.op}", dtype, a, b)
            case "not":
                return t.Not(a)
            case "shl":
                return self.int_op("shift_left", dtype, a, b)
            case "sar":
                return self.int_op("shift_right", dtype, a, b)
            case "shr":
                return self._shift_logical(dtype, a, b)
            case "lt":
                return t.LT(a, b)
            case "le":
                return t.LE(a, b)
            case "eq":
                return t.EQ(a, b)
            case "select":
                return t.Select(a, b, c)
            case "bits":
                return self.reinterpret("int32", a)
            case "float_of_bits":
                return self.reinterpret("float32", a)
            case "to_float":
                return self.cast("float32", a)
            case "to_int64":
                return self.cast("int64", a)
            case "zero_extend":
                return self.cast("int64", self.reinterpret("uint32", a))
            case "narrow":
                return self.cast("int32", a)
        raise AssertionError(i.op)

    def _shift_logical(self, dtype: str, a: Expr, b: Expr) -> Expr:
        """Zero-filling shift; by the width gives 0 (LLVM leaves that undefined)."""
        unsigned, width = "u" + dtype, int(dtype[3:])
        amount = self.f.let(b, self.v(dtype))
        masked = self.reinterpret(unsigned, self.int_op("bitwise_and", dtype, amount, self.const(width - 1, dtype)))
        shifted = self.reinterpret(dtype, self.int_op("shift_right", unsigned, self.reinterpret(unsigned, a), masked))
        return t.Select(t.LT(amount, self.const(width, dtype)), shifted, self.const(0, dtype))


def differ(a: Expr, b: Expr) -> Expr:
    """Exclusive or of truth values (TVM 0.27 compares them as floats)."""
    return t.Or(t.And(a, t.Not(b)), t.And(t.Not(a), b))
