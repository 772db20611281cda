"""What lets other build systems take the artifact's folder as a package: Zephyr, PlatformIO, Arduino, ESP-IDF, CMSIS-Pack."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from mlcc.names import label
from mlcc.plugin import NoOptions, Packed
from mlcc.target import Target
from mlcc_backends.mcu.sections import PURPOSE, Board

EPOCH = (1980, 1, 1, 0, 0, 0)  # the first that ZIP knows: the same bytes whenever it is made


@dataclass(frozen=True)
class Kit:
    """What every packaging says: the library's name, a line about it, its version, whether its code needs a float unit."""

    name: str
    about: str
    version: str
    fpu: bool


@dataclass(frozen=True)
class KitPackaging:
    """One of them. text: its own files; sources: whether the other build system compiles the C source, which then has the self-test beside
    it."""

    text: Callable[[Kit], dict[str, str]]
    sources: bool = True
    options: type = NoOptions

    def refuses(self, target: Target) -> str:
        return "" if target.section(Board) else PURPOSE

    def files(self, built: Packed, options: Any) -> dict[str, bytes]:
        name = built.binaries.name
        kit = Kit(name, f"{label(built.model)}, built by mlcc", built.version, built.target.variants[0].machine.fma)
        found = {p: text.encode() for p, text in self.text(kit).items()}
        if self.sources:
            found[f"src/{name}_selftest.c"] = selftest(built.files)
        if self.text is _arduino:
            found[f"src/{name}.h"] = built.files[f"include/{name}.h"]  # Arduino looks for headers nowhere else
        if self.text is _cmsis:
            parts = (f"mlcc.{name}.pdsc", f"include/{name}.h", f"src/{name}.c", f"src/{name}_selftest.c")
            found[f"mlcc.{name}.{built.version}.pack"] = _zip({p: {**built.files, **found}[p] for p in parts})
        return found

    def tools(self) -> dict[str, str]:
        return {}


def selftest(built: Mapping[str, bytes]) -> bytes:
    """The self-test as one source beside the model's."""
    header, source = (built[f"share/selftest/{f}"] for f in ("internal.h", "selftest.c"))
    return source.replace(b'#include "internal.h"\n', header, 1)


def _zip(content: Mapping[str, bytes]) -> bytes:
    """An archive with the same bytes everywhere: stored, as compressors differ."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(content):
            entry = zipfile.ZipInfo(path, EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, content[path])
    return buffer.getvalue()


def _zephyr(kit: Kit) -> dict[str, str]:
    """A module: list this folder in ZEPHYR_EXTRA_MODULES and set CONFIG_<NAME>=y."""
    upper, needs = kit.name.upper(), "depends on FPU\n\t" if kit.fpu else ""
    return {
        "zephyr/module.yml": f"name: {kit.name}\nbuild:\n  cmake: zephyr\n  kconfig: zephyr/Kconfig\n",
        "zephyr/Kconfig": f'config {upper}\n\tbool "{kit.about}"\n\t{needs}help\n\t  Links the model and adds its header to the '
        f"include path.\n",
        "zephyr/CMakeLists.txt": f"""if(CONFIG_{upper})
  zephyr_include_directories(${{CMAKE_CURRENT_LIST_DIR}}/../include)
  add_library({kit.name} STATIC IMPORTED GLOBAL)
  set_target_properties({kit.name} PROPERTIES IMPORTED_LOCATION ${{CMAKE_CURRENT_LIST_DIR}}/../lib/lib{kit.name}.a)
  zephyr_append_cmake_library({kit.name})
endif()
""",
    }


def _platformio(kit: Kit) -> dict[str, str]:
    """A library that PlatformIO compiles from the C source, with the board's own flags."""
    manifest = {
        "name": kit.name,
        "version": kit.version,
        "description": kit.about,
        "frameworks": "*",
        "platforms": "*",
        "headers": f"{kit.name}.h",
        "build": {"includeDir": "include", "srcDir": "src", "flags": ["-ffp-contract=off", "-fno-fast-math"]},
    }
    return {"library.json": json.dumps(manifest, indent=2) + "\n"}


def _arduino(kit: Kit) -> dict[str, str]:
    """A library: put this folder, or a ZIP of it, where the IDE or arduino-cli looks."""
    properties = {
        "name": kit.name,
        "version": kit.version,
        "author": "mlcc",
        "maintainer": "mlcc",
        "sentence": kit.about,
        "paragraph": "Outputs are the same bits on every board.",
        "category": "Data Processing",
        "url": "https://mlcc.dev",
        "architectures": "*",
        "includes": f"{kit.name}.h",
    }
    return {"library.properties": "".join(f"{k}={v}\n" for k, v in properties.items())}


def _esp_idf(kit: Kit) -> dict[str, str]:
    """A component that ESP-IDF compiles from the C source."""
    return {
        "CMakeLists.txt": f'idf_component_register(SRCS "src/{kit.name}.c" "src/{kit.name}_selftest.c" INCLUDE_DIRS "include")\n'
        "target_compile_options(${COMPONENT_LIB} PRIVATE -O2 -ffp-contract=off)\n",
        "idf_component.yml": f'version: "{kit.version}"\ndescription: "{kit.about}"\n',
    }


def _cmsis(kit: Kit) -> dict[str, str]:
    """A pack's description; the pack itself is an archive of it and of what it names."""
    return {
        f"mlcc.{kit.name}.pdsc": f"""<?xml version="1.0" encoding="UTF-8"?>
<package schemaVersion="1.7.28" xmlns:xs="http://www.w3.org/2001/XMLSchema-instance" xs:noNamespaceSchemaLocation="https://raw.githubusercontent.com/Open-CMSIS-Pack/Open-CMSIS-Pack-Spec/v1.7.28/schema/PACK.xsd">
  <vendor>mlcc</vendor>
  <name>{escape(kit.name)}</name>
  <description>{escape(kit.about)}</description>
  <url></url>
  <releases>
    <release version={quoteattr(kit.version)}>Built by mlcc.</release>
  </releases>
  <components>
    <component Cclass="Machine Learning" Cgroup="Model" Csub={quoteattr(kit.name)} Cversion={quoteattr(kit.version)}>
      <description>{escape(kit.about)}</description>
      <files>
        <file category="include" name="include/"/>
        <file category="source" name={quoteattr(f"src/{kit.name}.c")}/>
        <file category="source" name={quoteattr(f"src/{kit.name}_selftest.c")}/>
      </files>
    </component>
  </components>
</package>
"""
    }


KITS = {
    "zephyr": KitPackaging(_zephyr, sources=False),
    "platformio": KitPackaging(_platformio),
    "arduino": KitPackaging(_arduino),
    "esp-idf": KitPackaging(_esp_idf),
    "cmsis-pack": KitPackaging(_cmsis),
}
