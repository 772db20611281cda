"""Damaged files for every reader: of the same structure, with some of it altered. Nothing but an answer in words may come of them."""

from __future__ import annotations

import io
import json
import random
import shutil
import signal
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import onnx

from mlcc import Error
from mlcc import lock as lock_file
from mlcc import project as project_file

SECONDS = 60  # for one call
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**70, -(2**63), 1.5, 1e308, "", "x", "../x", "/etc/passwd", "a\0b", "\x1b[31m", "‮x", "x" * 5000, [], [[]], [None], {}, {"x": 1},
    "native", "float32", [0], [-1], [2**40], "[", "'", '"',
]  # fmt: skip


def altered_json(r: random.Random, value: Any) -> Any:
    """A JSON value with one place altered, dropped, doubled or exchanged."""
    value = json.loads(json.dumps(value))
    places: list[tuple[Any, Any]] = []

    def walk(v: Any) -> None:
        for key in v if isinstance(v, dict) else range(len(v)) if isinstance(v, list) else ():
            places.append((v, key))
            walk(v[key])

    walk(value)
    for _ in range(r.choice([1, 1, 1, 2, 4])):
        if not places:
            return r.choice(ODD)
        holder, key = r.choice(places)
        if isinstance(holder, list) and key >= len(holder) or isinstance(holder, dict) and key not in holder:
            continue
        match r.randrange(5):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.append(holder[key])
            case 2:
                holder[key] = [holder[key]] if r.random() < 0.5 else {"x": holder[key]}
            case 3 if isinstance(holder, dict):
                holder[str(r.choice(ODD))[:40]] = holder[key]
            case _:
                holder[key] = r.choice(ODD)
    return value


def altered_bytes(r: random.Random, raw: bytes) -> bytes:
    """Bytes with a few flipped, cut, doubled or exchanged."""
    body = bytearray(raw)
    for _ in range(r.choice([1, 1, 2, 5])):
        if not body:
            break
        at = r.randrange(len(body))
        match r.randrange(5):
            case 0:
                body[at] ^= 1 << r.randrange(8)
            case 1:
                del body[at:]
            case 2:
                body[at:at] = body[at : at + r.randrange(1, 40)]
            case 3:
                del body[at : at + r.randrange(1, 20)]
            case _:
                body[at : at + 1] = r.choice(
                    [b"\xff", b"\0", b"[", b"{", b'"', b"'''", b"= ", b"\n", b"9" * 30, b"-", b"\xf0\x9f", b"\x1b[2J"]
                )
    return bytes(body)


def altered_text(r: random.Random, text: str) -> bytes:
    """Lines of a text dropped, doubled, exchanged, with other values; or its bytes damaged."""
    if r.random() < 0.3:
        return altered_bytes(r, text.encode())
    lines = text.splitlines()
    for _ in range(r.choice([1, 1, 2, 3])):
        if not lines:
            break
        at = r.randrange(len(lines))
        key, equals, _ = lines[at].partition("=")
        match r.randrange(4):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, lines[r.randrange(len(lines))])
            case 2 if equals:
                odd = r.choice([o for o in ODD if o is not None])
                lines[at] = f"{key}= {json.dumps(odd) if not isinstance(odd, dict) else '{ x = 1 }'}"
            case _:
                lines.insert(
                    at,
                    r.choice(
                        [
                            "[x]",
                            "[[x]]",
                            "x = 1",
                            "a.b.c = 1",
                            "[" * 3000,
                            "x = " + "[" * 3000,
                            "\x00",
                            "extends = 'native'",
                            '"" = 1',
                            "x = 1979-05-27",
                        ]
                    ),
                )
    return "\n".join(lines).encode(errors="surrogatepass")


def altered_model(r: random.Random, model: onnx.ModelProto) -> bytes:
    """A model with fields altered: attributes, names, shapes, types, operator sets; or its bytes damaged."""
    if r.random() < 0.3:
        return altered_bytes(r, model.SerializeToString())
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for _ in range(r.choice([1, 1, 2, 4])):
        g = made.graph
        node = r.choice(g.node) if g.node else None
        match r.randrange(14):
            case 0 if node:
                node.op_type = r.choice(
                    [
                        "Relu",
                        "Conv",
                        "Loop",
                        "If",
                        "Scan",
                        "LSTM",
                        "Reshape",
                        "TopK",
                        "Resize",
                        "Einsum",
                        "",
                        "x" * 1000,
                        "Constant",
                        "Cast",
                    ]
                )
            case 1 if node and node.input:
                node.input[r.randrange(len(node.input))] = r.choice(
                    [*(o for n in g.node for o in n.output), *(i.name for i in g.initializer), "", "nothing"]
                )
            case 2 if node and node.output:
                node.output[r.randrange(len(node.output))] = r.choice([*(o for n in g.node for o in n.output), ""])
            case 3 if node and node.attribute:
                a = r.choice(node.attribute)
                a.type = r.randrange(0, 15)
            case 4 if node and node.attribute:
                a = r.choice(node.attribute)
                a.i, a.f, a.s = r.choice([-1, 0, 1, 7, 2**31, -(2**63), 2**62]), r.choice([0.0, -1.0, 1e38, float("nan")]), b"x\xff"
                if a.ints:
                    a.ints[r.randrange(len(a.ints))] = r.choice([-1, 0, 1, 7, 2**31, 2**62])
            case 5 if node and node.attribute:
                del node.attribute[r.randrange(len(node.attribute))]
            case 6 if g.initializer:
                t = r.choice(g.initializer)
                t.data_type = r.randrange(0, 26)
            case 7 if g.initializer:
                t = r.choice(g.initializer)
                if t.dims:
                    t.dims[r.randrange(len(t.dims))] = r.choice([-1, 0, 1, 3, 2**31, 2**62])
            case 8 if g.initializer:
                t = r.choice(g.initializer)
                t.raw_data = t.raw_data[: r.randrange(0, len(t.raw_data) + 1)]
            case 9 if g.input:
                v = r.choice(g.input)
                if v.type.tensor_type.shape.dim:
                    d = r.choice(v.type.tensor_type.shape.dim)
                    d.dim_value = r.choice([-1, 0, 1, 5, 2**31, 2**62])
            case 10 if g.input:
                r.choice(g.input).type.tensor_type.elem_type = r.randrange(0, 26)
            case 11:
                made.opset_import[0].version = r.choice([-1, 0, 1, 6, 9, 12, 18, 25, 2**40])
            case 12 if node:
                node.domain = r.choice(["", "ai.onnx", "com.microsoft", "ai.onnx.ml", "x", "\xff"])
            case 13 if node:
                node.input.append(r.choice([o for n in g.node for o in n.output] or [""]))
    return made.SerializeToString()


