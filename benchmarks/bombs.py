"""Small files that ask for much: time and peak memory of `mlcc build` on each, as docs/limits.md.

python -m benchmarks.bombs [-o docs/limits.md]
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

TIMEOUT = 120  # seconds
ROOM = 16 << 30  # bytes of address space
V = h.make_tensor_value_info
FLOATS = V("x", T.FLOAT, [4])
NODE = Callable[..., Any]
node = h.make_node


def model(
    nodes: Sequence[Any], known: dict[str, Any] | None = None, inputs: Sequence[Any] = (FLOATS,), functions: Sequence[Any] = ()
) -> onnx.ModelProto:
    constants = [numpy_helper.from_array(np.asarray(a), n) for n, a in (known or {}).items()]
    graph = h.make_graph(list(nodes), "g", list(inputs), [V("y", T.FLOAT, None)], constants)
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17), h.make_opsetid("f", 1)], functions=list(functions), ir_version=8)


def summed(nodes: Sequence[Any], known: dict[str, Any]) -> onnx.ModelProto:
    """A large constant `t`, summed up and added to the input."""
    return model([*nodes, node("Cast", ["t"], ["u"], to=1), node("ReduceSum", ["u"], ["s"]), node("Add", ["x", "s"], ["y"])], known)


def made_large(nodes: Sequence[Any], known: dict[str, Any], inputs: Sequence[Any] = (FLOATS,)) -> onnx.ModelProto:
    """A large value `t` that depends on the input, summed up."""
    return model([*nodes, node("ReduceSum", ["t"], ["y"])], known, inputs)


def chain(op: str, count: int) -> onnx.ModelProto:
    names = ["x", *(f"v{i}" for i in range(count - 1)), "y"]
    return model([node(op, [a] if op in ("Relu", "Sin") else [a, "x"], [b]) for a, b in zip(names, names[1:])])


def laughs(depth: int, op: str) -> onnx.ModelProto:
    """Functions that call the one below twice."""
    imports = [h.make_opsetid("", 17), h.make_opsetid("f", 1)]

    def one(i: int) -> Any:
        inner, domain = (op, "") if i == 0 else (f"F{i - 1}", "f")
        return h.make_function(
            "f", f"F{i}", ["a"], ["b"], [node(inner, ["a"], ["t"], domain=domain), node(inner, ["t"], ["b"], domain=domain)], imports
        )

    return model([node(f"F{depth - 1}", ["x"], ["y"], domain="f")], functions=[one(i) for i in range(depth)])


def loops(depth: int, trips: int) -> onnx.ModelProto:
    """Loops within loops."""

    def body(level: int) -> Any:
        inner = node("Add", ["s", "s"], ["o"]) if level == 0 else node("Loop", ["n", "", "s"], ["o"], body=body(level - 1))
        ends = [V("i", T.INT64, []), V("c", T.BOOL, []), V("s", T.FLOAT, [4])]
        return h.make_graph([node("Identity", ["c"], ["k"]), inner], f"b{level}", ends, [V("k", T.BOOL, []), V("o", T.FLOAT, [4])])

    return model([node("Loop", ["n", "", "x"], ["y"], body=body(depth - 1))], {"n": np.int64(trips)})


def branches(depth: int) -> onnx.ModelProto:
    def leaf(op: str) -> Any:
        return h.make_graph([node(op, ["x"], ["o"])], "l", [], [V("o", T.FLOAT, [4])])

    graph = leaf("Relu")
    for _ in range(depth):
        graph = h.make_graph([node("If", ["q"], ["o"], then_branch=graph, else_branch=leaf("Neg"))], "z", [], [V("o", T.FLOAT, [4])])
    return model([node("If", ["q"], ["y"], then_branch=graph, else_branch=leaf("Neg"))], inputs=[FLOATS, V("q", T.BOOL, [])])


def recurrent(op: str, steps: int, hidden: int) -> onnx.ModelProto:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    known = {"w": np.ones((1, gates * hidden, 1), np.float32), "r": np.ones((1, gates * hidden, hidden), np.float32)}
    return model([node(op, ["s", "w", "r"], ["", "y"], hidden_size=hidden)], known, [V("s", T.FLOAT, [steps, 1, 1])])


def cases() -> Iterator[tuple[str, Callable[[], onnx.ModelProto]]]:
    """(name, maker), from harmless to absurd."""
    one = np.ones(1, np.float32)
    image = [V("x", T.FLOAT, [1, 1, 4, 4])]
    for power in (20, 24, 30, 31, 40):
        n, known = 2**power, np.array([2**power])
        yield f"ConstantOfShape of 2^{power}", lambda k=known: summed([node("ConstantOfShape", ["r"], ["t"])], {"r": k})
        yield f"Expand to 2^{power}", lambda k=known: summed([node("Expand", ["c", "r"], ["t"])], {"c": one, "r": k})
        yield f"Tile to 2^{power}", lambda k=known: made_large([node("Tile", ["x", "r"], ["t"])], {"r": k // 4})
        yield (
            f"Range to 2^{power}",
            lambda n=n: summed([node("Range", ["a", "n", "d"], ["t"])], {"a": np.int64(0), "n": np.int64(n), "d": np.int64(1)}),
        )
        yield f"Pad by 2^{power}", lambda n=n: made_large([node("Pad", ["x", "p"], ["t"])], {"p": np.array([n, 0])})
        yield (
            f"Pad, mirrored, by 2^{power}",
            lambda n=n: made_large([node("Pad", ["x", "p"], ["t"], mode="reflect")], {"p": np.array([n, 0])}),
        )
    for power in (10, 12, 13, 20):
        scales = np.array([1, 1, 2.0**power, 2.0**power], np.float32)
        for mode in ("nearest", "linear", "cubic"):
            yield (
                f"Resize by 2^{power}, {mode}",
                lambda s=scales, m=mode: made_large([node("Resize", ["x", "", "s"], ["t"], mode=m)], {"s": s}, image),
            )
        yield (
            f"OneHot of depth 2^{2 * power}",
            lambda p=power: model(
                [node("OneHot", ["i", "d", "v"], ["y"])], {"d": np.int64(4**p), "v": np.array([0, 1], np.float32)}, [V("i", T.INT64, [4])]
            ),
        )
    for n in (1000, 3000, 10_000, 20_000):
        yield (
            f"MatMul of {n}² constants",
            lambda n=n: summed([node("ConstantOfShape", ["r"], ["a"]), node("MatMul", ["a", "a"], ["t"])], {"r": np.array([n, n])}),
        )
        yield f"MatMul of {n}² inputs", lambda n=n: made_large([node("MatMul", ["x", "x"], ["t"])], {}, [V("x", T.FLOAT, [n, n])])
        yield f"{n} x Relu", lambda n=n: chain("Relu", n)
        yield f"{n} x Add", lambda n=n: chain("Add", n)
        yield f"{n} x MatMul of 4 numbers", lambda n=n: chain("MatMul", n)
    yield "100,000 x Sin", lambda: chain("Sin", 100_000)
    for power in (16, 20, 24, 28):
        yield (
            f"CumSum over 2^{power}",
            lambda p=power: made_large([node("CumSum", ["x", "z"], ["t"])], {"z": np.int64(0)}, [V("x", T.FLOAT, [2**p])]),
        )
        yield (
            f"TopK of 2^{power}",
            lambda p=power: model([node("TopK", ["x", "k"], ["y", "i"])], {"k": np.array([2**p])}, [V("x", T.FLOAT, [2**p])]),
        )
    for depth in (8, 12, 16, 30, 60):
        yield f"functions, {depth} deep", lambda d=depth: laughs(d, "Sin")
        yield f"functions of nothing, {depth} deep", lambda d=depth: laughs(d, "Identity")
    for depth, trips in ((1, 4096), (1, 5000), (2, 100), (2, 4096), (3, 4096), (6, 10)):
        yield f"loops, {depth} deep, {trips} times", lambda d=depth, t=trips: loops(d, t)
    for depth in (4, 8, 12, 15):
        yield f"branches, {depth} deep", lambda d=depth: branches(d)
    for op, steps, hidden in (
        ("LSTM", 1000, 8),
        ("GRU", 1000, 8),
        ("LSTM", 200_000, 1),
        ("GRU", 200_000, 1),
        ("RNN", 200_000, 1),
        ("LSTM", 100, 512),
    ):
        yield f"{op} of {steps} steps, {hidden} wide", lambda o=op, n=steps, w=hidden: recurrent(o, n, w)
    for size in (101, 100_001, 2**31 - 1):
        yield f"LRN of size {size}", lambda s=size: model([node("LRN", ["x"], ["y"], size=s)], inputs=[V("x", T.FLOAT, [1, 8, 4, 4])])
    for kernel in (1001, 100_001, 2**30):
        for op in ("MaxPool", "AveragePool", "LpPool"):
            yield (
                f"{op} of {kernel}",
                lambda k=kernel, o=op: model(
                    [node(o, ["x"], ["y"], kernel_shape=[k], pads=[k - 1, k - 1])], inputs=[V("x", T.FLOAT, [1, 1, 100])]
                ),
            )
    for dilation in (2**8, 2**12, 2**20):
        yield (
            f"Conv with dilation {dilation}",
            lambda d=dilation: model(
                [node("Conv", ["x", "w"], ["y"], dilations=[d, d], pads=[2 * d] * 4)], {"w": np.ones((1, 1, 3, 3), np.float32)}, image
            ),
        )
        yield (
            f"ConvTranspose with stride {dilation}",
            lambda d=dilation: model(
                [node("ConvTranspose", ["x", "w"], ["y"], strides=[d, d])], {"w": np.ones((1, 1, 3, 3), np.float32)}, image
            ),
        )
    for n in (60, 120, 200):
        yield (
            f"Einsum to {n}⁴",
            lambda n=n: made_large([node("Einsum", ["x"] * 4, ["t"], equation="a,b,c,d->abcd")], {}, [V("x", T.FLOAT, [n])]),
        )
    for n in (1000, 4000):
        yield f"Concat of {n}", lambda n=n: made_large([node("Concat", ["x"] * n, ["t"], axis=0)], {})


def measured(path: Path, folder: Path) -> tuple[float, int, int, str]:
    """(seconds, peak bytes of the largest process, exit code or −1 at the timeout, what mlcc said)."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))

    line = [sys.executable, "-m", "mlcc.cli", "build", str(path), "-t", "c99", "-o", str(folder / "d"), "--no-cache"]
    start = time.monotonic()
    with subprocess.Popen(
        line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=limited, start_new_session=True
    ) as run:
        try:
            _, errors = run.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, 9)
            run.communicate()
            return TIMEOUT, 0, -1, ""
    # of this child alone: RUSAGE_CHILDREN is a running maximum, so each case runs in a process of its own (see main)
    return time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, run.returncode, errors


