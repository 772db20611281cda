"""ONNX model → core graph: walk the nodes in order, writing each in core operators while everything known is computed at once.

With static shapes this one walk is shape inference, constant folding, dead-branch removal and decomposition together.
Unsupported operators are collected, so that one run lists them all.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import onnx
import onnx_ir as ir

from mlcc.arithmetic.scalar import HALF
from mlcc.core.describe import Description, described
from mlcc.core.graph import CoreGraph
from mlcc.core.narrow import LETTERS, ONNX_NARROW, TEXT
from mlcc.core.terms import public
from mlcc.error import Error
from mlcc.graph import sequences
from mlcc.graph.builder import LIMITS, Builder, Value
from mlcc.graph.control import CONTROL, POISON, Scope, Unsupported
from mlcc.graph.counted import bare, counted, with_sizes
from mlcc.graph.interface import Dims, Shapes, input_types, tensor_array, tensors
from mlcc.graph.narrow import decoded
from mlcc.graph.rules import RULES, Rule, fused, lite, ml, move, onnxruntime, qonnx, quant, random, text, trees
from mlcc.graph.rules.elementwise import ONNX_DTYPES
from mlcc.graph.source import Source
from mlcc.graph.text import from_letters, to_letters
from mlcc.limits import Limits, check

OLDEST_OPSET = 1
DOMAINS: dict[str, dict[str, Rule]] = {
    "": {
        **RULES,
        **random.TABLE,
        **qonnx.TABLE,
        "SimplifiedLayerNormalization": fused.simplified_layer_normalization,
    },  # where ONNX's own domain is claimed
    "com.microsoft": {**onnxruntime.TABLE, **text.MICROSOFT},
    "ai.onnx.ml": {**trees.TABLE, **ml.TABLE},
    "tflite": lite.TABLE,
    **{domain: qonnx.TABLE for domain in qonnx.DOMAINS},
}
# operators that move, select or quantise: their half-width operands stay as they are
AS_THEY_LIE = frozenset(
    (
        *move.TABLE,
        *quant.TABLE,
        "Cast",
        "CastLike",
        "Identity",
        "Where",
        "Dropout",
        "IsNaN",
        *CONTROL,
        "MaxPool",
        "Clip",
        "Max",
        "Min",
        "TopK",
        "Equal",
        "TfIdfVectorizer",
        *ml.TABLE,
        *text.TABLE,
        *text.MICROSOFT,
    )
)
# what says how to compute, not what; a tensor's scale, which rules of `lite` ask for where they must
HINTS = ("attribute accuracy_level", "attribute is_inner_broadcast", "attribute in.", "attribute out.", "attribute types")
UNCHECKED = ("com.microsoft", "tflite")
STATISTICS = {"LayerNormalization": (1, 2)}  # outputs that are binary32 whatever the operands are


def normalise(
    model: ir.Model, name: str, shapes: Shapes, where: str, limits: Limits = LIMITS, dims: Dims = MappingProxyType({})
) -> CoreGraph:
    """The core graph of `model` with input shapes completed by `shapes`. Raises Error(unsupported) where it asks for more than `limits`."""
    imported = {"", "ai.onnx"} & set(model.opset_imports)
    opset = standard_opset(model.opset_imports, 1 if imported or not model.opset_imports else onnx.defs.onnx_opset_version())
    if opset < OLDEST_OPSET:
        raise Error("unsupported", f"opset {opset}; the oldest read is {OLDEST_OPSET}", where, "convert it with onnx.version_converter")
    graph = model.graph
    try:
        graph.sort()
    except ValueError:
        raise Error("model", "the graph has a cycle", where, "an ONNX graph must be acyclic; export the model again") from None
    public = [str(v.name) for v in (*graph.inputs, *graph.outputs)]
    walk = Walk(model, opset, public, limits)
    scope: Scope = {}
    initial = {v.name for v in graph.initializers.values()}
    inputs = [v for v in graph.inputs if v.name not in initial]
    inputs, others = tensors(inputs, shapes)
    letters = text.reads_letters(model)
    interface = input_types(inputs, shapes, where, lambda: walk.survey(graph, where), dims, letters)
    for value, type, element in zip(inputs, interface.types, interface.elements):
        given = walk.b.input(str(value.name), type, element)
        scope[str(value.name)] = from_letters(walk.b, given) if element == LETTERS else given
    for other, items in others.items():
        scope[other] = sequences.NOTHING if items is None else sequences.Sequence(tuple(scope[n] for n in items))
    for value in graph.initializers.values():
        walk.b.origin = str(value.name)
        scope[str(value.name)] = walk.b.constant(tensor_array(value.const_value, f"initializer {value.name}"))
    try:
        walk.run(graph, scope)
    except Error as e:
        raise (
            e if e.hint or not interface.assumed else Error(e.code, e.what, e.where, f"this follows from {interface.assumed[0]}")
        ) from None
    walk.report(where)
    outputs = []
    for value in graph.outputs:
        found = scope.get(str(value.name))
        if found is None:
            raise Error("model", f"output {value.name} is never computed", where)
        if isinstance(found, sequences.Sequence):
            outputs += [(f"{value.name}[{i}]", v) for i, v in enumerate(found.items)]
        elif found is sequences.NOTHING:
            raise Error("unsupported", f"output {value.name} is an optional without a value", where)
        else:
            outputs.append((str(value.name), found))
    if not outputs:
        raise Error("model", "the graph has no outputs", where)
    outputs, sizes = with_sizes(walk.b, [(n, to_letters(walk.b, v) if letters else v) for n, v in outputs])
    elements = {**{str(v.name): e for v, e in zip(inputs, interface.elements)}, **{n: v.element for n, v in outputs}}
    said = described(model)
    for n in {*elements, *sizes}:
        labels = tuple(walk.b.vocabulary) if elements[n] == TEXT else ()
        known = said.get(n, Description())
        said[n] = replace(known, element=elements[n], labels=labels or known.labels, counts=sizes.get(n, ()))
    core = replace(walk.b.finish(name, outputs), described={n: d for n, d in said.items() if d != Description()})
    check(core, limits)
    return core


class Walk:
    """One pass over a model's nodes, subgraphs included."""

    def __init__(self, model: ir.Model, opset: int, public: Iterable[str] = (), limits: Limits = LIMITS) -> None:
        self.b = Builder(public, limits)
        self.steps = 0
        self.within: list[ir.Function] = []  # functions whose bodies are being walked
        self.bound: Mapping[str, ir.Attr] = {}  # attributes of the function whose body is walked
        self.functions = model.functions
        self.opset = opset
        self.versions: dict[str, int] = dict(model.opset_imports)
        self.unsupported: dict[str, str] = {}

    def report(self, where: str) -> None:
        if self.unsupported:
            raise Error(
                "unsupported",
                "operators not supported: " + "; ".join(f"{op} ({reason})" for op, reason in sorted(self.unsupported.items())),
                where,
                "docs/operators.md lists what is; export without these, or write them as ONNX functions: --functions ops.onnx",
            )

    def survey(self, graph: Iterable[ir.Node], where: str) -> None:
        """Raise where operators are unknown, whatever the shapes are."""
        for node in graph:
            domain = "" if node.domain in ("", "ai.onnx") else node.domain
            self.b.origin = node.name or (str(node.outputs[0].name) if node.outputs else "?")
            if not self.knows(node, domain):
                self.refuse(node, domain)
        self.report(where)

    def knows(self, node: ir.Node, domain: str) -> bool:
        """Whether an operator is a rule's, a function of the model, or defined by others."""
        return (
            (node.domain, node.op_type, node.overload) in self.functions
            or node.op_type in DOMAINS.get(domain, ())
            or domain == ""
            and (node.op_type in CONTROL or node.op_type in sequences.TABLE)
            or self.has_definition(node, domain)
        )

    def run(self, graph: Iterable[ir.Node], scope: Scope) -> None:
        for node in graph:
            try:
                results = self.node(node, scope)
            except Unsupported:
                results = (None,) * len(node.outputs)
                for v in node.outputs:
                    scope.pop(str(v.name), None)
                scope.update({str(v.name): POISON for v in node.outputs})
                continue
            for v, r in zip(node.outputs, results):
                if v.name:
                    scope[str(v.name)] = r

    def lookup(self, value: ir.Value | None, scope: Scope, node: ir.Node) -> Any:
        if value is None or value.name == "":
            return None
        name = str(value.name)
        if name not in scope:
            raise Error(
                "model",
                f"{name} is used but neither computed, given nor stored",
                f"{node.op_type} ({node.name or '?'})",
                "an initializer is missing; export the model again",
            )
        found = scope[name]
        if found is POISON:
            raise Unsupported
        return found

    def node(self, node: ir.Node, scope: Scope) -> tuple[Any, ...]:
        origin = node.name or (str(node.outputs[0].name) if node.outputs else "?")
        self.b.origin = origin
        self.steps += 1
        if self.steps > self.b.limits.operators:
            raise self.b.limits.over("operators", f"more than {self.steps - 1:,} operators, with functions and loops written out", origin)
        domain = "" if node.domain in ("", "ai.onnx") else node.domain
        key = (node.domain, node.op_type, node.overload)
        given = self.attributes(node)
        if not self.knows(node, domain):
            self.refuse(node, domain)  # before its operands are looked up: those of unsupported producers are missing
            raise Unsupported
        inputs = tuple(self.lookup(v, scope, node) for v in node.inputs)
        if key in self.functions:
            return self.call(self.functions[key], inputs, given)
        if domain == "" and node.op_type in CONTROL:
            return CONTROL[node.op_type](self, given, inputs, scope)
        if domain == "" and node.op_type in sequences.TABLE:
            return (sequences.TABLE[node.op_type](self.b, inputs, {k: plain(a, origin) for k, a in given.items() if k != "type"}),)
        if any(v is not None and not isinstance(v, Value) for v in inputs):
            if node.op_type == "Identity":
                return inputs[:1]
            raise Error("unsupported", f"{node.op_type} of a sequence or an optional", origin, "take its items out first")
        if node.op_type not in AS_THEY_LIE:
            inputs = tuple(decoded(self.b, v) if v is not None and v.element else v for v in inputs)
        half = half_of(node.op_type, inputs) if domain != "tflite" else None
        if half:
            inputs = tuple(
                replace(self.b.cast(bare(v), "float32"), counts=v.counts) if v is not None and v.dtype in HALF else v for v in inputs
            )
        rule = DOMAINS.get(domain, {}).get(node.op_type)
        if rule is None:
            expanded = self.expand(node, inputs, given)
            if expanded is None:
                self.refuse(node, domain)
                raise Unsupported
            return self.narrowed(node.op_type, half, expanded)
        attributes = {k: plain(a, origin) for k, a in given.items()}
        while len(inputs) and inputs[-1] is None:
            inputs = inputs[:-1]
        version = self.versions.get(domain, 1) if domain == "ai.onnx.ml" else self.opset
        source = Source(node.op_type, inputs, attributes, version, len(trimmed(node)), self.b, len(node.outputs))
        try:
            result = counted(source, rule) if any(v is not None and v.counts for v in inputs) else rule(source)
            ignored = [x for x in source.overlooked() if not x.startswith(HINTS)] if domain in UNCHECKED else []
            if ignored:  # no checker has seen to it
                raise source.unsupported(f"{min(ignored)} is not known here", "export without it")
        except Error as e:
            raise e if e.where else Error(e.code, e.what, f"{node.op_type} ({origin})", e.hint) from None
        except (MemoryError, RecursionError):
            raise
        except Exception as e:
            raise Error(
                "model", f"attributes or operands do not fit the operator: {type(e).__name__}: {e}", f"{node.op_type} ({origin})"
            ) from e
        return self.narrowed(node.op_type, half, result if isinstance(result, tuple) else (result,))

    def attributes(self, node: ir.Node) -> dict[str, ir.Attr]:
        """A node's attributes, references to the enclosing function's filled in; one that the caller left out is absent."""
        found = {}
        for name, a in node.attributes.items():
            if not a.is_ref():
                found[name] = a
            elif a.ref_attr_name in self.bound:
                value = self.bound[a.ref_attr_name]
                found[name] = ir.Attr(name, value.type, value.value)
        return found

    def narrowed(self, op: str, half: str | None, results: tuple[Value | None, ...]) -> tuple[Value | None, ...]:
        """The results of an operator computed in binary32, each rounded once to the operands' half-width type."""
        if half is None:
            return results
        wide = STATISTICS.get(op, ())
        return tuple(
            replace(self.b.cast(bare(v), half), counts=v.counts) if v is not None and v.dtype == "float32" and i not in wide else v
            for i, v in enumerate(results)
        )

    def refuse(self, node: ir.Node, domain: str) -> None:
        full = f"{domain}::{node.op_type}" if domain else node.op_type
        near = difflib.get_close_matches(node.op_type, RULES, 1, 0.6)
        reason = f"at {self.b.origin}" + (f", the nearest supported is {near[0]}" if near else "")
        self.unsupported.setdefault(full, reason)

    def call(self, function: ir.Function, inputs: tuple[Value | None, ...], attributes: Mapping[str, ir.Attr]) -> tuple[Value | None, ...]:
        """Inline a function body: its own scope, attributes and operator sets."""
        scope: Scope = {str(v.name): (inputs[i] if i < len(inputs) else None) for i, v in enumerate(function.inputs)}
        if any(f is function for f in self.within):
            raise Error("model", f"function {function.name} calls itself", self.b.origin)
        before = self.opset, self.versions, self.bound
        self.within.append(function)
        self.opset = standard_opset(function.opset_imports, self.opset)
        self.versions = {**self.versions, **function.opset_imports}
        self.bound = {**{k: a for k, a in function.attributes.items() if a.value is not None}, **attributes}
        try:
            self.run(function, scope)
        finally:
            self.opset, self.versions, self.bound = before
            self.within.pop()
        results = []
        for v in function.outputs:
            found = scope.get(str(v.name))
            if found is POISON:
                raise Unsupported
            results.append(found)
        return tuple(results)

    def has_definition(self, node: ir.Node, domain: str) -> bool:
        """Whether ONNX defines the operator by others."""
        schema = self.schema(node, domain)
        return schema is not None and (schema.has_function or schema.has_context_dependent_function)

    def schema(self, node: ir.Node, domain: str) -> onnx.defs.OpSchema | None:
        try:
            return onnx.defs.get_schema(node.op_type, self.opset if domain == "" else self.versions.get(domain, 1), domain)
        except (onnx.defs.SchemaError, TypeError, UnicodeError):
            return None

    def expand(self, node: ir.Node, inputs: tuple[Value | None, ...], given: Mapping[str, ir.Attr]) -> tuple[Value | None, ...] | None:
        """ONNX defines some operators by others: use that definition."""
        domain = "" if node.domain == "ai.onnx" else node.domain
        version = self.opset if domain == "" else self.versions.get(domain, 1)
        schema = self.schema(node, domain)
        if schema is None:
            return None
        proto = None
        if schema.has_context_dependent_function:
            types = []
            for v in inputs:
                t = onnx.TypeProto()
                if v is not None:
                    number = next(k for k, n in {**ONNX_DTYPES, **ONNX_NARROW}.items() if n == (v.element or v.dtype))
                    t = onnx.helper.make_tensor_type_proto(number, [n if isinstance(n, int) else str(public(n)) for n in v.shape])
                types.append(t.SerializeToString())
            plain_node = ir.Node(
                node.domain, node.op_type, node.inputs, list(given.values()), outputs=[ir.Value(name=v.name) for v in node.outputs]
            )
            raw = ir.to_proto(plain_node).SerializeToString()
            try:
                proto = onnx.FunctionProto.FromString(schema.get_context_dependent_function(raw, types))
            except Exception:
                return None
        elif schema.has_function:
            proto = schema.function_body
        if proto is None or not proto.node:
            return None
        if not proto.opset_import:
            proto.opset_import.append(onnx.helper.make_opsetid("", version))
        declared = list(proto.output)  # some bodies leave optional outputs out
        produced = {o for n in proto.node for o in n.output} | set(proto.input)
        kept = [o for o in declared if o in produced]
        del proto.output[:]
        proto.output.extend(kept)
        defaults = {k: ir.from_proto(a.default_value) for k, a in schema.attributes.items() if a.default_value.name}
        results = dict(zip(kept, self.call(ir.from_proto(proto), inputs, {**defaults, **given})))
        return tuple(results.get(o) for o in declared)


def trimmed(node: ir.Node) -> list[ir.Value]:
    """Outputs without trailing unused ones."""
    outputs = list(node.outputs)
    while len(outputs) > 1 and (not outputs[-1].name or (not outputs[-1].uses() and not outputs[-1].is_graph_output())):
        outputs.pop()
    return outputs


def standard_opset(imports: Mapping[str, int], otherwise: int) -> int:
    """The version of ONNX's own operators, whose domain has two spellings."""
    return imports.get("", imports.get("ai.onnx", otherwise))


def half_of(op: str, inputs: Iterable[Value | None]) -> str | None:
    """The half-width type of an operator's operands where it computes: then it does so in binary32 and rounds once, at its end."""
    return None if op in AS_THEY_LIE else next((v.dtype for v in inputs if v is not None and v.dtype in HALF), None)


def plain(attribute: ir.Attr, where: str) -> Any:
    """An attribute's value in Python and NumPy terms."""
    if attribute.type == ir.AttributeType.TENSOR:
        return tensor_array(attribute.value, f"attribute {attribute.name} of {where}")
    value = attribute.value
    if isinstance(value, tuple):
        return list(value)
    return value
