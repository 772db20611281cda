"""Templates of the backends."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import jinja2


@cache
def environment() -> jinja2.Environment:
    """All backends' templates; names are told apart by what they make."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(
            [str(files("mlcc_backends") / b / "templates") for b in ("cpu", "c", "mcu", "cuda", "opencl", "hls")]
        ),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, **values: Any) -> bytes:
    return environment().get_template(template).render(**values).encode()
