"""What CMake and pkg-config need to link an artifact's libraries."""

from __future__ import annotations

from collections.abc import Mapping

from mlcc.names import label
from mlcc.target import Target
from mlcc_backends.render import render


def files(name: str, model: str, target: Target, version: str, built: Mapping[str, bytes]) -> dict[str, bytes]:
    """Files by path within the artifact; none where it holds no library. built: the artifact's own, by path."""
    shared, static = f"lib/lib{name}.so" in built, f"lib/lib{name}.a" in built
    if not shared and not static:
        return {}
    values = {"name": name, "model": label(model), "target": target.name, "version": version, "shared": shared, "static": static}
    values["system"] = ["-lpthread", "-lm"] if target.threads else []
    return {
        f"lib/pkgconfig/{name}.pc": render("model.pc.j2", **values),
        f"lib/cmake/{name}/{name}Config.cmake": render("Config.cmake.j2", **values),
        f"lib/cmake/{name}/{name}ConfigVersion.cmake": render("ConfigVersion.cmake.j2", **values),
    }
