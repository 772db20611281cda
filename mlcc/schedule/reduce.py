"""How reductions are cut."""

from __future__ import annotations

from mlcc.core.terms import most
from mlcc.program.kernel import Reduce


def reduce_across(spec: Reduce) -> bool:
    """Whether a reduction runs vectors across outputs (they lie side by side) rather than along the reduced axis."""
    if not spec.dims or most(spec.dims[-1]) < 4:
        return False
    n = len(spec.dims)
    side_by_side = spec.source.strides[n - 1] == 1
    along = bool(spec.reduced) and spec.source.strides[-1] == 1 and most(spec.reduced[-1]) >= 4
    return side_by_side or not along
