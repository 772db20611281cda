"""Nothing is "internal": whatever an exception is and wherever it comes from, the user reads what was done, and at which node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

import mlcc
from mlcc import pipeline
from mlcc.graph.normalise import DOMAINS
from mlcc.reference import execute

CLASSES: list[BaseException] = [
    ValueError("odd"), KeyError("odd"), IndexError("odd"), TypeError("odd"), AttributeError("odd"), AssertionError("odd"), ZeroDivisionError("odd"),
    OverflowError("odd"), RuntimeError("odd"), NotImplementedError("odd"), UnicodeDecodeError("utf-8", b"", 0, 1, "odd"), StopIteration("odd"),
    RecursionError("odd"), OSError(28, "No space left on device"),
]  # fmt: skip
STAGES = {
    "mlcc.graph.rules.elementwise.TABLE:Tanh": "Tanh (the_node)",
    "mlcc.reference.execute.TABLE:Tanh": "Tanh (the_node)",
    "mlcc.program.lower.state.Lowering.elementwise": "Tanh (the_node)",
    "mlcc.freezing.optimise": "m.onnx",
    "mlcc.graph.freeze.frozen_vectors": "m.onnx",
    "mlcc.freezing.judge": "m.onnx",
    "mlcc.versions.prove": "m.onnx",
    "mlcc.package.package": "m.onnx",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Tanh", ["x"], ["y"], name="the_node")], "g", values[:1], values[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    onnx.save(made, str(tmp_path / "m.onnx"))
    return tmp_path / "m.onnx"


@pytest.mark.parametrize("stage", STAGES)
def test_any_exception_in_any_stage_is_explained(stage: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binaries: list[Any] = []  # compiled once

    def compiled(*given: Any, really: Any = pipeline._compile) -> Any:
        binaries[:] = binaries or [really(*given)]
        return binaries[0]

    for error in CLASSES:

        def broken(*_: Any, error: BaseException = error, **__: Any) -> Any:
            raise error

        with monkeypatch.context() as patch:
            place, _, key = stage.partition(":")
            if key and place.startswith("mlcc.graph.rules"):
                patch.setitem(DOMAINS[""], key, broken)
            elif key:
                patch.setitem(execute.TABLE, key, broken)
            else:
                patch.setattr(place, broken)
            patch.setattr(pipeline, "_compile", compiled)
            with pytest.raises(mlcc.Error) as e:
                mlcc.build(model, target="native", out=tmp_path / "o", cache=False, check=False)
        text = str(e.value)
        assert "internal" not in text and "Traceback" not in text, text
        assert STAGES[stage] in text or isinstance(error, OSError | RecursionError), (type(error), text)
    assert not (tmp_path / "o").exists()
