"""Artifacts: reproducible to the byte, every change found, keys handled with care."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcc.artifact import manifest
from tests.conftest import Mlcc


@pytest.fixture(scope="module")
def built(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import mlcc

    out = tmp_path_factory.mktemp("dist")
    result = mlcc.build(small_model, target=["x86_64-linux"], shapes={"x": (1, 3, 8, 8)}, out=out)
    assert result["artifacts"][0]["conformance"] == "passed"
    return Path(result["artifacts"][0]["path"])


def test_two_builds_in_two_places_are_one(small_model: Path, tmp_path: Path) -> None:
    """By two processes that order their sets in two ways, at two times."""
    found = []
    for place, seed in (("one", "1"), ("two", "2")):
        other = tmp_path / place / "small.onnx"
        other.parent.mkdir()
        shutil.copy(small_model, other)
        command = [sys.executable, "-m", "mlcc.cli", "build", other, "-t", "x86_64-v3", "--shape", "x=1x3x8x8", "--no-cache", "--json"]
        done = subprocess.run([*command, "-o", tmp_path / place / "dist"], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True)
        artifact = tmp_path / place / "dist/small/x86_64-v3"
        files = {p.relative_to(artifact).as_posix(): p.read_bytes() for p in artifact.rglob("*") if p.is_file()}
        found.append((json.loads(done.stdout)["artifacts"][0]["digest"], files))
        time.sleep(1.1)  # no clock in it
    assert found[0] == found[1] and len(found[0][1]) > 10


def test_every_file_is_guarded(built: Path, tmp_path: Path) -> None:
    from mlcc.artifact.keys import own_public_keys
    from mlcc.artifact.sign import verify
    from mlcc.error import Error

    copy = tmp_path / "artifact"
    shutil.copytree(built, copy)
    keys = own_public_keys()
    verify(copy, keys)
    r = random.Random(1)

    def refused() -> None:
        with pytest.raises(Error) as e:
            verify(copy, keys)
        assert e.value.code == "verification"

    for f in [p for p in copy.rglob("*") if p.is_file()]:
        raw = f.read_bytes()
        for at in r.sample(range(len(raw)), min(5, len(raw))):
            f.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << r.randrange(8))]) + raw[at + 1 :])
            refused()
        for other in (raw[:-1], raw + b"\n", b""):
            f.write_bytes(other)
            refused()
        f.unlink()
        refused()
        f.write_bytes(raw)
    (copy / "extra").write_text("x")
    refused()
    (copy / "extra").unlink()
    (copy / "link").symlink_to(copy / "manifest.json")
    refused()
    (copy / "link").unlink()
    (copy / "empty").mkdir()
    refused()
    (copy / "empty").rmdir()
    verify(copy, keys)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.data())
def test_envelopes_from_outside_never_pass_or_crash(noise: bytes, data: st.DataObject) -> None:
    from mlcc.artifact.keys import SigningKey, _make, signing_key  # noqa: F401
    from mlcc.artifact.sign import check_envelope, sign, statement
    from mlcc.error import Error

    key = signing_key(None)
    raw = sign(statement({}, {}), key)
    check_envelope(raw, [key.private.public_key()], "x")
    at = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:at] + noise + raw[at + data.draw(st.integers(0, 3)) :]
    if changed != raw:
        with pytest.raises(Error) as e:
            check_envelope(changed, [key.private.public_key()], "x")
        assert e.value.code == "verification"


def test_a_strange_key_is_refused_and_a_trusted_one_accepted(built: Path, tmp_path: Path, mlcc: Mlcc) -> None:
    for name in ("other",):
        subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from pathlib import Path; from mlcc.artifact.keys import _make; _make(Path(sys.argv[1]))",
                tmp_path / f"{name}.pem",
            ],
            check=True,
        )
    wrong = mlcc("verify", built, "--trust", tmp_path / "other.pub")
    assert wrong.returncode == 5 and "unknown key" in wrong.stderr
    from mlcc.artifact.keys import config_folder

    assert mlcc("verify", built, "--trust", config_folder() / "key.pub").returncode == 0
    assert mlcc("verify", built, MLCC_CONFIG=str(tmp_path / "nobody")).returncode == 5


def test_the_first_key_is_private_and_said(small_model: Path, tmp_path: Path, mlcc: Mlcc) -> None:
    done = mlcc(
        "build",
        small_model,
        "--target",
        "x86_64-v3",
        "--shape",
        "x=1x3x8x8",
        "-o",
        tmp_path / "d",
        "--json",
        MLCC_CONFIG=str(tmp_path / "config"),
    )
    assert done.returncode == 0, done.stderr
    assert "made a signing key" in done.stderr and json.loads(done.stdout)["artifacts"][0]["conformance"] == "passed"
    assert stat.S_IMODE((tmp_path / "config" / "key.pem").stat().st_mode) == 0o600


def test_the_oci_layout_is_whole(built: Path) -> None:
    import hashlib

    layout = built.with_name(built.name + ".oci")
    index = json.loads((layout / "index.json").read_bytes())
    assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    top = index["manifests"][0]

    def blob(descriptor: dict) -> bytes:  # type: ignore[type-arg]
        body = (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
        assert f"sha256:{hashlib.sha256(body).hexdigest()}" == descriptor["digest"] and len(body) == descriptor["size"]
        return body

    manifest = json.loads(blob(top))
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(blob(manifest["layers"][0]))) as t:
        assert sorted(t.getnames()) == sorted(p.relative_to(built).as_posix() for p in built.rglob("*") if p.is_file())
    blob(manifest["config"])


def test_the_golden_vectors_are_what_the_library_computes(built: Path) -> None:
    import mlcc

    m = mlcc.load(built)
    about = json.loads((built / "manifest.json").read_text())
    for i in range(3):
        feed = {t["name"]: np.load(built / f"golden/{i}/input_{j}.npy") for j, t in enumerate(about["inputs"])}
        for v in m.variants:
            out = mlcc.load(built, variant=v)(feed)
            for j, t in enumerate(about["outputs"]):
                assert np.array_equal(out[t["name"]], np.load(built / f"golden/{i}/output_{j}.npy"), equal_nan=True)


def test_the_sbom_validates(built: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    try:
        problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str((built / "sbom.cdx.json").read_text())
    except Exception as e:  # the validator's optional dependencies
        pytest.skip(str(e))
    assert problem is None


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here: make system")
def test_a_host_with_flush_to_zero_gets_the_same_bits(built: Path, tmp_path: Path) -> None:
    """A program linked with fast-math start-up code sets FTZ and DAZ; the library restores IEEE rules for itself and then the host's."""
    source = tmp_path / "host.c"
    source.write_text("""#include "small.h"
#include <stdio.h>
#include <stdlib.h>
int main(void) { unsigned before = 0x9FC0, after = 0; __asm__ volatile("ldmxcsr %0" : : "m"(before)); void *w = malloc(small_selftest_bytes());
 int status = small_selftest(w); __asm__ volatile("stmxcsr %0" : "=m"(after)); printf("%d %x\\n", status, after & 0xFFC0); return status; }""")
    run = ["gcc", f"-I{built}/include", str(source), f"{built}/lib/libsmall.a", "-lm", "-lpthread", "-o", str(tmp_path / "host")]
    subprocess.run(run, check=True)
    assert subprocess.run([tmp_path / "host"], capture_output=True, text=True).stdout.split() == ["0", "9fc0"]


