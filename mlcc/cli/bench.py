"""mlcc bench"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click

from mlcc.cli.build import parse_dims
from mlcc.cli.output import json_option, print_json, table, trust_options
from mlcc.error import Error

ENGINES = ("onnxruntime", "openvino", "openvino-default")


@click.command(epilog="Example:  mlcc bench dist/model/native --against onnxruntime --model model.onnx")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--dim", "dims", multiple=True, metavar="NAME=SIZE", help="A size, where a run decides it [default: the largest].")
@click.option("--threads", type=int, default=1, show_default=True)
@click.option("--against", default="", metavar="ENGINES", help=f"Engines to time beside it, separated by commas: {', '.join(ENGINES)}.")
@click.option("--model", type=click.Path(path_type=Path), help="The ONNX file that the artifact was built from [default: where it was].")
@click.option("--seconds", type=float, default=5.0, show_default=True, help="How long to measure.")
@click.option("--variant", help="Instruction set to use, where the library has several.")
@click.option(
    "--profile", "as_profile", is_flag=True, help="Time each kernel call instead: its share of the core's peak and what binds it."
)
@trust_options
@json_option
def command(
    artifact: Path,
    dims: tuple[str, ...],
    threads: int,
    against: str,
    model: Path | None,
    seconds: float,
    variant: str | None,
    as_profile: bool,
    trust: tuple[Path, ...],
    no_verify: bool,
    as_json: bool,
) -> None:
    """Time ARTIFACT; engines take turns run by run, so that noise meets all alike."""
    import mlcc
    from mlcc.artifact import manifest
    from mlcc.cli.run import read_inputs, source_model

    about = manifest.read(artifact)
    feed = read_inputs(about, (), parse_dims(dims))
    m = mlcc.load(artifact, threads=threads, variant=variant, verify=not no_verify, trust=trust)
    if as_profile:
        _profile(m, feed, artifact, variant or m.variants[-1], seconds, as_json)
        return
    engines: dict[str, Callable[[], Any]] = {"mlcc": lambda: m(feed)}
    for name in filter(None, against.split(",")):
        if name not in ENGINES:
            raise Error("usage", f"no engine {name}", hint=f"engines: {', '.join(ENGINES)}")
        engines[name] = engine(name, source_model(model, about), feed, threads)
    times: dict[str, list[float]] = {n: [] for n in engines}
    for f in engines.values():
        f()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["mlcc"]) < 5:
        for n, f in engines.items():
            start = time.perf_counter()
            f()
            times[n].append((time.perf_counter() - start) * 1e3)
    result = {
        "model": about["model"],
        "target": about["target"],
        "variant": variant or m.variants[-1],
        "threads": threads,
        "engines": {n: {"median_ms": round(median(t), 4), "min_ms": round(min(t), 4), "runs": len(t)} for n, t in times.items()},
    }
    if as_json:
        print_json(result)
        return
    own = median(times["mlcc"])
    table(
        [[n, f"{median(t):.3f}", f"{min(t):.3f}", len(t), f"{median(t) / own:.2f}"] for n, t in times.items()],
        ["engine", "median ms", "min ms", "runs", "time / mlcc"],
    )


def _profile(m: Any, feed: dict[str, Any], artifact: Path, variant: str, seconds: float, as_json: bool) -> None:
    """The slowest calls first."""
    from dataclasses import asdict

    from mlcc.profile import core, profile
    from mlcc.target import load as load_target

    machine = core(load_target(variant).variants[0].machine.vector_bits // 8)
    rows = sorted(profile(m, feed, artifact, machine, seconds), key=lambda r: -r["ms"])
    if as_json:
        print_json({"machine": asdict(machine), "threads": m.threads, "calls": rows})
        return
    flops = sum(r["gflops"] * r["ms"] for r in rows)
    total = sum(r["ms"] for r in rows)
    table(
        [
            [
                r["kernel"][:44],
                f"{r['ms']:.3f}",
                f"{r['share']:.1%}",
                f"{r['gflops']:.0f}",
                f"{r['of_bound']:.0%}",
                r["bound"],
                r["origin"][-40:],
            ]
            for r in rows
        ],
        ["kernel", "ms", "share", "GFLOP/s", "of bound", "bound by", "origin"],
    )
    print(
        f"{total:.3f} ms in {len(rows)} calls, {flops / total:.0f} GFLOP/s; one core's peak: {machine.gflops:.0f} GFLOP/s, "
        f"{machine.cache_gbs:.0f} GB/s from cache, {machine.memory_gbs:.0f} from memory"
    )


def engine(name: str, model: Path, feed: dict[str, Any], threads: int) -> Callable[[], Any]:
    """A peer, ready to run. openvino computes in float32 as mlcc does; openvino-default in what it prefers on this CPU (bfloat16 with
    AMX)."""
    if name == "onnxruntime":
        return _onnxruntime(model, feed, threads)
    return _openvino(model, feed, threads, {"INFERENCE_PRECISION_HINT": "f32"} if name == "openvino" else {})


def _onnxruntime(model: Path, feed: dict[str, Any], threads: int) -> Callable[[], Any]:
    from mlcc.conformance.compare import session

    s = session(model, threads)
    return lambda: s.run(None, feed)


def _openvino(model: Path, feed: dict[str, Any], threads: int, hints: dict[str, str]) -> Callable[[], Any]:
    try:
        import openvino
    except ImportError:
        raise Error("usage", "timing OpenVINO needs it installed", hint="pip install openvino") from None
    core = openvino.Core()
    source = core.read_model(str(model))
    source.reshape({k: list(v.shape) for k, v in feed.items()})
    options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, **hints}
    request = core.compile_model(source, "CPU", options).create_infer_request()
    return lambda: request.infer(feed)