def row(name: str) -> str:
    with tempfile.TemporaryDirectory() as d:
        path = Path(d) / "m.onnx"
        onnx.save(dict(cases())[name](), path)
        seconds, peak, code, said = measured(path, Path(d))
        outcome = (
            {0: "built", -1: "**ran out of time**"}.get(code)
            or said.partition("error: ")[2].split("\n")[0].partition(": ")[2][:90]
            or f"exit {code}"
        )
        return f"| {name} | {path.stat().st_size:,} | {seconds:.1f} | {peak / 2**20:,.0f} | {outcome.replace('|', '/')} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/limits.md"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(row(given.one))
        return
    rows = []
    for name, _ in cases():
        done = subprocess.run([sys.executable, "-m", "benchmarks.bombs", "--one", name], capture_output=True, text=True)
        rows.append(done.stdout.strip() or f"| {name} | | | | {done.stderr.strip().splitlines()[-1:]} |")
        print(rows[-1], flush=True)
        given.out.write_text(HEAD + "\n".join(rows) + "\n")


HEAD = f"""# What a model may ask for

A file of a few hundred bytes can ask for any amount of memory and time. `mlcc build` refuses what goes beyond these, in one line, before it is allocated or run; `--limit NAME=N`
raises one where the model is trusted (`--limit memory=8G --limit work=4T`):

| Limit | Default | Of |
|---|---|---|
| `operators` | 50,000 | the file's, functions and loops written out; and the program's |
| `value` | 512 MiB | one value |
| `memory` | 2 GiB | values that live at once |
| `work` | 10^12 | elements and multiply-adds of one inference; the reference computes at least three |

`python -m benchmarks.bombs` made this table: `mlcc build -t c99 --no-cache`, at most {TIMEOUT} s and {ROOM >> 30} GiB of address space.

| Model | Bytes | Seconds | Peak MiB | Outcome |
|---|---|---|---|---|
"""

if __name__ == "__main__":
    main()
