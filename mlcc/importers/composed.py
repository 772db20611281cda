"""Several models and stages as one: a TOML file with a [[stage]] for each, in the order of the data's way; or a single stage.

    [[stage]]
    kind = "mel_spectrogram"            # a stage of `mlcc.importers.stages`, with its options; or
    model = "net.onnx"                  # a model of any framework; or
    python = "prepare.py:cut"           # a function of onnxscript; or
    file = "mel.toml"                   # a stage in a file of its own, which training shares (`mlcc.stage`)
    name = "mel"                        # how others call it
    inputs = { x = "mel.features" }     # whose output an input is, where names do not say it
    dims = { samples = "400..16000" }   # what a named size may be, unless a build says otherwise

Each becomes an ONNX function with operator sets of its own. An input is the latest output of its name; of a stage that has one input left,
and comes after a stage with one output, that; else an input of the whole. Outputs that nobody reads are the whole's, or those that
`outputs` names. Each part is judged by its own framework.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from mlcc import importers, plugin, toml, trust
from mlcc.artifact import plain
from mlcc.cache.tools import packages
from mlcc.error import Error
from mlcc.importers import DIMS, NOTES, SAMPLES, apart, traced
from mlcc.importers.onnx import from_proto
from mlcc.importers.stages import KINDS, written
from mlcc.section import section

suffixes = (".toml",)
DOMAIN = "mlcc.stage"
SOURCES = ("kind", "model", "python", "file")
COMMON = ("name", "inputs", "dims", *SOURCES)


@dataclass(frozen=True)
class Table:
    """A stage as a file says it. options: of its kind; dims: ranges of named sizes; root: the folder that its paths start from; where: for
    messages."""

    source: str
    value: str
    name: str
    options: Mapping[str, Any]
    bound: Mapping[str, str]
    dims: Mapping[str, str]
    root: Path
    where: str

    @property
    def path(self) -> Path:
        return self.root / self.value.partition(":")[0]


@dataclass(frozen=True)
class Part:
    """A stage as a model. inputs, outputs: name → its value."""

    table: Table
    model: ir.Model
    inputs: Mapping[str, ir.Value]
    outputs: Mapping[str, ir.Value]

    @property
    def name(self) -> str:
        return self.table.name


@dataclass
class Joint:
    """How parts are joined. sources: for each part, its input → the value's name in the whole; inputs: of the whole, by name; outputs: the
    whole's name → (part, output)."""

    sources: list[dict[str, str]] = field(default_factory=list)
    inputs: dict[str, ir.Value] = field(default_factory=dict)
    outputs: dict[str, tuple[str, str]] = field(default_factory=dict)


# ---- what the file says ----


def read(path: Path) -> tuple[list[Table], list[str]]:
    """(its stages, the outputs that it names). Raises Error(usage)."""
    try:
        data = toml.parse(plain.read(path.resolve(), code="usage").decode(), str(path))
    except (OSError, UnicodeDecodeError) as e:
        raise Error("usage", f"cannot read: {e}", str(path)) from None
    listed = data.get("stage", None)
    if listed is None:
        if not set(SOURCES) & set(data) or "targets" in data:
            raise Error("usage", "no stages in it", str(path), "[[stage]] with kind, model, python or file")
        return [_table(data, path, str(path), path.stem, (path,))], []
    if not isinstance(listed, list) or not all(isinstance(t, dict) for t in listed) or not listed:
        raise Error("usage", "stages are written as [[stage]]", str(path))
    tables = [_table(t, path, f"{path}, stage {i}", "", (path,)) for i, t in enumerate(listed, 1)]
    named: dict[str, Table] = {}
    for t in tables:
        if t.name in named:
            raise Error("usage", f"two stages are called {t.name}", t.where, 'tell them apart: name = "…"')
        named[t.name] = t
    outputs = data.get("outputs", [])
    if not isinstance(outputs, list) or not all(isinstance(o, str) for o in outputs):
        raise Error("usage", 'outputs are a list, such as ["net.scores"]', str(path))
    return tables, outputs


