"""StableHLO modules as ONNX models. `read.py` has a module as plain data, `write.py` ONNX's nodes; operations by what they do:
`elementwise.py`, `movement.py`, `products.py`, `regions.py`. https://openxla.org/stablehlo/spec"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from mlcc.error import Error
from mlcc.importers.nodes import type_of
from mlcc.importers.stablehlo.read import Block, Op, main
from mlcc.importers.stablehlo.regions import RULES
from mlcc.importers.stablehlo.write import OPSET, Writer

MAGIC = b"ML\xefR"  # MLIR bytecode


def parsed(context: Any, raw: bytes) -> Any:
    """A module from its portable artifact or text."""
    from jaxlib.mlir import ir
    from jaxlib.mlir.dialects import stablehlo

    with context:
        return stablehlo.deserialize_portable_artifact(context, raw) if raw.startswith(MAGIC) else ir.Module.parse(raw)


def converted(module: Any, shapes: Sequence[Sequence[Any]] = (), fixed: Sequence[np.ndarray] = ()) -> onnx.ModelProto:
    """The public function of a module. shapes: of its arguments, sizes that a run decides by their names; fixed: what its first arguments
    always are, which are no inputs then. Raises Error(unsupported) with every operation that has no rule."""
    with module.context:
        function = main(module)
        strange = Counter(op.name for op in _all(function.block) if op.name not in RULES)
        if strange:
            raise Error("unsupported", f"StableHLO's {', '.join(f'{n} ({times} times)' for n, times in sorted(strange.items()))}")
        w = Writer()
        arguments = function.block.arguments
        for v, held in zip(arguments, fixed):
            w.names[v] = w.constant(held, v.dtype)
        inputs, names = [], _distinct(function.names, "x")
        for i, v in enumerate(arguments[len(fixed) :]):
            w.names[v] = names[len(fixed) + i]
            shape = [str(s) if n is None else n for n, s in zip(v.shape, shapes[i] if shapes else v.shape)]
            inputs.append(helper.make_tensor_value_info(w.names[v], type_of(v.dtype), shape))
        returned = w.block(function.block, RULES)
        outputs = _distinct(function.results, "y", set(names))
        w.nodes += [helper.make_node("Identity", [a], [b]) for a, b in zip(returned, outputs)]
        kinds = [type_of(v.dtype) for v in function.block.returned]
        given = [onnx.ValueInfoProto(name=n, type=helper.make_tensor_type_proto(k, None)) for n, k in zip(outputs, kinds)]
        graph = helper.make_graph(w.nodes, "main", inputs, given)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=13)


def _all(block: Block) -> Iterator[Op]:
    for op in block.ops:
        yield op
        for inner in op.blocks:
            yield from _all(inner)


def _distinct(names: Sequence[str], otherwise: str, taken: set[str] | None = None) -> list[str]:
    """Names that no value inside has (v and a number), each once."""
    found, taken = [], set(taken or ())
    for i, name in enumerate(names):
        one = name if name and not name[1:].isdigit() else otherwise if len(names) == 1 else f"{otherwise}{i}_"
        while one in taken:
            one += "_"
        taken.add(one)
        found.append(one)
    return found
