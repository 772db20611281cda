"""A model's inputs: their types and shapes, as the file declares them and as was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir as ir

from mlcc.core.dim import size_of
from mlcc.core.graph import DTYPES, TensorType
from mlcc.core.narrow import LETTERS, NARROW, ONNX_NARROW, TEXT, held, numpy_type
from mlcc.core.ranges import Range
from mlcc.core.terms import Size, most
from mlcc.error import Error
from mlcc.graph.rules.elementwise import ONNX_DTYPES
from mlcc.names import identifier

STRING = 8  # TensorProto's number of text
CHARACTERS = 64  # of a text, where nobody says how many
KNOWN = {*ONNX_DTYPES, *ONNX_NARROW, STRING}
Shapes = Mapping[str, tuple[int | Range, ...]]
Dims = Mapping[str, int | Range]  # a dimension's name in the file → what it may be


@dataclass(frozen=True)
class Interface:
    """The inputs' static types, and what was chosen for them that neither the file nor the caller says."""

    types: list[TensorType]
    elements: list[str]  # the narrow type that one's bytes stand for, or ''
    assumed: list[str]  # in words


def tensors(inputs: list[ir.Value], shapes: Shapes) -> tuple[list[ir.Value], dict[str, list[str] | None]]:
    """(the tensors that a model takes; what else it takes: a sequence → its items, which `shapes` names `x[0]`, `x[1]`, …; an optional that
    is not given → None). An optional is given where `shapes` says its shape."""
    found, others = [], dict[str, list[str] | None]()
    for v in inputs:
        name, kind = str(v.name), v.type
        optional = isinstance(kind, ir.OptionalType)
        inner = kind.elem_type if isinstance(kind, ir.OptionalType) else kind
        if isinstance(inner, ir.SequenceType):
            items: list[str] = []
            while f"{name}[{len(items)}]" in shapes:
                items.append(f"{name}[{len(items)}]")
            others[name] = items if items or not optional else None
            found += [ir.Value(name=n, type=inner.elem_type) for n in items]
        elif optional and name not in shapes:
            others[name] = None
        else:
            found.append(ir.Value(name=name, type=inner, shape=v.shape) if optional else v)
    return found, others


def _asked(shapes: Shapes, dims: Dims, declared: Mapping[str, Any], where: str) -> Shapes:
    """Shapes with those that `dims` makes whole."""
    named = {d for own in declared.values() for d in own or () if isinstance(d, str)}
    for name in dims:
        if name not in named:
            raise Error("usage", f"no dimension is called {name}", where, f"the model names {', '.join(sorted(named)) or 'none'}")
    found = dict(shapes)
    for name, own in declared.items():
        if own and name not in shapes and any(d in dims for d in own if isinstance(d, str)):
            whole = [dims.get(d, d) if isinstance(d, str) else d for d in own]
            sizes = [1 if i == 0 and not isinstance(d, int | Range) else d for i, d in enumerate(whole)]
            known = tuple(d for d in sizes if isinstance(d, int | Range))
            if len(known) == len(sizes):
                found[name] = known
    return found


def _opened(asked: Shapes, declared: Mapping[str, Any]) -> dict[str, tuple[Size, ...]]:
    """Shapes' ranges as sizes that a run decides, under the file's names for them; one that another input asks for otherwise gets a name
    of its own."""
    taken: dict[str, tuple[str, Range]] = {}

    def opened(d: int | Range, said: Any, name: str, axis: int) -> Size:
        if not isinstance(d, Range):
            return d
        own = f"{name}_{axis}"
        text = said if isinstance(said, str) else own
        if taken.setdefault(identifier(text), (text, d)) != (text, d):
            text = next(n for i in range(len(taken) + 1) if identifier(n := f"{own}{'_' * i}") not in taken)
            taken[identifier(text)] = (text, d)
        return size_of(d.named(identifier(text)))

    return {
        name: tuple(opened(d, said, name, i) for i, (d, said) in enumerate(zip(wanted, declared[name] or (None,) * len(wanted))))
        for name, wanted in asked.items()
    }


def _without_characters(inputs: list[ir.Value], shapes: Shapes) -> tuple[Shapes, dict[str, int]]:
    """(shapes as ONNX has them, how many characters each text may have): one number more than the file declares says it."""
    found, characters = dict(shapes), dict[str, int]()
    for v in inputs:
        if v.dtype is not None and int(v.dtype) == STRING:
            name, given = str(v.name), shapes.get(str(v.name), ())
            more = v.shape is not None and len(given) == len(v.shape) + 1
            last = given[-1] if more else CHARACTERS
            if not isinstance(last, int) or last < 1:
                raise Error(
                    "usage", f"texts of {last} characters", f"input {name}", "the last number of --shape is the most that a text has"
                )
            characters[name] = last
            if more:
                found[name] = given[:-1]
    return found, characters