def _table(data: Mapping[str, Any], path: Path, where: str, name: str, within: tuple[Path, ...]) -> Table:
    given = [s for s in SOURCES if s in data]
    if len(given) != 1 or not isinstance(data[given[0]], str):
        raise Error("usage", "a stage is one of kind, model, python and file", where)
    source, value = given[0], str(data[given[0]])
    name, bound = data.get("name", name), data.get("inputs", {})
    if not isinstance(name, str) or not isinstance(bound, dict) or not all(isinstance(v, str) for v in bound.values()):
        raise Error("usage", 'name is a text, inputs a table such as { x = "mel.features" }', where)
    dims = data.get("dims", {})
    if not isinstance(dims, dict) or not all(isinstance(v, str | int) for v in dims.values()):
        raise Error("usage", 'dims is a table such as { samples = "400..16000" }', where)
    options = {k: v for k, v in data.items() if k not in COMMON}
    if source != "kind" and options:
        raise Error("usage", f"unknown key {next(iter(options))}", where, f"keys here: {', '.join(COMMON)}")
    if source == "kind" and value not in KINDS:
        raise Error("usage", f"no stage is called {value}", where, f"there are {', '.join(KINDS)}")
    if source == "file":
        other = path.parent / value
        if other in within:
            raise Error("usage", "a file that names itself", where)
        try:
            held = toml.parse(plain.read(other.resolve(), code="usage").decode(), str(other))
        except (OSError, UnicodeDecodeError) as e:
            raise Error("usage", f"cannot read {other}: {e}", where) from None
        merged = {**held, **({"name": name} if name else {}), **({"inputs": bound} if bound else {}), **({"dims": dims} if dims else {})}
        return _table(merged, other, str(other), other.stem, (*within, other))
    return Table(
        source,
        value,
        name or Path(value.partition(":")[2] or value).stem,
        options,
        bound,
        {k: str(v) for k, v in dims.items()},
        path.parent,
        where,
    )


def inputs(path: Path, raw: bytes) -> list[tuple[str, Path]]:
    """Every file that stages name, and what belongs to these."""
    try:
        tables, _ = read(path)
    except Error:  # the importer says what is wrong with it
        return []
    found = dict(_files(path, tables))
    return [(name, file) for name, file in found.items() if file.is_file()]


def within(path: Path) -> list[Path]:
    """Model files that other importers read."""
    try:
        return [t.path for t in read(path)[0] if t.source == "model"]
    except Error:
        return []


def _files(path: Path, tables: Iterable[Table]) -> Iterator[tuple[str, Path]]:
    for t in tables:
        if t.source in ("model", "python"):
            yield t.value, t.path
            one = plugin.importer(t.path)
            if one is not None and t.path.is_file():
                yield from ((f"{t.value}/{name}", file) for name, file in one.inputs(t.path, t.path.read_bytes()))
        if t.where != str(path) and not t.where.startswith(f"{path}, "):
            yield t.where, Path(t.where)
        for value in t.options.values() if t.source == "kind" else ():
            if isinstance(value, str) and (t.root / value).is_file():
                yield value, t.root / value


def tools() -> dict[str, str]:
    return packages("onnxscript")


# ---- parts ----


def parts(path: Path) -> tuple[list[Part], list[str]]:
    tables, outputs = read(path)
    return [_part(t) for t in tables], outputs


def _part(t: Table) -> Part:
    if t.source == "kind":
        options = {k: t.root / v if k == "vocabulary" else v for k, v in t.options.items()}
        model = from_proto(written(section(KINDS[t.value], options, lambda key: t.where)))
    elif t.source == "python":
        try:
            text = t.path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise Error("usage", f"cannot read {t.path}: {e}", t.where) from None
        trust.demand(text, str(t.path), "it is Python, which is run to see what it computes")
        model = traced.load(t.path, t.value.partition(":")[2], t.where)
    else:
        model = importers.load(t.path, trust_pickle=True)  # whether it may was asked of the whole
    held = {v.name for v in model.graph.initializers.values()}
    given = {str(v.name): v for v in model.graph.inputs if v.name not in held}
    return Part(t, model, given, {str(v.name): v for v in model.graph.outputs})


