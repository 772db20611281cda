"""mlcc run"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import numpy as np

from mlcc.artifact.manifest import Manifest
from mlcc.cli.build import parse_dims
from mlcc.cli.output import json_option, print_json, table, trust_options
from mlcc.error import Error


@click.command(epilog="Example:  mlcc run dist/model/native --input x=image.npy --output results")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=FILE",
    help="An input: a .npy file, a .png or .jpg image, or the word random; may be given again. Inputs not given are random.",
)
@click.option(
    "--dim", "dims", multiple=True, metavar="NAME=SIZE", help="A size that a run decides, for random inputs [default: the largest]."
)
@click.option("--threads", type=int, default=1, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Folder to write the outputs to, as .npy files.")
@click.option("--compare", type=click.Choice(["onnxruntime"]), help="Compare the outputs with another engine's.")
@click.option("--model", type=click.Path(path_type=Path), help="The ONNX file that the artifact was built from [default: where it was].")
@click.option("--variant", help="Instruction set to use, where the library has several.")
@trust_options
@json_option
def command(
    artifact: Path,
    inputs: tuple[str, ...],
    dims: tuple[str, ...],
    threads: int,
    output: Path | None,
    compare: str | None,
    model: Path | None,
    variant: str | None,
    trust: tuple[Path, ...],
    no_verify: bool,
    as_json: bool,
) -> None:
    """Run ARTIFACT once and print its outputs' digests. Foreign targets run under an emulator where one is installed."""
    from mlcc.artifact import manifest
    from mlcc.artifact.arrays import readable
    from mlcc.conformance.execute import execute
    from mlcc.graph.freeze import outputs_digest
    from mlcc.runtime import verified

    about = manifest.read(artifact)
    if not no_verify:
        verified(artifact, trust)
    feed = read_inputs(about, inputs, parse_dims(dims))
    outputs, where = execute(artifact, about, feed, threads, variant)
    result: dict[str, Any] = {
        "model": about["model"],
        "target": about["target"],
        "environment": where,
        "output_digest": outputs_digest(outputs),
        "outputs": {},
    }
    outputs = readable(outputs, about["outputs"])
    if output:
        from mlcc.artifact.arrays import npy
        from mlcc.artifact.write import file

        for i, (name, array) in enumerate(outputs.items()):
            path = output / f"{_file_name(name, i)}.npy"
            file(npy(array), path)
            result["outputs"][name] = str(path)
    if compare:
        result["comparison"] = comparison(model, about, feed, outputs)
    if as_json:
        print_json(result)
        return
    table(
        [[n, str(a.dtype), "x".join(map(str, a.shape)) or "scalar", _preview(a)] for n, a in outputs.items()],
        ["output", "type", "shape", "first values"],
    )
    click.echo(f"outputs {result['output_digest']} ({where})")
    for name, d in result.get("comparison", {}).items():
        click.echo(
            f"{name}: at most {d.get('max_ulp', '?')} ulp, {d.get('max_abs', 0):.3g} absolute from {compare}"
            if "max_ulp" in d
            else f"{name}: {d}"
        )


def _file_name(name: str, index: int) -> str:
    return name if name.replace("_", "a").replace("-", "a").isalnum() else f"output_{index}"


def _preview(a: np.ndarray) -> str:
    return ", ".join(f"{v:.6g}" if a.dtype.kind == "f" else str(v) for v in a.reshape(-1)[:4]) + (" …" if a.size > 4 else "")


