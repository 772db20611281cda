"""Kernels are compiled here as artifacts have them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import support


@pytest.fixture(autouse=True, scope="package")
def whole_effort() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as m:
        m.delitem(support.EFFORT, "opt-level")
        yield
