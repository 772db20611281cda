"""The house's own rules: which way imports go, where TVM is known, how long files are."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = 400  # lines, about


def modules() -> dict[str, Path]:
    found = {}
    for folder, package in (("mlcc", "mlcc"), ("backends", "mlcc_backends")):
        for path in (ROOT / folder).rglob("*.py"):
            parts = [package, *path.relative_to(ROOT / folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(path: Path) -> set[str]:
    """What a file imports, in functions, too; not what it imports for the type checker alone."""
    found = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                found.update(a.name for a in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                for a in child.names:
                    inner = f"{child.module}.{a.name}"
                    found.add(inner if inner in MODULES else child.module)
            visit(child)

    visit(ast.parse(path.read_text("utf-8")))
    return found


IMPORTS = {name: imports(path) for name, path in MODULES.items()}


def circles(graph: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Paths that end where they began: each node is visited once."""
    state: dict[str, int] = {}

    def visit(node: str, path: list[str]) -> Iterator[list[str]]:
        state[node] = 1
        for other in sorted(graph.get(node, ())):
            if state.get(other) == 1:
                yield [*path[path.index(other) :], other]
            elif other not in state and other in graph:
                yield from visit(other, [*path, other])
        state[node] = 2

    for node in sorted(graph):
        if node not in state:
            yield from visit(node, [node])


def room(module: str) -> str:
    """The folder below the top that a module lies in."""
    return ".".join(module.split(".")[:2])


def test_circles_are_seen() -> None:
    assert list(circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()})) == [["a", "b", "c", "a"]]
    assert not list(circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}))


@pytest.mark.parametrize("rooms", [False, True])
def test_no_import_circle(rooms: bool) -> None:
    place = room if rooms else str
    graph: dict[str, set[str]] = {place(m): set() for m in MODULES}
    for name, used in IMPORTS.items():
        graph[place(name)] |= {place(u) for u in used if u in MODULES and place(u) != place(name)}
    assert not list(circles(graph))


def test_the_core_knows_no_backend() -> None:
    assert not [
        (m, u) for m, used in IMPORTS.items() for u in used if m.split(".")[0] == "mlcc" and u.startswith(("mlcc_backends", "mlcc_targets"))
    ]


def test_backends_are_named_in_their_folders_alone() -> None:
    """No text of the core's, but help, asks which backend it has to do with."""
    names = sorted(p.name for p in (ROOT / "backends").iterdir() if (p / "__init__.py").exists())
    assert len(names) >= 7
    found = []
    for module, path in MODULES.items():
        if module.startswith("mlcc.") and not module.startswith("mlcc.cli"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                compared = isinstance(node, ast.Compare) and [
                    c.value for c in (node.left, *node.comparators) if isinstance(c, ast.Constant)
                ]
                found += [(module, value) for value in compared or [] if value in names]
    assert not found


def test_tvm_is_known_in_one_place() -> None:
    assert {room(m) for m, used in IMPORTS.items() if any(u.split(".")[0] == "tvm" for u in used)} == {"mlcc.tir"}


def test_files_are_short() -> None:
    long = {str(p.relative_to(ROOT)): n for p in MODULES.values() if (n := len(p.read_text("utf-8").splitlines())) > LONGEST}
    assert long == {}


def in_new_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


LOADED = "print(len([n for n in sys.modules if n.startswith('sympy.')]))"


def test_a_graph_s_imports_are_few() -> None:
    """sympy is not loaded (`mlcc/later.py`), and where somebody uses it, it works."""
    assert in_new_process(f"import sys, mlcc.graph.normalise; {LOADED}").split() == ["0"]
    sizes = "import mlcc, onnx_ir, sympy; print(onnx_ir.SymbolicDim('n') + 1, '|', sympy.Symbol('x') + 1)"
    assert in_new_process(sizes) == "n + 1 | x + 1\n"


PARTS = "print([n in sys.modules for n in ('tvm.relax.op', 'tvm.s_tir.meta_schedule')])"


def test_the_compiler_s_imports_are_few() -> None:
    """Of TVM, what nobody asks for is not loaded, and where somebody does, it works."""
    assert in_new_process(f"import sys, mlcc.tir.codegen; {PARTS}") == "[False, False]\n"
    assert (
        in_new_process(
            "import mlcc.tir.codegen, tvm; print(tvm.s_tir.Schedule.__name__, tvm.relax.Var.__name__, tvm.runtime.disco.__name__)"
        )
        == "Schedule Var tvm.runtime.disco\n"
    )


def test_others_still_load_what_nobody_asks_for() -> None:
    """Fails when upstream is mended: then that part of mlcc/later.py goes."""
    assert int(in_new_process(f"import sys, onnx_ir; {LOADED}")) > 100
    assert in_new_process(f"import sys, tvm; {PARTS}") == "[True, True]\n"