def call(arguments: list[str]) -> tuple[int, str, str]:
    """The command line in this process: (exit code, what it said on stderr, on stdout). Raises TimeoutError where it does not end."""
    from mlcc.cli import main

    def late(number: int, frame: object) -> None:
        raise TimeoutError(f"no answer within {SECONDS} s")

    out, err = io.StringIO(), io.StringIO()
    before = signal.signal(signal.SIGALRM, late), signal.getsignal(signal.SIGTERM)
    signal.alarm(SECONDS)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main(arguments)
    except SystemExit as e:
        return int(e.code or 0), err.getvalue(), out.getvalue()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before[0])
        signal.signal(signal.SIGTERM, before[1])
    return 0, err.getvalue(), out.getvalue()


def checked(arguments: list[str], what: str) -> None:
    """Any of the documented ends, in a few lines."""
    code, said, shown = call(arguments)
    assert code in (0, 2, 3, 4, 5, 6, 7) and "internal" not in said and "Traceback" not in said, f"{what}: exit {code}: {said[-600:]}"
    assert not set("\x1b\0‮") & set(said + shown), f"{what}: raw control characters: {said + shown!r}"


Reader = Callable[[random.Random, Path], list[list[str]]]


def readers(artifact: Path, model: Path, npy: bytes, project: str, target: str, lock: str) -> dict[str, Reader]:
    """Name → what writes one damaged file into a folder and says with which commands to read it."""
    about = json.loads((artifact / "manifest.json").read_text())
    envelope = json.loads((artifact / "attestation.dsse.json").read_text())
    proto = onnx.load(str(model))

    def copy(folder: Path) -> Path:
        place = folder / "artifact"
        shutil.copytree(artifact, place)
        return place

    def manifest(r: random.Random, folder: Path) -> list[list[str]]:
        place = copy(folder)
        body = json.dumps(altered_json(r, about)).encode() if r.random() < 0.8 else altered_bytes(r, json.dumps(about).encode())
        (place / "manifest.json").write_bytes(body)
        return [
            ["run", str(place), "--no-verify"],
            ["inspect", str(place)],
            ["verify", str(place)],
            ["bench", str(place), "--no-verify", "--seconds", "0.01"],
        ][: r.choice([1, 4])]

    def attestation(r: random.Random, folder: Path) -> list[list[str]]:
        place = copy(folder)
        body = json.dumps(altered_json(r, envelope)).encode() if r.random() < 0.7 else altered_bytes(r, json.dumps(envelope).encode())
        (place / "attestation.dsse.json").write_bytes(body)
        return [["verify", str(place)], ["verify", "--json", str(place)]]

    def array(r: random.Random, folder: Path) -> list[list[str]]:
        path = folder / "x.npy"
        path.write_bytes(altered_bytes(r, npy[:128]) + npy[128:])
        return [["run", str(artifact), "--input", f"x={path}"]]

    def module(name: str, text: str, read: Callable[[Path], object]) -> Reader:
        """A file that a module of ours reads, without a command around it."""

        def reader(r: random.Random, folder: Path) -> list[list[str]]:
            (folder / name).write_bytes(altered_text(r, text))
            with suppress(Error):
                read(folder / name)
            return []

        return reader

    def machine(r: random.Random, folder: Path) -> list[list[str]]:
        path = folder / "mine.toml"
        path.write_bytes(altered_text(r, target))
        return [["targets", str(path)]]

    def graph(r: random.Random, folder: Path) -> list[list[str]]:
        path = folder / "m.onnx"
        path.write_bytes(altered_model(r, proto))
        return [
            ["inspect", str(path)]
            if r.random() < 0.5
            else ["build", str(path), "-t", "c99", "--no-test", "--no-judge", "--no-cache", "-o", str(folder / "d")]
        ]

    return {
        "manifest": manifest,
        "attestation": attestation,
        "npy": array,
        "project": module("mlcc.toml", project, project_file.load),
        "target": machine,
        "lock": module("mlcc.lock", lock, lock_file.read),
        "model": graph,
    }


def run(reader: Reader, name: str, seed: int, folder: Path) -> None:
    r = random.Random(f"{name} {seed}")
    folder.mkdir()
    for arguments in reader(r, folder):
        checked(arguments, f"{name}, seed {seed}: mlcc {' '.join(arguments)}")