def test_the_c_example_builds_and_runs(tmp_path: Path, small_model: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "make"
    shutil.copytree(example, tmp_path / "make")
    shutil.copy(small_model, tmp_path / "make" / "small.onnx")
    done = subprocess.run(
        ["make", "-C", str(tmp_path / "make"), "run", f"MLCC={sys.executable} -m mlcc.cli"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "self-test passed" in done.stdout
    again = subprocess.run(
        ["make", "-C", str(tmp_path / "make"), "-q", "all", f"MLCC={sys.executable} -m mlcc.cli"], capture_output=True, text=True
    )
    assert again.returncode == 0, "a second make has nothing to do"
    (tmp_path / "make" / "small.onnx").touch()
    assert (
        subprocess.run(
            ["make", "-C", str(tmp_path / "make"), "-q", "all", f"MLCC={sys.executable} -m mlcc.cli"], capture_output=True
        ).returncode
        == 1
    ), "the depfile names the model"


def test_the_manifest_is_as_its_type_says(built: Path) -> None:
    about = manifest.read(built)
    wanted = {k: t for k, t in get_type_hints(manifest.Manifest).items() if k in about}
    assert manifest.Manifest.__required_keys__ <= about.keys() <= manifest.Manifest.__required_keys__ | manifest.Manifest.__optional_keys__
    for key, kind in wanted.items():
        assert isinstance(about[key], get_origin(kind) or kind), key  # type: ignore[literal-required]