def input_types(
    inputs: list[ir.Value],
    shapes: Shapes,
    where: str,
    supported: Callable[[], None] = lambda: None,
    dims: Dims = MappingProxyType({}),
    letters: bool = False,
) -> Interface:
    """Types of the graph's inputs. A dimension's name is one size wherever it stands; an unknown leading dimension is a batch of 1; any
    other needs --shape (before that is asked for, `supported` may raise: no shape helps where an operator is unknown). letters: text has
    one more axis, its characters."""
    shapes, characters = _without_characters(inputs, shapes) if letters else (shapes, {})
    names = [str(v.name) for v in inputs]
    for given in shapes:
        if given not in names:
            raise Error("usage", f"no input is called {given}", where, f"the inputs are {', '.join(names)}")
    declared = {name: None if v.shape is None else [_dim(d) for d in v.shape] for name, v in zip(names, inputs)}
    asked = _asked(shapes, dims, declared, where)
    for name, wanted in asked.items():
        if declared[name] is not None and len(declared[name] or ()) != len(wanted):
            text = "x".join(map(str, wanted))
            raise Error("usage", f"--shape gives {text}, the model declares {describe(declared[name])}", f"input {name}")
    shapes = _opened(asked, declared)
    known: dict[str, tuple[Size, str]] = {}  # a dimension's name → its size, the input that says so
    assumed = []
    for name, wanted in shapes.items():
        own = declared[name]
        if own is None:
            continue
        for d, n in zip(own, wanted):
            if isinstance(d, str) and known.setdefault(d, (n, name))[0] != n:
                known[d] = -1, name  # as the caller says; other inputs then need sizes of their own
                assumed.append(f"input {name}: dimensions that the file calls {d} have different sizes")
            if isinstance(d, int) and d != n:
                assumed.append(f"input {name}: built as {'x'.join(map(str, asked[name]))}, where the file declares {describe(own)}")
    for name, own in declared.items():
        if own and name not in shapes and isinstance(own[0], str) and own[0] not in known:
            known[own[0]] = 1, name
    finals: list[list[int]] = []
    missing = []
    for name, value in zip(names, inputs):
        if not isinstance(value.type, ir.TensorType) or value.dtype is None or int(value.dtype) not in KNOWN:
            types = ", ".join((*DTYPES, *NARROW, TEXT))
            raise Error("unsupported", f"input {name} is no tensor of a supported type ({value.type})", where, f"types: {types}")
        own = declared[name]
        if name in shapes:
            final = list(shapes[name])
        elif own is None:
            missing.append(f"--shape {name}=…")
            continue
        else:
            final = [d if isinstance(d, int) else known[d][0] if d in known else 1 if i == 0 else -1 for i, d in enumerate(own)]
            if any(d == -1 for d in final):
                missing.append(f"--shape {name}={'x'.join('1..512' if d == -1 else str(d) for d in final)}")
                continue
            if own and not isinstance(own[0], int) and (own[0] is None or known.get(own[0], (0, ""))[1] not in shapes):
                shape = "x".join(map(str, final))
                assumed.append(f"input {name}: batch dimension {own[0] or '?'} built as 1 (--shape {name}={shape} to choose)")
        if any(d < 0 for d in final) or np.prod([float(most(d)) for d in final]) >= 2**31:
            raise Error("model" if name not in shapes else "usage", f"shape {final} is no shape that can be built", f"input {name}")
        finals.append(final)
    if missing:
        supported()
        raise Error(
            "usage", "the model has dynamic input shapes", where, f"say what they may be, one number or a range: {' '.join(missing)}"
        )
    numbers = [int(v.dtype) for v in inputs if v.dtype is not None]
    elements = [(LETTERS if letters else TEXT) if n == STRING else ONNX_NARROW.get(n, "") for n in numbers]
    finals = [[*f, characters[n]] if e == LETTERS else f for f, e, n in zip(finals, elements, names)]
    found = [TensorType(held(e) if e else ONNX_DTYPES[n], tuple(f)) for n, e, f in zip(numbers, elements, finals)]
    return Interface(found, elements, assumed)


NAMELESS = ("", "?", "-1", "None", "none", "dynamic", "unknown", "unk", "*")  # what exporters write where they know no name


def _dim(d: Any) -> int | str | None:
    """A declared dimension: its size, its name, or neither."""
    if isinstance(d, int):
        return d if d >= 0 else None
    name = str(getattr(d, "value", None) or "")
    return name if name not in NAMELESS else None


def describe(dims: Any) -> str:
    return "[" + ", ".join(str(d) for d in dims) + "]" if dims is not None else "any shape"


def tensor_array(tensor: Any, where: str) -> np.ndarray:
    """A tensor's contents, checked: hostile files lie about their sizes. Narrow types are ml_dtypes', text is objects."""
    if tensor is None:
        raise Error("model", "no data", where, "the initializer is declared but has no contents")
    try:
        if int(tensor.dtype) == STRING:
            return np.array([w.decode(errors="replace") for w in tensor.string_data()], object).reshape(tuple(tensor.shape))
        element = ONNX_NARROW.get(int(tensor.dtype))
        if element is None and int(tensor.dtype) not in ONNX_DTYPES:
            raise Error("unsupported", f"tensors of {tensor.dtype}", where)
        array = np.asarray(tensor.numpy())
        if tuple(array.shape) != tuple(int(d) for d in tensor.shape):
            raise ValueError("contents and shape differ")
    except Error:
        raise
    except Exception as e:
        raise Error("model", f"damaged tensor: {e or type(e).__name__}", where) from None
    if element is not None:
        return array.astype(numpy_type(element), copy=False)
    return np.ascontiguousarray(array).astype(DTYPES[ONNX_DTYPES[int(tensor.dtype)]], copy=False).reshape(array.shape)
