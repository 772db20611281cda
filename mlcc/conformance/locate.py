"""Where two runtimes part: the first operator whose value is off already.

Every value becomes an output on both sides. ONNX Runtime runs ONNX files so; of another framework's file its importer's `layers` gives what
that framework computes within, by the imported model's names. Where an importer has none, the program that the exporter wrote is run by
ONNX Runtime: if that parts from the framework too, it was not us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from mlcc import plugin
from mlcc.conformance import compare
from mlcc.conformance.rounding import difference, moved
from mlcc.graph.freeze import Golden

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Parting:
    """operator: the first whose value is off already, or ''; where: that node, in words; said: what a person is told, or ''."""

    operator: str = ""
    where: str = ""
    said: str = ""


def first_parting(model: Path, vector: Golden, coarse: bool) -> Parting:
    """Where a judge and we part, as far as it can be found."""
    try:
        if model.suffix == ".onnx":
            proto = onnx.load(str(model))
            return _first(proto, _onnxruntime(proto), vector, coarse)
        importer = plugin.importer(model)
        import onnx_ir as ir

        assert importer is not None
        proto = ir.to_proto(importer.load(model))
        layers: Callable[[Path], Callable[[Values], Values]] | None = getattr(importer, "layers", None)
        if layers is not None:
            return _first(proto, layers(model), vector, coarse)
        if _first(proto, _onnxruntime(proto), vector, coarse) == Parting():
            return Parting(said="of the ONNX program that was made of the file, ONNX Runtime computes what we do")
    except Exception:  # the search is a courtesy: it must not hide what it searches for
        pass
    return Parting()


def _made(proto: onnx.ModelProto) -> Iterator[tuple[str, onnx.NodeProto]]:
    return ((o, n) for n in proto.graph.node for o in n.output if o)


def _all_out(proto: onnx.ModelProto) -> onnx.ModelProto:
    found = onnx.ModelProto()
    found.CopyFrom(proto)
    own = {o.name for o in proto.graph.output}
    found.graph.output.extend(onnx.ValueInfoProto(name=o) for o, _ in _made(proto) if o not in own)
    return found


def _onnxruntime(proto: onnx.ModelProto) -> Callable[[Values], Values]:
    session = compare.session(_all_out(proto).SerializeToString(), optimised=False)
    names = [o.name for o in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(names, dict(feed))))


def _first(proto: onnx.ModelProto, asked: Callable[[Values], Values], vector: Golden, coarse: bool) -> Parting:
    import onnx_ir as ir

    from mlcc.graph.normalise import normalise
    from mlcc.reference.execute import execute

    theirs: Mapping[str, Any] = dict(asked(vector.inputs))  # copied: a runtime may give views of what it writes again
    nudged = asked({n: moved(a, 1) for n, a in vector.inputs.items()})
    shapes = {n: a.shape for n, a in vector.inputs.items()}
    ours = execute(normalise(ir.from_proto(_all_out(proto)), "bisect", shapes, "the model"), vector.inputs)
    for value, node in _made(proto):
        if value in ours and isinstance(theirs.get(value), np.ndarray):
            _, why = difference(ours[value], theirs[value], [nudged[value]], coarse)
            if why:
                where = f"{node.op_type} ({node.name or value}): {why}"
                return Parting(node.op_type, where, f"the first operator that parts is {where}")
    return Parting()
