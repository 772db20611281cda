"""Matrix products."""

from __future__ import annotations

from collections.abc import Callable

from mlcc.graph.builder import Builder, Value
from mlcc.graph.integers import whole_product
from mlcc.graph.rules.einsum import einsum
from mlcc.graph.source import Source


def matmul(s: Source) -> Value:
    return product(s, s[0], s[1])


def product(s: Source, a: Value, c: Value) -> Value:
    """NumPy's matmul with vectors promoted."""
    b = s.b
    if a.rank == 0 or c.rank == 0:
        raise s.bad("a scalar operand")
    if (whole := whole_product(b, "MatMul", a, c)) is not None:
        return whole
    return vectors_too(b, a, c, lambda left, right: b("MatMul", left, right))


def vectors_too(b: Builder, a: Value, c: Value, run: Callable[[Value, Value], Value]) -> Value:
    """A product of matrices, vectors promoted as NumPy's matmul does."""
    left, right = a.rank == 1, c.rank == 1
    y = run(b.reshape(a, (1, *a.shape)) if left else a, b.reshape(c, (*c.shape, 1)) if right else c)
    dropped = {y.rank - 2} if left else set()
    dropped |= {y.rank - 1} if right else set()
    return b.reshape(y, [n for i, n in enumerate(y.shape) if i not in dropped]) if dropped else y


def gemm(s: Source) -> Value:
    """The chains start from C where nothing scales the product: one rounding less, as in the contract."""
    b = s.b
    a = b.transpose(s[0], (1, 0)) if s.attr("transA", 0) else s[0]
    w = b.transpose(s[1], (1, 0)) if s.attr("transB", 0) else s[1]
    alpha, beta, c = float(s.attr("alpha", 1.0)), float(s.attr("beta", 1.0)), s.optional(2)
    if c is not None and beta != 1.0:
        c = b("Mul", c, b.like(beta, c))
    if alpha == 1.0 and (whole := whole_product(b, "MatMul", a, w)) is not None:
        return whole if c is None else b("Add", whole, c)
    if alpha == 1.0:
        return b("MatMul", a, w, c) if c is not None else b("MatMul", a, w)
    y = b("MatMul", a, w)
    y = b("Mul", y, b.like(alpha, y))
    return b("Add", y, c) if c is not None else y


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {"MatMul": matmul, "Gemm": gemm, "Einsum": einsum}
