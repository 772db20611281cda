"""mlcc verify"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import click

from mlcc.artifact.manifest import Manifest
from mlcc.cli.output import json_option, print_json
from mlcc.error import Error
from mlcc.names import printable


@click.command(epilog="Example:  mlcc verify dist/model/x86_64-linux --trust builder.pub --target x86_64-linux")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option(
    "--trust",
    "trust",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A public key (PEM) to trust, instead of your own; may be given again.",
)
@click.option("--model", help="Demand that it is of this model: the name of the library, or of the model's file.")
@click.option("--target", help="Demand that it is for this target.")
@click.option(
    "--minimum-version",
    metavar="V",
    help="Demand that its --version is V or later, such as 1.4.0: an old artifact is else as good as a new one.",
)
@json_option
def command(
    artifact: Path, trust: tuple[Path, ...], model: str | None, target: str | None, minimum_version: str | None, as_json: bool
) -> None:
    """Check that a trusted key signed ARTIFACT, a folder or its .oci layout, and that not one byte of it has changed; the layout beside a
    folder is checked, too. File modes and times are not part of what is signed. Exit 0, or 5 where it does not hold."""
    from mlcc.artifact import manifest, oci, plain, sign
    from mlcc.artifact.keys import load_public, own_public_keys

    keys = [load_public(p) for p in trust] if trust else own_public_keys()
    beside = artifact.with_name(f"{artifact.name}.oci")
    if (artifact / "oci-layout").is_file():
        files = oci.unpacked(artifact)
        statement = sign.check_files(files, keys, str(artifact))
        envelope, about = json.loads(files[sign.FILE]), json.loads(files[manifest.FILE])
    else:
        statement = sign.verify(artifact, keys)
        envelope, about = json.loads(plain.read(artifact / sign.FILE)), manifest.read(artifact)
        if hashlib.sha256(manifest.dumps(about)).hexdigest() != sign.listed_files(statement)[manifest.FILE].sha256:
            raise Error("verification", "the artifact changed while it was read", str(artifact))
        if (beside / "oci-layout").is_file() and sign.check_files(oci.unpacked(beside), keys, str(beside)) != statement:
            raise Error("verification", "the layout beside the folder holds another artifact", str(beside))
    _demand(about, {"model": model, "target": target}, artifact)
    if minimum_version is not None and version_order(str(about.get("version", "0"))) < version_order(minimum_version):
        raise Error(
            "verification",
            f"the artifact is of version {printable(str(about.get('version', '?')))}, older than {minimum_version}",
            str(artifact),
        )
    found = {
        "artifact": str(artifact),
        "verified": True,
        "model": about["model"],
        "target": about["target"],
        "version": about.get("version"),
        "key": envelope["signatures"][0]["keyid"],
        "files": len(statement["subject"]),
        "builder": statement["predicate"]["runDetails"]["builder"]["id"],
    }
    if as_json:
        print_json(found)
        return
    click.echo(f"{artifact}: signature holds, {found['files']} files unchanged")
    click.echo(
        f"{printable(about['model'])} {found['version']} for {printable(about['target'])}, signed by key {printable(found['key'])[:16]}"
    )


def version_order(text: str) -> tuple[int, ...]:
    """Versions in order: numbers between dots, what follows - or + left out. Raises Error(usage) where it is none."""
    numbers = re.split(r"[-+]", text, maxsplit=1)[0].split(".")
    if not all(re.fullmatch(r"\d{1,9}", n) for n in numbers):
        raise Error("usage", f"{printable(text)} is no version", hint="such as 1.4.0")
    found = tuple(map(int, numbers))
    return (*found, *(0,) * (4 - len(found)))


def _demand(about: Manifest, wanted: dict[str, str | None], artifact: Path) -> None:
    for what, value in wanted.items():
        found = {"model": (about["model"], about["name"]), "target": (about["target"],)}[what]
        if value is not None and value not in found:
            raise Error("verification", f"the artifact is of {what} {found[0]}, not {value}", str(artifact))