def read_inputs(about: Manifest, given: tuple[str, ...], dims: Mapping[str, Any] = MappingProxyType({})) -> dict[str, np.ndarray]:
    """Arrays for all inputs; those not given are random, the same each time. dims: of the sizes that a run decides; arrays say theirs."""
    from mlcc.artifact.arrays import read_npy
    from mlcc.artifact.manifest import extents
    from mlcc.core.graph import TensorType
    from mlcc.graph.draws import Draw
    from mlcc.graph.freeze import golden_input

    declared = about["inputs"]
    sources = {}
    for text in given:
        name, separator, source = text.partition("=")
        if not separator or name not in {t["name"] for t in declared}:
            raise Error("usage", f"--input {text} names no input", hint=f"inputs: {', '.join(t['name'] for t in declared)}")
        sources[name] = source
    feed = {}
    sizes = {s["name"]: s["most"] for s in about.get("sizes", [])}
    for name, n in dims.items():
        if name not in sizes or not isinstance(n, int):
            raise Error("usage", f"--dim {name}={n} is no size that this artifact takes", hint=f"sizes: {', '.join(sizes) or 'none'}")
        sizes[name] = n
    for i, t in sorted(enumerate(declared), key=lambda p: sources.get(p[1]["name"], "random") == "random"):  # files first: they say sizes
        source, whole = sources.get(t["name"], "random"), t.get("open", t["shape"])
        shape = extents(t, sizes)
        if source == "random":
            kind = TensorType(t["dtype"], shape)
            feed[t["name"]] = golden_input(kind, i, 7, "uniform", Draw(**t.get("draw", {})))
        elif source.lower().endswith((".png", ".jpg", ".jpeg")):
            feed[t["name"]] = read_image(Path(source), t["dtype"], shape)
        else:
            feed[t["name"]] = read_npy(
                Path(source), t["dtype"], tuple(n if isinstance(n, int) else None for n in whole), t.get("element", "")
            )
            sizes |= {n: m for n, m in zip(whole, feed[t["name"]].shape) if isinstance(n, str)}
    return {t["name"]: feed[t["name"]] for t in declared}


def read_image(path: Path, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """An image scaled to the input's size; channels first or last as the shape says; floats in 0…1, integers in 0…255."""
    try:
        from PIL import Image
    except ImportError:
        raise Error("usage", "reading images needs Pillow", str(path), "pip install 'mlcc[image]'") from None
    from mlcc.core.graph import DTYPES

    if len(shape) != 4 or shape[0] != 1 or not ({shape[1], shape[3]} & {1, 3}):
        raise Error("usage", f"the input {list(shape)} is no single image", str(path))
    first = shape[1] in (1, 3)
    channels, height, width = (shape[1], shape[2], shape[3]) if first else (shape[3], shape[1], shape[2])
    try:
        image = Image.open(path).convert("RGB" if channels == 3 else "L").resize((width, height))
    except OSError as e:
        raise Error("usage", f"cannot read the image: {e}", str(path)) from None
    pixels = np.asarray(image).reshape(height, width, channels)
    pixels = pixels.transpose(2, 0, 1) if first else pixels
    return (pixels / np.float32(255) if dtype.startswith("float") else pixels).astype(DTYPES[dtype])[None]


def source_model(model: Path | None, about: Manifest) -> Path:
    """The ONNX file that an artifact was built from: as given, or where it was when it was built here."""
    from mlcc.model_file import digest_model, find_model

    if model is None:
        found = find_model(about["model_digest"])
        if found is None:
            raise Error("usage", "the model that this artifact was built from is not where it was", hint=f"pass --model {about['model']}")
        return found
    if digest_model(model) != about["model_digest"]:
        raise Error("usage", "this is not the model that the artifact was built from", str(model))
    return model


def comparison(model: Path | None, about: Manifest, feed: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> dict[str, Any]:
    from mlcc.conformance.compare import difference, session, tensor
    from mlcc.core.narrow import meant

    s = session(source_model(model, about))
    said = {t["name"]: t for t in about["inputs"] if t.get("element")}
    given = {n: meant(a, said[n]["element"], said[n].get("labels", ())) if n in said else a for n, a in feed.items()}
    theirs = s.run(None, given)
    return {o.name: difference(outputs[o.name], tensor(t)) for o, t in zip(s.get_outputs(), theirs)}
