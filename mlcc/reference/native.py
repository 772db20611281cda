"""The reference's hot loops as plain, obvious C: fma chains, and the elementary sequences printed one statement an instruction.

Compiled once with the hermetic C compiler and kept in the user's cache. tests/reference checks it against the NumPy emulation.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.arithmetic.elementary64 import SEQUENCES64
from mlcc.arithmetic.sequence import Instruction, Sequence
from mlcc.cache.library import host_features, loaded

C_TYPES = {"float32": "float", "float64": "double", "bool": "int", **{f"{u}int{n}": f"{u}int{n}_t" for u in ("", "u") for n in (32, 64)}}

REINTERPRETED = {"float32": "float_of", "int32": "bits_of", "float64": "double_of", "int64": "bits_of_64"}

CHAIN = r"""/* c[m][n] = chain over k of fma(a[m][k], b[k][n], .) from init, then + 0 */
void mlcc_chain(int64_t m, int64_t n, int64_t k, const float *a, const float *b, const float *init, float *c) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j0 = 0; j0 < n; j0 += 64) {
            float acc[64];
            int64_t width = n - j0 < 64 ? n - j0 : 64;
            for (int64_t j = 0; j < width; j++) acc[j] = init[i * n + j0 + j];
            if (width == 64)
                for (int64_t p = 0; p < k; p++)
                    for (int64_t j = 0; j < 64; j++) acc[j] = fma1(a[i * k + p], b[p * n + j0 + j], acc[j]);
            else
                for (int64_t p = 0; p < k; p++)
                    for (int64_t j = 0; j < width; j++) acc[j] = fma1(a[i * k + p], b[p * n + j0 + j], acc[j]);
            for (int64_t j = 0; j < width; j++) c[i * n + j0 + j] = acc[j] + 0.0f;
        }
}
"""

BLOCK_DOT = r"""/* c[m][n] over blocks of 32 k: even and odd fma chains from 0, then acc + (even + odd); at last + 0 */
void mlcc_block_dot(int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j0 = 0; j0 < n; j0 += 16) {
            float acc[16] = {0};
            int64_t width = n - j0 < 16 ? n - j0 : 16;
            for (int64_t k0 = 0; k0 < k; k0 += 32) {
                float sum[2][16] = {{0}};
                for (int64_t p = k0; p < k0 + 32 && p < k; p++)
                    for (int64_t j = 0; j < width; j++) sum[p % 2][j] = fma1(a[i * k + p], b[p * n + j0 + j], sum[p % 2][j]);
                for (int64_t j = 0; j < width; j++) acc[j] = acc[j] + (sum[0][j] + sum[1][j]);
            }
            for (int64_t j = 0; j < width; j++) c[i * n + j0 + j] = acc[j] + 0.0f;
        }
}
"""

PRELUDE = r"""
#include <stdint.h>
static inline int32_t bits_of(float x) { union { float f; int32_t i; } u; u.f = x; return u.i; }
static inline float float_of(int32_t x) { union { int32_t i; float f; } u; u.i = x; return u.f; }
#define fma1(a, b, c) __builtin_fmaf(a, b, c)
#define sqrt1(a) __builtin_sqrtf(a)
static inline int64_t bits_of_64(double x) { union { double f; int64_t i; } u; u.f = x; return u.i; }
static inline double double_of(int64_t x) { union { int64_t i; double f; } u; u.i = x; return u.f; }
#define fma1_64(a, b, c) __builtin_fma(a, b, c)
#define sqrt1_64(a) __builtin_sqrt(a)

