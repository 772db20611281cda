"""Metadata that lets other build systems take the artifact's folder as a package: Zephyr, PlatformIO, ESP-IDF, CMSIS-Pack."""

from __future__ import annotations

import json
from collections.abc import Callable
from xml.sax.saxutils import escape, quoteattr


def files(wanted: tuple[str, ...], name: str, model: str, version: str) -> dict[str, bytes]:
    """Files by path within the artifact."""
    found: dict[str, str] = {}
    for kind in wanted:
        found |= TABLE[kind](name, f"{model}, built by mlcc", version)
    return {p: text.encode() for p, text in found.items()}


def _zephyr(name: str, about: str, version: str) -> dict[str, str]:
    """A module: list this folder in ZEPHYR_EXTRA_MODULES and set CONFIG_<NAME>=y."""
    upper = name.upper()
    return {
        "zephyr/module.yml": f"name: {name}\nbuild:\n  cmake: zephyr\n  kconfig: zephyr/Kconfig\n",
        "zephyr/Kconfig": f'config {upper}\n\tbool "{about}"\n\thelp\n\t  Links the model and adds its header to the include path.\n',
        "zephyr/CMakeLists.txt": f"""if(CONFIG_{upper})
  zephyr_include_directories(${{CMAKE_CURRENT_LIST_DIR}}/../include)
  add_library({name} STATIC IMPORTED GLOBAL)
  set_target_properties({name} PROPERTIES IMPORTED_LOCATION ${{CMAKE_CURRENT_LIST_DIR}}/../lib/lib{name}.a)
  zephyr_append_cmake_library({name})
endif()
""",
    }


def _platformio(name: str, about: str, version: str) -> dict[str, str]:
    """A library that PlatformIO compiles from the C source, with the board's own flags."""
    manifest = {
        "name": name,
        "version": version,
        "description": about,
        "frameworks": "*",
        "platforms": "*",
        "headers": f"{name}.h",
        "build": {"includeDir": "include", "srcDir": "src", "flags": ["-ffp-contract=off", "-fno-fast-math"]},
    }
    return {"library.json": json.dumps(manifest, indent=2) + "\n"}


def _esp_idf(name: str, about: str, version: str) -> dict[str, str]:
    """A component that ESP-IDF compiles from the C source."""
    return {
        "CMakeLists.txt": f'idf_component_register(SRCS "src/{name}.c" INCLUDE_DIRS "include")\n'
        "target_compile_options(${COMPONENT_LIB} PRIVATE -O2 -ffp-contract=off)\n",
        "idf_component.yml": f'version: "{version}"\ndescription: "{about}"\n',
    }


def _cmsis(name: str, about: str, version: str) -> dict[str, str]:
    """A pack description; `packchk` and `cpackget` take it together with the folder."""
    return {
        f"mlcc.{name}.pdsc": f"""<?xml version="1.0" encoding="UTF-8"?>
<package schemaVersion="1.7.28" xmlns:xs="http://www.w3.org/2001/XMLSchema-instance" xs:noNamespaceSchemaLocation="https://raw.githubusercontent.com/Open-CMSIS-Pack/Open-CMSIS-Pack-Spec/v1.7.28/schema/PACK.xsd">
  <vendor>mlcc</vendor>
  <name>{escape(name)}</name>
  <description>{escape(about)}</description>
  <url></url>
  <releases>
    <release version={quoteattr(version)}>Built by mlcc.</release>
  </releases>
  <components>
    <component Cclass="Machine Learning" Cgroup="Model" Csub={quoteattr(name)} Cversion={quoteattr(version)}>
      <description>{escape(about)}</description>
      <files>
        <file category="include" name="include/"/>
        <file category="source" name={quoteattr(f"src/{name}.c")}/>
      </files>
    </component>
  </components>
</package>
"""
    }


TABLE: dict[str, Callable[[str, str, str], dict[str, str]]] = {
    "zephyr": _zephyr,
    "platformio": _platformio,
    "esp-idf": _esp_idf,
    "cmsis-pack": _cmsis,
}
FORMATS = tuple(TABLE)