def joined(path: Path, found: list[Part], outputs: list[str]) -> Joint:
    """Raises Error(usage) where what is named is not there, or does not fit."""
    joint, read_by = Joint(), set[str]()
    made: dict[str, ir.Value] = {}
    latest: dict[str, str] = {}
    for i, part in enumerate(found):
        sources: dict[str, str] = {}
        for n in part.table.bound:
            if n not in part.inputs:
                raise Error("usage", f"{part.name} has no input {n}", part.table.where, f"inputs: {', '.join(part.inputs)}")
        for n in part.inputs:
            wanted = part.table.bound.get(n, latest.get(n, ""))
            if n in part.table.bound:
                wanted = wanted if wanted in made else latest.get(wanted, wanted)
                if wanted not in made and "." in wanted:
                    raise Error("usage", f"nothing gives {wanted}", part.table.where, f"there are {', '.join(made) or 'none before it'}")
            sources[n] = wanted
        left = [n for n, s in sources.items() if not s]
        before = found[i - 1] if i else None
        if len(left) == 1 and before is not None and len(before.outputs) == 1 and not any(s in made for s in sources.values()):
            sources[left[0]] = f"{before.name}.{next(iter(before.outputs))}"
        for n, s in sources.items():
            name = s or n
            if name not in made:
                joint.inputs.setdefault(name, part.inputs[n])
            _fits(joint.inputs.get(name) or made[name], part.inputs[n], name, f"{part.name}.{n}", part.table.where)
            sources[n] = name
        read_by |= set(sources.values())
        joint.sources.append(sources)
        made.update({f"{part.name}.{n}": v for n, v in part.outputs.items()})
        latest.update({n: f"{part.name}.{n}" for n in part.outputs})
    wanted_outputs = [o if o in made else latest.get(o, o) for o in outputs] or [n for n in made if n not in read_by]
    for o in wanted_outputs:
        if o not in made:
            raise Error("usage", f"no stage gives the output {o}", str(path), f"there are {', '.join(made)}")
    short = [o.partition(".")[2] for o in wanted_outputs]
    for o, own in zip(wanted_outputs, short):
        taken = short.count(own) > 1 or own in joint.inputs
        joint.outputs[o.replace(".", "_") if taken else own] = (o.partition(".")[0], own)
    return joint


def _fits(given: ir.Value, wanted: ir.Value, name: str, place: str, where: str) -> None:
    """Raise where types or known sizes differ."""
    if given.dtype is not None and wanted.dtype is not None and given.dtype != wanted.dtype:
        raise Error("usage", f"{name} is {given.dtype.name.lower()}, {place} takes {wanted.dtype.name.lower()}", where)
    a, b = given.shape, wanted.shape
    if a is not None and b is not None:
        differs = len(a) != len(b) or any(isinstance(m, int) and isinstance(n, int) and m != n for m, n in zip(a, b))
        if differs:
            raise Error(
                "usage", f"{name} is {_sizes(a)}, {place} takes {_sizes(b)}", where, 'a stage between them, such as kind = "layout"'
            )


def _sizes(shape: ir.Shape) -> str:
    return " x ".join(str(n) for n in shape) or "a scalar"


# ---- the whole ----


def load(path: Path) -> ir.Model:
    """All stages as one model."""
    found, outputs = parts(path)
    joint = joined(path, found, outputs)
    whole = {n: ir.Value(name=n, shape=v.shape, type=v.type) for n, v in joint.inputs.items()}
    graph = ir.Graph(list(whole.values()), [], nodes=[], opset_imports={"": 21, DOMAIN: 1}, name=path.stem)
    functions = []
    for part, sources in zip(found, joint.sources):
        functions += _functions(part)
        node = ir.Node(DOMAIN, part.name, [whole[sources[n]] for n in part.inputs], num_outputs=len(part.outputs), name=part.name)
        graph.append(node)
        for value, (n, inner) in zip(node.outputs, part.outputs.items()):
            value.name, value.type = f"{part.name}.{n}", inner.type
            whole[f"{part.name}.{n}"] = value
    for name, (part_name, n) in joint.outputs.items():
        value = whole[f"{part_name}.{n}"]
        value.name = name
        graph.outputs.append(value)
    model = ir.Model(graph, ir_version=10, functions=functions)
    model.metadata_props.update(_metadata(found, joint))
    return model