void mlcc_fma(int64_t n, const float *a, const float *b, const float *c, float *out) {
    for (int64_t i = 0; i < n; i++) out[i] = fma1(a[i], b[i], c[i]);
}
"""


def _literal(instruction: Instruction) -> str:
    value = instruction.value
    if instruction.dtype == "float32":
        return f"float_of({int(np.float32(value).view(np.int32))})"
    if instruction.dtype == "float64":
        return f"double_of((int64_t){int(np.float64(value).view(np.uint64))}ULL)"
    if instruction.dtype.startswith("u"):
        return f"(({C_TYPES[instruction.dtype]}){int(value or 0)}ULL)"
    return f"(({C_TYPES[instruction.dtype]}){int(value or 0)}LL)"


def _expression(i: Instruction) -> str:
    a, b, c = ([f"v{o}" for o in i.operands] + ["", "", ""])[:3]
    wide, unsigned = C_TYPES[i.dtype], "uint64_t" if i.dtype.endswith("int64") else "uint32_t"
    integer = i.dtype in ("int32", "int64")
    half, of = (31, "") if i.dtype.endswith("32") else (63, "_64")

    def wrapping(symbol: str) -> str:
        return f"({wide})(({unsigned}){a} {symbol} ({unsigned}){b})" if integer else f"{a} {symbol} {b}"

    table = {
        "arg": f"x{i.value}",
        "const": "",
        "add": wrapping("+"),
        "sub": wrapping("-"),
        "mul": wrapping("*"),
        "div": f"{a} / {b}",
        "fma": f"fma1{of}({a}, {b}, {c})",
        "sqrt": f"sqrt1{of}({a})",
        "neg": f"({wide})(0 - ({unsigned}){a})" if integer else f"-{a}",
        "abs": f"__builtin_fabs{'' if of else 'f'}({a})",
        "and": f"{a} & {b}",
        "or": f"{a} | {b}",
        "xor": f"{a} ^ {b}",
        "not": f"!{a}",
        "shl": f"({wide})(({unsigned}){a} << {b})",
        "sar": f"{a} >> {b}",
        "shr": f"({wide})((({unsigned}){a} >> ({b} & {half})) & -(({unsigned})({b} < {half + 1})))",
        "lt": f"{a} < {b}",
        "le": f"{a} <= {b}",
        "eq": f"{a} == {b}",
        "select": f"{a} ? {b} : {c}",
        "convert": f"({wide}){a}",
        "reinterpret": f"{REINTERPRETED.get(i.dtype, '')}({a})",
    }
    return _literal(i) if i.op == "const" else table[i.op]


def print_sequence(s: Sequence) -> str:
    """The sequence as a C function and a loop over arrays."""
    kind = C_TYPES[s.dtype]
    arguments = ", ".join(f"{kind} x{i}" for i in range(s.arity))
    lines = [f"static inline {kind} {s.name}_1({arguments}) {{"]
    lines += [f"    {C_TYPES[i.dtype]} v{n} = {_expression(i)};" for n, i in enumerate(s.instructions)]
    lines.append(f"    return v{len(s.instructions) - 1};\n}}")
    pointers = ", ".join(f"const {kind} *x{i}" for i in range(s.arity))
    call = ", ".join(f"x{i}[i]" for i in range(s.arity))
    lines.append(
        f"void mlcc_{s.name}(int64_t n, {pointers}, {kind} *out) {{ for (int64_t i = 0; i < n; i++) out[i] = {s.name}_1({call}); }}"
    )
    return "\n".join(lines) + "\n"


def source() -> str:
    return (
        PRELUDE
        + BLOCK_DOT
        + CHAIN
        + CHAIN.replace("mlcc_chain", "mlcc_chain64").replace("float", "double").replace("fma1", "__builtin_fma").replace("0.0f", "0.0")
        + "".join(print_sequence(s) for s in (*SEQUENCES.values(), *SEQUENCES64.values()))
    )


@cache
def library() -> ctypes.CDLL:
    """The compiled reference loops (built on first use, then cached)."""
    return loaded("reference", source(), host_features())


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _chain(name: str, dtype: np.dtype[Any], a: np.ndarray, b: np.ndarray, init: np.ndarray) -> np.ndarray:
    (m, k), n = a.shape, b.shape[1]
    a, b = np.ascontiguousarray(a, dtype), np.ascontiguousarray(b, dtype)
    start = np.ascontiguousarray(np.broadcast_to(init, (m, n)), dtype)
    out = np.empty((m, n), dtype)
    getattr(library(), name)(
        ctypes.c_int64(m), ctypes.c_int64(n), ctypes.c_int64(k), _pointer(a), _pointer(b), _pointer(start), _pointer(out)
    )
    return out


def chain(a: np.ndarray, b: np.ndarray, init: np.ndarray) -> np.ndarray:
    """One fma chain per output: a [m,k], b [k,n], init broadcast to [m,n], all float32; k ascending, then + 0."""
    return _chain("mlcc_chain", np.dtype(np.float32), a, b, init)


def chain64(a: np.ndarray, b: np.ndarray, init: np.ndarray) -> np.ndarray:
    """`chain` in float64."""
    return _chain("mlcc_chain64", np.dtype(np.float64), a, b, init)


def block_dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The bf16 profile's dot of a [m,k] and b [k,n], both binary32 arrays of bfloat16 numbers."""
    (m, k), n = a.shape, b.shape[1]
    a, b, out = np.ascontiguousarray(a, np.float32), np.ascontiguousarray(b, np.float32), np.empty((m, n), np.float32)
    library().mlcc_block_dot(ctypes.c_int64(m), ctypes.c_int64(n), ctypes.c_int64(k), _pointer(a), _pointer(b), _pointer(out))
    return out


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Elementwise fma of float32 arrays, broadcast."""
    shape = np.broadcast_shapes(a.shape, b.shape, c.shape)
    a, b, c = (np.ascontiguousarray(x, np.float32) for x in np.broadcast_arrays(a, b, c))
    out = np.empty(shape, np.float32)
    library().mlcc_fma(ctypes.c_int64(a.size), _pointer(a), _pointer(b), _pointer(c), _pointer(out))
    return out


def elementary(name: str, *arguments: np.ndarray) -> np.ndarray:
    """The sequence `name` over float32 or float64 arrays, broadcast."""
    shape = np.broadcast_shapes(*(x.shape for x in arguments))  # ascontiguousarray would make a vector of a scalar
    kind = arguments[0].dtype
    arrays = [np.ascontiguousarray(x, kind) for x in np.broadcast_arrays(*arguments)]
    out, name = np.empty(shape, kind), f"{name}64" if kind == np.float64 else name
    getattr(library(), f"mlcc_{name}")(ctypes.c_int64(out.size), *map(_pointer, arrays), _pointer(out))
    return out
