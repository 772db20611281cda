"""What a TensorFlow Lite file holds, as nodes of the domain `tflite` with their tensors' quantisation beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import onnx_ir as ir

from mlcc.error import Error
from mlcc.importers import NOTES
from mlcc.importers.lite import control, metadata
from mlcc.importers.lite.sparse import dense

DOMAIN = "tflite"
OPSET = 20  # of the operators that rules use
TYPES = {
    "FLOAT32": ir.DataType.FLOAT, "FLOAT16": ir.DataType.FLOAT16, "FLOAT64": ir.DataType.DOUBLE, "BFLOAT16": ir.DataType.BFLOAT16,
    "INT8": ir.DataType.INT8, "UINT8": ir.DataType.UINT8, "INT16": ir.DataType.INT16, "UINT16": ir.DataType.UINT16,
    "INT32": ir.DataType.INT32, "UINT32": ir.DataType.UINT32, "INT64": ir.DataType.INT64, "UINT64": ir.DataType.UINT64,
    "BOOL": ir.DataType.BOOL, "INT4": ir.DataType.INT8, "COMPLEX64": ir.DataType.FLOAT,
}  # fmt: skip


# Operands that an operator reads and leaves otherwise, for the next call.
STATES = {"UNIDIRECTIONAL_SEQUENCE_LSTM": (18, 19), "LSTM": (18, 19), "UNIDIRECTIONAL_SEQUENCE_RNN": (4,), "RNN": (4,), "SVDF": (4,)}


class Reader:
    """One file: its first subgraph, and those that its operators run."""

    def __init__(self, schema: ModuleType, raw: bytes, where: str) -> None:
        self.schema, self.raw, self.where = schema, raw, where
        self.file = schema.Model.GetRootAsModel(raw, 0)
        self.types = {v: k for k, v in vars(schema.TensorType).items() if isinstance(v, int)}
        self.operators = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
        self.options = {v: k for k, v in vars(schema.BuiltinOptions).items() if isinstance(v, int)}
        self.options2 = {v: k for k, v in vars(schema.BuiltinOptions2).items() if isinstance(v, int)}
        self.values: dict[int, ir.Value] = {}
        self.constants: list[ir.Value] = []  # of all subgraphs
        self.inner = 0  # subgraphs read within others, each time that they are
        self.handles: dict[int, str] = {}  # tensors that stand for a variable → its name
        self.states: dict[str, ir.Value] = {}  # variables that are read before they are written: inputs
        self.now: dict[str, ir.Value] = {}  # what variables hold
        self.begin: dict[str, str] = {}  # what they hold at first, in words

    def each(self, length: int, item: Any) -> Iterator[Any]:
        """A vector's items. A damaged length would run for years."""
        if length > len(self.raw):
            raise ValueError("more items than bytes")
        return (item(i) for i in range(length))

    def model(self, name: str) -> ir.Model:
        if self.file.Version() != 3:
            raise Error("unsupported", f"version {self.file.Version()} of the format", self.where, "version 3 is read")
        graph = self.file.Subgraphs(0)
        tensors = list(self.each(graph.TensorsLength(), graph.Tensors))
        given, results = graph.InputsAsNumpy(), graph.OutputsAsNumpy()
        names = self.names(tensors, given, results)
        nodes = self.scope(graph, names, {})
        left = [self.kept(name, nodes) for name in self.now if self.now[name] is not self.states.get(name)]
        whole = ir.Graph(
            [*(self.values[int(i)] for i in given), *self.states.values()],
            [*(self.values[int(i)] for i in results), *left],
            nodes=nodes,
            initializers=self.constants,
            opset_imports={"": OPSET, DOMAIN: 1},
            name=name,
        )
        begin = [f"state {n} begins as {self.begin.get(n, 'the file does not say')}" for n in self.states]
        said = (self.file.Description() or b"").decode("utf-8", "replace")
        told = metadata.known(self.file, self.raw) | ({NOTES: "\n".join(begin)} if begin else {})
        return ir.Model(whole, ir_version=10, producer_name="tflite", doc_string=said, metadata_props=told)

    def scope(self, graph: Any, names: Sequence[str], bound: Mapping[int, ir.Value]) -> list[ir.Node]:
        """A subgraph's operators as nodes, `self.values` its values by index; bound: what its inputs are."""
        tensors = list(self.each(graph.TensorsLength(), graph.Tensors))
        operators = list(self.each(graph.OperatorsLength(), graph.Operators))
        made = {int(i) for i in (graph.InputsAsNumpy() if graph.InputsLength() else ())}
        made |= {int(i) for o in operators if o.OutputsLength() for i in o.OutputsAsNumpy()}
        self.values = {}
        for i, (tensor, own) in enumerate(zip(tensors, names)):
            self.values[i] = bound[i] if i in bound else self.value(tensor, own)
            if tensor.IsVariable():
                self.states[own] = self.now[own] = self.values[i]
                self.begin[own] = "0 everywhere"
            data = None if i in bound else self.data(tensor)
            if data is None and i not in made and 0 in (tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()):
                data = np.zeros(tensor.ShapeAsNumpy(), TYPES[self.types[tensor.Type()]].numpy())  # no bytes are stored of nothing
            if data is not None:
                self.values[i].const_value = ir.Tensor(data, name=own)
                self.constants.append(self.values[i])
        return [n for o in operators for n in self.nodes(o, tensors)]

    def nodes(self, operator: Any, tensors: list[Any]) -> list[ir.Node]:
        """What an operator is: nothing, a node, or what a branch or a loop takes."""
        if self.called(operator) in ("IF", "WHILE"):
            return control.nodes(self, operator)
        one = self.node(operator, tensors)
        return [] if one is None else [one]

    def kept(self, name: str, nodes: list[ir.Node]) -> ir.Value:
        """What a run leaves in a variable, as an output."""
        held = self.now[name]
        out = ir.Value(name=f"{name}.next", type=held.type, shape=held.shape)
        nodes.append(ir.Node("", "Identity", [held], outputs=[out], name=f"{name}.next"))
        return out

    def variable(self, op: str, operator: Any, taken: list[int], made: list[int]) -> None:
        """Variables that calls share become inputs, and outputs for the next call."""
        if op == "VAR_HANDLE":
            self.handles[made[0]] = self.shared(operator)
        elif op == "READ_VARIABLE":
            name, value = self.handles[taken[0]], self.values[made[0]]
            if name not in self.now:
                self.states[name] = self.now[name] = ir.Value(name=name, type=value.type, shape=value.shape)
            self.values[made[0]] = self.now[name]
        elif op == "ASSIGN_VARIABLE":
            self.now[self.handles[taken[0]]] = self.values[taken[1]]

    def after(self, index: int, op: str) -> ir.Value:
        """What an operator leaves in one of its variables."""
        before = self.values[index]
        name = next((n for n, v in self.now.items() if v is before), None)
        if name is None:
            raise Error("model", f"{op} keeps its state in {before.name}, which is no variable", self.where, "convert it again")
        made = ir.Value(name=f"{name}.now{len(self.values)}", type=before.type, shape=before.shape)
        self.values[index] = self.now[name] = made
        return made

    def called(self, operator: Any) -> str:
        """An operator's name in the schema."""
        code = self.file.OperatorCodes(operator.OpcodeIndex())
        return self.operators.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "?")

    def shared(self, operator: Any) -> str:
        """The name of the variable that a handle stands for."""
        return (self.attributes(operator).get("shared_name") or b"state").decode("utf-8", "replace")

    def begins(self, index: int) -> None:
        """What variables hold at first, as another subgraph writes it."""
        graph, handles = self.file.Subgraphs(index), dict[int, str]()
        for o in self.each(graph.OperatorsLength(), graph.Operators):
            op = self.called(o)
            if op == "VAR_HANDLE":
                handles[o.Outputs(0)] = self.shared(o)
            elif op == "ASSIGN_VARIABLE":
                numbers = self.data(graph.Tensors(o.Inputs(1)))
                if numbers is not None and numbers.size and (numbers == numbers.flat[0]).all():
                    self.begin[handles[o.Inputs(0)]] = f"{numbers.flat[0]} everywhere"

    def names(self, tensors: list[Any], given: Any, results: Any) -> list[str]:
        """A name for each tensor, once: inputs and outputs as the signature calls them."""
        wanted = {i: (t.Name() or b"").decode("utf-8", "replace") or f"tensor_{i}" for i, t in enumerate(tensors)}
        if self.file.SignatureDefsLength() == 1:
            signature = self.file.SignatureDefs(0)
            for count, item in ((signature.InputsLength(), signature.Inputs), (signature.OutputsLength(), signature.Outputs)):
                for entry in self.each(count, item):
                    wanted[entry.TensorIndex()] = entry.Name().decode("utf-8", "replace")
        first = [int(i) for i in (*given, *results)]
        found: dict[int, str] = {}
        for i in [*first, *(i for i in wanted if i not in first)]:
            name = wanted[i]
            while name in found.values() and i not in found:
                name += "_"
            found.setdefault(i, name)
        return [found[i] for i in range(len(tensors))]

    def value(self, tensor: Any, name: str) -> ir.Value:
        kind = self.types.get(tensor.Type(), "?")
        if kind == "RESOURCE":
            return ir.Value(name=name)
        if kind not in TYPES:
            raise Error("unsupported", f"{name} is of type {kind}", self.where, f"types read: {', '.join(TYPES)}")
        dims = [int(d) for d in tensor.ShapeAsNumpy()] if tensor.ShapeLength() else []
        open_ = [int(d) for d in tensor.ShapeSignatureAsNumpy()] if tensor.ShapeSignatureLength() else dims
        parts = [2] if kind == "COMPLEX64" else []
        return ir.Value(name=name, type=ir.TensorType(TYPES[kind]), shape=ir.Shape([*(None if d < 0 else d for d in open_), *parts]))

    def data(self, tensor: Any) -> np.ndarray | None:
        """A constant's numbers; None where the tensor is computed."""
        if self.types.get(tensor.Type()) == "RESOURCE":
            return None
        buffer = self.file.Buffers(tensor.Buffer())
        if buffer.Offset() > 1:  # behind the tables, in files beyond 2 GB
            raw: Any = np.frombuffer(self.raw, np.uint8, buffer.Size(), buffer.Offset())
        elif buffer.DataLength():
            raw = buffer.DataAsNumpy()
        else:
            return None
        dims = [int(d) for d in tensor.ShapeAsNumpy()] if tensor.ShapeLength() else []
        kind = self.types[tensor.Type()]
        if kind == "COMPLEX64":
            dims = [*dims, 2]
        if kind == "INT4":  # two to a byte, the lower half first
            both = np.stack([raw & 15, raw >> 4], -1).reshape(-1).astype(np.int8)
            return (np.where(both < 8, both, both - 16)).astype(np.int8)[: int(np.prod(dims))].reshape(dims)
        values = np.frombuffer(raw.tobytes(), TYPES[kind].numpy())
        if tensor.Sparsity() is not None:
            return dense(values, dims, self.schema, tensor.Sparsity())
        return values.reshape(dims)

    def node(self, operator: Any, tensors: list[Any]) -> ir.Node | None:
        domain, op = DOMAIN, self.called(operator)
        if op == "CUSTOM":
            code = self.file.OperatorCodes(operator.OpcodeIndex())
            domain, op = f"{DOMAIN}.custom", (code.CustomCode() or b"?").decode("utf-8", "replace")
        taken = [int(i) for i in operator.InputsAsNumpy()] if operator.InputsLength() else []
        made = [int(i) for i in operator.OutputsAsNumpy()] if operator.OutputsLength() else []
        if op == "CALL_ONCE":
            self.begins(self.attributes(operator)["init_subgraph_index"])
            return None
        if op in ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"):
            self.variable(op, operator, taken, made)
            return None
        operands = [self.values[i] if i >= 0 else None for i in taken]
        attributes = self.attributes(operator)
        for kind, group in (("in", taken), ("out", made)):
            for k, i in enumerate(group):
                if i >= 0:
                    attributes |= {f"{kind}.{k}.{n}": v for n, v in quantisation(tensors[i]).items()}
                    if self.types.get(tensors[i].Type()) == "COMPLEX64":
                        attributes[f"{kind}.{k}.complex"] = 1  # pairs along a last axis (`mlcc.graph.rules.lite.spectral`)
        results = [self.values[i] for i in made]
        for k in STATES.get(op, ()):
            results.append(self.after(taken[k], op))
        attributes["types"] = [self.types[tensors[i].Type()].lower() for i in made]
        return ir.Node(
            domain,
            op,
            operands,
            [_attribute(n, v) for n, v in sorted(attributes.items())],
            outputs=results,
            name=self.values[made[0]].name if made else None,
        )

    def attributes(self, operator: Any) -> dict[str, Any]:
        """An operator's options by their names in the schema."""
        for kinds, kind, table in (
            (self.options, operator.BuiltinOptionsType(), operator.BuiltinOptions()),
            (self.options2, operator.BuiltinOptions2Type(), operator.BuiltinOptions2()),
        ):
            if kind and table is not None:
                options = getattr(self.schema, kinds[kind])()
                options.Init(table.Bytes, table.Pos)
                return {_snake(n): v for n, v in _fields(options)}
        return {}