def _functions(part: Part) -> list[ir.Function]:
    """The part as a function, and its own ones, told apart from other parts'."""
    model, graph = part.model, part.model.graph
    for value in list(graph.initializers.values()):
        node = ir.Node("", "Constant", [], attributes=[ir.AttrTensor("value", value.const_value)], num_outputs=1)
        (made,) = node.outputs
        made.type, made.shape = value.type, value.shape
        ir.convenience.replace_all_uses_with(value, made, replace_graph_outputs=True)
        first = next(iter(graph), None)
        graph.append(node) if first is None else graph.insert_before(first, node)
        if value in graph.inputs:
            graph.inputs.remove(value)
        made.name, value.name = value.name, f"{value.name}_"
    graph.initializers.clear()
    own = dict(model.functions)
    everywhere = [graph, *(f.graph for f in own.values())]
    for top in everywhere:
        for inner in (top, *top.subgraphs()):
            for node in inner:
                if (node.domain, node.op_type, node.overload) in own:
                    node.overload = f"{part.name}/{node.overload}"
    renamed = [
        ir.Function(f.domain, f.name, f"{part.name}/{f.overload}", graph=f.graph, attributes=list(f.attributes.values()))
        for f in own.values()
    ]
    return [*renamed, ir.Function(DOMAIN, part.name, graph=graph, attributes=[])]


def _metadata(found: list[Part], joint: Joint) -> dict[str, str]:
    """What parts say of themselves, together; texts that a part was made for, where its input is the whole's."""
    merged: dict[str, str] = {}
    dims: dict[str, str] = {}
    notes: list[str] = []
    samples: list[dict[str, str]] = []
    for part, sources in zip(found, joint.sources):
        props = part.model.metadata_props
        merged |= {k: v for k, v in props.items() if k not in (DIMS, NOTES, SAMPLES)}
        dims |= json.loads(props.get(DIMS) or "{}") | dict(part.table.dims)
        notes += (props.get(NOTES) or "").splitlines()
        for sample in json.loads(props.get(SAMPLES) or "[]"):
            renamed = {sources[n]: text for n, text in sample.items() if sources.get(n) in joint.inputs}
            samples += [renamed] if renamed else []
    said = {DIMS: json.dumps(dims) if dims else "", NOTES: "\n".join(notes), SAMPLES: json.dumps(samples) if samples else ""}
    return merged | {k: v for k, v in said.items() if v}


# ---- the judge ----


def _judge(path: Path) -> apart.Runs:
    """Each part by its own framework, where its runtime is here; else what it became, by ONNX Runtime."""
    found, outputs = parts(path)
    joint = joined(path, found, outputs)
    runners = [_runner(part) for part in found]

    def run(feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        held = dict(feed)
        for part, sources, answer in zip(found, joint.sources, runners):
            made = answer({n: held[s] for n, s in sources.items()})
            held.update({f"{part.name}.{n}": np.asarray(a) for n, a in zip(part.outputs, made)})
        return [held[f"{part}.{n}"] for part, n in joint.outputs.values()]

    return run


def _runner(part: Part) -> apart.Runs:
    from mlcc.conformance import compare

    own = plugin.runtime(part.table.path) if part.table.source == "model" else None
    if own is not None and packages(own[0]):
        start: Any = own[1]
        return start(part.table.path)
    return compare.asked(compare.session(ir.to_proto(part.model).SerializeToString()))


runtime = ("onnxruntime", _judge)
