"""The kernels' own tests, run by the portable C: shapes, types, edge values; no warning from a strict compiler."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backends.support import assert_exact_in_c
from tests.kernels import test_kernels as kernels
from tests.kernels import test_trees as trees


@pytest.fixture(scope="module", autouse=True)
def in_c() -> Iterator[None]:
    own = kernels.assert_exact
    kernels.assert_exact = trees.assert_exact = assert_exact_in_c  # type: ignore[assignment]
    yield
    kernels.assert_exact = trees.assert_exact = own


test_binary_elementwise_broadcast = kernels.test_binary_elementwise_broadcast
test_unary_elementwise = kernels.test_unary_elementwise
test_cast = kernels.test_cast
test_integer_operators = kernels.test_integer_operators
test_reductions = kernels.test_reductions
test_long_reductions = kernels.test_long_reductions
test_matmul = kernels.test_matmul
test_batched_matmul = kernels.test_batched_matmul
test_convolution = kernels.test_convolution
test_transposed_convolution = kernels.test_transposed_convolution
test_pools = kernels.test_pools
test_movement = kernels.test_movement
test_gather_and_scatter_with_computed_indices = kernels.test_gather_and_scatter_with_computed_indices
test_scans = kernels.test_scans
test_random_forests = trees.test_random_forests
test_float_remainder = kernels.test_float_remainder
