"""What lets other build systems take the artifact's folder as a package: Zephyr, PlatformIO, Arduino, ESP-IDF, CMSIS-Pack."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from xml.sax.saxutils import escape, quoteattr

from mlcc.names import label

EPOCH = (1980, 1, 1, 0, 0, 0)  # the first that ZIP knows: the same bytes whenever it is made


def files(wanted: tuple[str, ...], name: str, model: str, version: str, built: Mapping[str, bytes]) -> dict[str, bytes]:
    """Files by path within the artifact. built: the artifact's own, by path."""
    found: dict[str, bytes] = {}
    for kind in wanted:
        found |= {p: text.encode() for p, text in TABLE[kind](name, f"{label(model)}, built by mlcc", version).items()}
    if "arduino" in wanted:
        found[f"src/{name}.h"] = built[f"include/{name}.h"]  # Arduino looks for headers nowhere else
    if "cmsis-pack" in wanted:
        description = f"mlcc.{name}.pdsc"
        content = {description: found[description], **{p: built[p] for p in (f"include/{name}.h", f"src/{name}.c")}}
        found[f"mlcc.{name}.{version}.pack"] = _zip(content)
    return found


def _zip(content: Mapping[str, bytes]) -> bytes:
    """An archive with the same bytes everywhere: stored, as compressors differ."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(content):
            entry = zipfile.ZipInfo(path, EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, content[path])
    return buffer.getvalue()


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


def _arduino(name: str, about: str, version: str) -> dict[str, str]:
    """A library: put this folder, or a ZIP of it, where the IDE or arduino-cli looks."""
    properties = {
        "name": name,
        "version": version,
        "author": "mlcc",
        "maintainer": "mlcc",
        "sentence": about,
        "paragraph": "Outputs are the same bits on every board.",
        "category": "Data Processing",
        "url": "",
        "architectures": "*",
        "includes": f"{name}.h",
    }
    return {"library.properties": "".join(f"{k}={v}\n" for k, v in properties.items())}


def _esp_idf(name: str, about: str, version: str) -> dict[str, str]:
    """A component that ESP-IDF compiles from the C source."""
    return {
        "CMakeLists.txt": f'idf_component_register(SRCS "src/{name}.c" INCLUDE_DIRS "include")\n'
        "target_compile_options(${COMPONENT_LIB} PRIVATE -O2 -ffp-contract=off)\n",
        "idf_component.yml": f'version: "{version}"\ndescription: "{about}"\n',
    }


def _cmsis(name: str, about: str, version: str) -> dict[str, str]:
    """A pack's description; the pack itself is an archive of it and of what it names."""
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
    "arduino": _arduino,
    "esp-idf": _esp_idf,
    "cmsis-pack": _cmsis,
}
FORMATS = tuple(TABLE)
