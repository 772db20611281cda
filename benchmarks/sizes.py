"""One build for many sizes beside a build for each, and recurrence by its number of steps → docs/sizes.md.

    python -m benchmarks.sizes

Models are made here, with seeded weights. Times are medians of paired runs of both libraries in one process, through the C interface (its
call by array pointers), one thread; sizes are those of the shared libraries without weights.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import mlcc

N = h.make_node
SIZES = (1, 7, 16, 33, 128, 256)  # the last is the bound
ROUNDS = 60
HEAD = """# Open sizes and loops

Written by `python -m benchmarks.sizes`, not by hand. Every output was compared with the static build's: the bits are equal.

"""


def weights(seed: int, *shape: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) / shape[0] ** 0.5).astype(np.float32)


def model(nodes: list[Any], inputs: list[Any], outputs: list[str], constants: dict[str, Any]) -> onnx.ModelProto:
    stored = [nh.from_array(np.asarray(a), n) for n, a in constants.items()]
    ends = [h.make_tensor_value_info(n, T.FLOAT, None) for n in outputs]
    return h.make_model(h.make_graph(nodes, "sizes", inputs, ends, stored), opset_imports=[h.make_opsetid("", 18)], ir_version=9)


def transformer() -> tuple[onnx.ModelProto, Callable[[int], tuple[int | str, ...]]]:
    d, heads = 128, 4
    nodes = [N("Shape", ["x"], ["s"], end=2), N("Concat", ["s", "hd"], ["s4"], axis=0), N("Concat", ["s", "full"], ["s3"], axis=0)]
    nodes += [n for c in "qkv" for n in (N("MatMul", ["x", f"w{c}"], [c]), N("Reshape", [c, "s4"], [f"{c}4"]))]
    nodes += [N("Transpose", [f"{c}4"], [f"{c}t"], perm=[0, 2, 3, 1] if c == "k" else [0, 2, 1, 3]) for c in "qkv"]
    nodes += [
        N("MatMul", ["qt", "kt"], ["sc"]), N("Mul", ["sc", "scale"], ["sd"]), N("Softmax", ["sd"], ["p"], axis=-1), N("MatMul", ["p", "vt"], ["c"]),
        N("Transpose", ["c"], ["ct"], perm=[0, 2, 1, 3]), N("Reshape", ["ct", "s3"], ["cr"]), N("MatMul", ["cr", "wo"], ["o"]), N("Add", ["o", "x"], ["r"]),
        N("LayerNormalization", ["r", "g", "b"], ["l"]), N("MatMul", ["l", "wa"], ["a"]), N("Relu", ["a"], ["e"]), N("MatMul", ["e", "wb"], ["f"]), N("Add", ["f", "l"], ["y"]),
    ]  # fmt: skip
    constants = {f"w{c}": weights(i, d, d) for i, c in enumerate("qkvo")}
    constants |= {
        "wa": weights(5, d, 4 * d),
        "wb": weights(6, 4 * d, d),
        "g": weights(7, d),
        "b": weights(8, d),
        "scale": np.float32(d // heads) ** np.float32(-0.5),
    }
    constants |= {"hd": np.array([heads, d // heads]), "full": np.array([d])}
    return model(nodes, [h.make_tensor_value_info("x", T.FLOAT, [1, "seq", d])], ["y"], constants), lambda n: (1, n, d)


def recurrent() -> tuple[onnx.ModelProto, Callable[[int], tuple[int | str, ...]]]:
    constants = {"w": weights(1, 1, 512, 64), "r": weights(2, 1, 512, 128) / 8}
    nodes = [N("LSTM", ["x", "w", "r"], ["y", "", "c"], hidden_size=128)]
    return model(nodes, [h.make_tensor_value_info("x", T.FLOAT, ["time", 1, 64])], ["y", "c"], constants), lambda n: (n, 1, 64)


def text() -> tuple[onnx.ModelProto, Callable[[int], tuple[int | str, ...]]]:
    """Convolutions over a sequence, a norm, a pool over all of it: what magika is made of."""
    nodes = [
        N("Conv", ["x", "a"], ["c"], pads=[2, 2]), N("Relu", ["c"], ["d"]), N("Conv", ["d", "b"], ["e"], pads=[2, 2]), N("Transpose", ["e"], ["t"], perm=[0, 2, 1]),
        N("LayerNormalization", ["t", "g", "o"], ["l"]), N("ReduceMax", ["l", "one"], ["m"], keepdims=0), N("MatMul", ["m", "w"], ["s"]), N("Softmax", ["s"], ["y"]),
    ]  # fmt: skip
    constants = {
        "a": weights(1, 64, 32, 5),
        "b": weights(2, 64, 64, 5),
        "g": weights(3, 64),
        "o": weights(4, 64),
        "w": weights(5, 64, 100),
        "one": np.array([1]),
    }
    return model(nodes, [h.make_tensor_value_info("x", T.FLOAT, [1, 32, "bytes"])], ["y"], constants), lambda n: (1, 32, n)


def picture() -> tuple[onnx.ModelProto, Callable[[int], tuple[int | str, ...]]]:
    nodes = [
        N("Conv", ["x", "a"], ["c"], pads=[1] * 4, strides=[2, 2]), N("Relu", ["c"], ["d"]), N("Conv", ["d", "dw"], ["e"], pads=[1] * 4, group=16), N("Conv", ["e", "b"], ["f"]),
        N("Relu", ["f"], ["r"]), N("Conv", ["r", "k"], ["s"], pads=[1] * 4), N("GlobalAveragePool", ["s"], ["y"]),
    ]  # fmt: skip
    constants = {"a": weights(1, 16, 3, 3, 3), "dw": weights(2, 16, 1, 3, 3), "b": weights(3, 32, 16, 1, 1), "k": weights(4, 32, 32, 3, 3)}
    return model(nodes, [h.make_tensor_value_info("x", T.FLOAT, [1, 3, "height", 64])], ["y"], constants), lambda n: (1, 3, n, 64)


MODELS = {"transformer layer": transformer, "LSTM, 128 wide": recurrent, "text convolutions": text, "picture, height open": picture}


def built(made: onnx.ModelProto, shape: tuple[int | str, ...], folder: Path, cache: bool = True) -> Path:
    onnx.save(made, folder / "m.onnx")
    return Path(
        mlcc.build(folder / "m.onnx", "native", {"x": shape}, folder / "-".join(map(str, shape)).replace("..", "_"), cache=cache)[
            "artifacts"
        ][0]["path"]
    )


def code(artifact: Path) -> int:
    about = json.loads((artifact / "manifest.json").read_bytes())
    return int(about["library_bytes"] - about["constant_bytes"])


def paired(one: Any, other: Any, x: np.ndarray) -> tuple[float, float]:
    """Median seconds of a call of each, taking turns."""
    calls = [m._prepared({"x": x})[1] for m in (one, other)]
    count = [1, 1]
    for i, call in enumerate(calls):
        start = time.perf_counter()
        call(0, -1)
        count[i] = max(1, int(0.002 / max(1e-7, time.perf_counter() - start)))
    times: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            for _ in range(count[i]):
                call(0, -1)
            times[i].append((time.perf_counter() - start) / count[i])
    return median(times[0]), median(times[1])


def open_sizes(folder: Path) -> str:
    rows = [
        "## One build for 1 to 256, beside a build for each size\n",
        "| model | code, one build | code, the largest alone | " + " | ".join(map(str, SIZES)) + " | geometric mean |",
    ]
    rows.append("|" + "---|" * (len(SIZES) + 4))
    for title, make in MODELS.items():
        made, shape = make()
        place = folder / title.replace(" ", "_").replace(",", "")
        place.mkdir()
        artifact = built(made, shape(f"1..{SIZES[-1]}"), place)  # type: ignore[arg-type]
        one, ratios = mlcc.load(artifact), []
        for n in SIZES:
            alone = built(made, shape(n), place)
            other = mlcc.load(alone)
            x = np.random.default_rng(n).standard_normal(shape(n)).astype(np.float32)
            assert all(a.tobytes() == b.tobytes() for a, b in zip(one(x=x).values(), other(x=x).values(), strict=True))
            open_time, own = paired(one, other, x)
            ratios.append(open_time / own)
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        rows.append(f"| {title} | {code(artifact):,} | {code(alone):,} | " + " | ".join(f"{r:.2f}" for r in ratios) + f" | {mean:.2f} |")
    return "\n".join(rows) + "\n\nTime of the one build, the static build's being 1.\n\n"


def steps(folder: Path) -> str:
    rows = [
        "## Recurrence is a loop: the LSTM above, by its number of steps\n",
        "| steps | library without weights | build, seconds | microseconds | a step |",
        "|---|---|---|---|---|",
    ]
    made, shape = recurrent()
    for n in (1, 10, 1000):
        start = time.monotonic()
        artifact = built(made, shape(n), folder, cache=False)
        seconds = time.monotonic() - start
        m, x = mlcc.load(artifact), np.random.default_rng(n).standard_normal(shape(n)).astype(np.float32)
        taken, _ = paired(m, m, x)
        rows.append(f"| {n} | {code(artifact):,} | {seconds:.1f} | {taken * 1e6:.1f} | {taken * 1e6 / n:.2f} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as d:
        text_ = HEAD + open_sizes(Path(d)) + steps(Path(d))
    (Path(__file__).resolve().parents[1] / "docs" / "sizes.md").write_text(text_)
    print(text_)


if __name__ == "__main__":
    main()
