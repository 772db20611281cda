"""mlcc bench"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click

from mlcc.cli.output import json_option, print_json, table
from mlcc.error import Error

ENGINES = ("onnxruntime", "openvino")


@click.command(epilog="Example:  mlcc bench dist/model/native --against onnxruntime --model model.onnx")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--threads", type=int, default=1, show_default=True)
@click.option("--against", default="", metavar="ENGINES", help=f"Engines to time beside it, separated by commas: {', '.join(ENGINES)}.")
@click.option("--model", type=click.Path(path_type=Path), help="The ONNX file that the artifact was built from [default: where it was].")
@click.option("--seconds", type=float, default=5.0, show_default=True, help="How long to measure.")
@click.option("--variant", help="Instruction set to use, where the library has several.")
@json_option
def command(artifact: Path, threads: int, against: str, model: Path | None, seconds: float, variant: str | None, as_json: bool) -> None:
    """Time ARTIFACT; engines take turns run by run, so that noise meets all alike."""
    import mlcc
    from mlcc.artifact import manifest
    from mlcc.cli.run import read_inputs, source_model

    about = manifest.read(artifact)
    feed = read_inputs(about["inputs"], ())
    m = mlcc.load(artifact, threads=threads, variant=variant)
    engines: dict[str, Callable[[], Any]] = {"mlcc": lambda: m(feed)}
    for name in filter(None, against.split(",")):
        if name not in ENGINES:
            raise Error("usage", f"no engine {name}", hint=f"engines: {', '.join(ENGINES)}")
        engines[name] = {"onnxruntime": _onnxruntime, "openvino": _openvino}[name](source_model(model, about), feed, threads)
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


def _onnxruntime(model: Path, feed: dict[str, Any], threads: int) -> Callable[[], Any]:
    from mlcc.conformance.compare import session

    s = session(model, threads)
    return lambda: s.run(None, feed)


def _openvino(model: Path, feed: dict[str, Any], threads: int) -> Callable[[], Any]:
    try:
        import openvino
    except ImportError:
        raise Error("usage", "timing OpenVINO needs it installed", hint="pip install openvino") from None
    core = openvino.Core()
    source = core.read_model(str(model))
    source.reshape({k: list(v.shape) for k, v in feed.items()})
    request = core.compile_model(
        source, "CPU", {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    ).create_infer_request()
    return lambda: request.infer(feed)
