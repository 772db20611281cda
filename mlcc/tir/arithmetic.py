"""The contract's operations as TIR expressions for one target: what is fused, fenced, emulated.

LLVM, as TVM sets it up, may fuse a product into a following addition; a fence around every float product forbids it.
Where the target has no fma instruction, the product is taken in binary64 (exact), the sum rounded to odd there and then once to
binary32 (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008).
"""

from __future__ import annotations

import numpy as np
from tvm import tirx as t

from mlcc.arithmetic.scalar import FLOATS, ROUND, ROUND_BITS
from mlcc.arithmetic.sequence import Instruction, Sequence
from mlcc.core.dim import Dim
from mlcc.machine import Machine
from mlcc.tir.builder import BITS, Expr, Function, int32, vector

BIT_NODES = {"and": t.BitwiseAnd, "or": t.BitwiseOr, "xor": t.BitwiseXor}


class Arithmetic:
    """Expression makers over vectors of `lanes`."""

    def __init__(self, f: Function, lanes: int, machine: Machine) -> None:
        self.f, self.lanes, self.machine = f, lanes, machine

    def v(self, dtype: str) -> str:
        return vector(dtype, self.lanes)

    def wide(self, scalar: Expr) -> Expr:
        return scalar if self.lanes == 1 else t.Broadcast(scalar, int32(self.lanes))

    def const(self, value: float | int, dtype: str) -> Expr:
        if isinstance(value, Dim):
            return self.wide(int32(value) if dtype == "int32" else t.Cast(dtype, int32(value)))
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
        inexact_even = t.And(t.Or(t.LT(error, zero), t.LT(zero, error)), t.EQ(t.BitwiseAnd(bits, one), self.const(0, "int64")))
        away = t.Not(differ(t.LT(zero, error), t.LT(zero, total)))
        odd = self.f.let(
            t.Add(bits, t.Select(inexact_even, t.Select(away, one, self.const(-1, "int64")), self.const(0, "int64"))), self.v("int64")
        )
        return self.cast("float32", self.reinterpret("float64", odd))

    def sqrt(self, dtype: str, x: Expr) -> Expr:
        return self.intrinsic("llvm.sqrt", dtype, x)

    def neg(self, dtype: str, x: Expr) -> Expr:
        if dtype.startswith("float"):
            return t.Mul(x, self.const(-1.0, dtype))  # exact, so no fence
        return t.Sub(self.const(0, dtype), x)

    def is_nan(self, dtype: str, x: Expr) -> Expr:
        """By its bits: a comparison with itself might be folded."""
        integer, mask, infinity = {"float32": ("int32", 0x7FFFFFFF, 0x7F800000), "float64": ("int64", (1 << 63) - 1, 0x7FF << 52)}[dtype]
        magnitude = t.BitwiseAnd(self.reinterpret(integer, x), self.const(mask, integer))
        return t.LT(self.const(infinity, integer), magnitude)

    def run(self, s: Sequence, *arguments: Expr) -> Expr:
        """A sequence's result, one bound variable an instruction; or what the CPU has in its place."""
        if (own := self._instead(s.name, arguments)) is not None:
            return own
        values: list[Expr] = []
        for i in s.instructions:
            types = [s.instructions[o].dtype for o in i.operands]
            value = self._instruction(i, types, [values[o] for o in i.operands], arguments)
            if i.op not in ("const", "arg") and i.dtype != "bool":
                value = self.f.let(value, self.v(i.dtype))
            values.append(value)
        return values[-1]

    def _instead(self, name: str, x: tuple[Expr, ...]) -> Expr | None:
        if self.machine.half and name in ("float_of_half", "float_of_finite_half"):
            return self.cast("float32", self.reinterpret("float16", x[0]))
        if self.machine.half and name == "half_of_float":
            return self.reinterpret("uint16", self.cast("float16", x[0]))
        kind, _, dtype = name.partition("_")
        if kind in ("ReduceMax", "ReduceMin") and dtype in FLOATS:
            return self.intrinsic("llvm.maximum" if kind == "ReduceMax" else "llvm.minimum", dtype, *x)
        return None

    def _instruction(self, i: Instruction, types: list[str], x: list[Expr], arguments: tuple[Expr, ...]) -> Expr:
        dtype, source = i.dtype, types[0] if types else ""
        a, b, c = (x + [None] * 3)[:3]
        match i.op:
            case "arg":
                return arguments[i.value]
            case "const":
                return self.const(i.value, dtype)
            case "call":
                return self.run(i.value, *x)
            case "add":
                return t.Add(a, b)
            case "sub":
                return t.Sub(a, b)
            case "mul":
                return self.mul(dtype, a, b)
            case "div":
                return t.Div(a, b)
            case "rem":  # exact by definition, so the C library's is the one answer
                return t.call_extern(dtype, "fmodf" if dtype == "float32" else "fmod", a, b)
            case "fma":
                return self.fma(dtype, a, b, c)
            case "sqrt":
                return self.sqrt(dtype, a)
            case "floor" | "ceil":
                return self.intrinsic(f"llvm.{i.op}", dtype, a)
            case "round":
                return self.intrinsic("llvm.rint", dtype, a)
            case "neg":
                return self.neg(dtype, a)
            case "abs":
                return self.intrinsic("llvm.fabs", dtype, a)
            case "and" | "or" | "xor":
                if dtype == "bool":
                    return {"and": t.And, "or": t.Or, "xor": differ}[i.op](a, b)
                return BIT_NODES[i.op](a, b)
            case "not":
                return t.Not(a) if dtype == "bool" else t.BitwiseNot(a)
            case "shl":
                return t.LShift(a, b)
            case "sar":
                return t.RShift(a, b)
            case "shr":
                return self._shift_logical(dtype, a, b)
            case "lt":
                return t.LT(a, b)
            case "le":
                return t.LE(a, b)
            case "eq":
                return t.Not(differ(a, b)) if source == "bool" else t.EQ(a, b)
            case "nan":
                return self.is_nan(source, a)
            case "select":
                return t.Select(a, b, c)
            case "convert":
                return self.cast(dtype, self._truncated(a) if source == "float32" and dtype not in FLOATS and BITS[dtype] < 32 else a)
            case "reinterpret":
                return self.reinterpret(dtype, a)
        raise AssertionError(i.op)

    def _truncated(self, x: Expr) -> Expr:
        """A binary32 number below 2^22 without its fraction, as int32, by additions alone.

        QEMU 7.2 dies of a RISC-V vector's own conversion where that starts a block (decode_save_opc's assertion; gen_set_rm runs twice).
        """
        shift, one = self.const(ROUND, "float32"), self.const(1.0, "float32")

        def let(e: Expr) -> Expr:
            return self.f.let(e, self.v("float32"))

        near = let(t.Sub(let(t.Add(x, shift)), shift))
        size, wanted = (let(self.intrinsic("llvm.fabs", "float32", v)) for v in (near, x))
        step = t.Select(t.LT(x, self.const(0.0, "float32")), self.const(-1.0, "float32"), one)
        whole = let(t.Select(t.LT(wanted, size), t.Sub(near, step), near))
        bits = self.reinterpret("int32", let(t.Add(whole, shift)))
        return self.f.let(t.Sub(bits, self.const(ROUND_BITS, "int32")), self.v("int32"))

    def _shift_logical(self, dtype: str, a: Expr, b: Expr) -> Expr:
        """Zero-filling shift; by the width gives 0 (LLVM leaves that undefined)."""
        width = BITS[dtype]
        amount = self.f.let(b, self.v(dtype))
        masked = t.BitwiseAnd(amount, self.const(width - 1, dtype))
        if dtype.startswith("u"):
            shifted = t.RShift(a, masked)
        else:
            unsigned = "u" + dtype
            shifted = self.reinterpret(dtype, t.RShift(self.reinterpret(unsigned, a), self.reinterpret(unsigned, masked)))
        return t.Select(t.LT(amount, self.const(width, dtype)), shifted, self.const(0, dtype))


def differ(a: Expr, b: Expr) -> Expr:
    """Exclusive or of truth values (TVM 0.27 compares them as floats)."""
    return t.Or(t.And(a, t.Not(b)), t.And(t.Not(a), b))