def _fields(options: Any) -> Iterator[tuple[str, Any]]:
    """A table's fields: getters without arguments; of vectors the one that gives an array."""
    names = [n for n in dir(options) if n[0].isupper() and n not in ("Init",) and not n.startswith("GetRoot")]
    for name in names:
        if name.endswith(("AsNumpy", "Length", "IsNone", "BufferHasIdentifier")):
            continue
        if f"{name}AsNumpy" in names:
            if getattr(options, f"{name}Length")():
                yield name, [x.item() for x in getattr(options, f"{name}AsNumpy")()]
        else:
            value = getattr(options, name)()
            if value is not None:
                yield name, value


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def quantisation(tensor: Any) -> dict[str, Any]:
    """scale, zero, along: the steps of a tensor, where zero lies, and the axis that has one each."""
    q = tensor.Quantization()
    if q is None or not q.ScaleLength():
        return {}
    zeros = [int(z) for z in q.ZeroPointAsNumpy()] if q.ZeroPointLength() else [0] * q.ScaleLength()
    return {"scale": [float(v) for v in q.ScaleAsNumpy()], "zero": zeros, "along": q.QuantizedDimension()}


def _attribute(name: str, value: Any) -> ir.Attr:
    if isinstance(value, bytes):
        return ir.AttrString(name, value.decode("utf-8", "replace"))
    if isinstance(value, list):
        if value and isinstance(value[0], str):
            return ir.AttrStrings(name, value)
        return ir.AttrFloat32s(name, value) if value and isinstance(value[0], float) else ir.AttrInt64s(name, [int(v) for v in value])
    return ir.AttrFloat32(name, value) if isinstance(value, float) else ir.AttrInt64(name, int(value))
