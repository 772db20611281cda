"""Artifacts, keys and environments that somebody means ill with: refused in one line, at once; nothing hangs, nothing leaks."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Mlcc


@pytest.fixture(scope="module")
def built(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import mlcc

    out = tmp_path_factory.mktemp("dist")
    return Path(mlcc.build(small_model, target="x86_64-v3", shapes={"x": (1, 3, 8, 8)}, out=out)["artifacts"][0]["path"])


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    for name in (built.name, f"{built.name}.oci"):
        shutil.copytree(built.with_name(name), tmp_path / name)
    return tmp_path / built.name


def fifo(p: Path) -> None:
    os.mkfifo(p)


def unix_socket(p: Path) -> None:
    with socket.socket(socket.AF_UNIX) as s:
        before = os.getcwd()
        os.chdir(p.parent)  # such names are short
        s.bind(p.name)
        os.chdir(before)


def sparse(p: Path) -> None:
    with open(p, "wb") as f:
        f.truncate(20 << 30)


def zeros(p: Path) -> None:
    p.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [fifo, unix_socket, sparse, zeros])
@pytest.mark.parametrize("name", ["extra", "manifest.json", "attestation.dsse.json", "golden/0/input_0.npy"])
def test_verify_reads_no_pipes_devices_or_endless_files(make: Callable[[Path], None], name: str, copy: Path, mlcc: Mlcc) -> None:
    (copy / name).unlink(missing_ok=True)
    make(copy / name)
    done = mlcc("verify", copy)
    assert done.returncode == 5 and "internal" not in done.stderr and len(done.stderr.splitlines()) <= 2


def test_verify_ends_where_folders_do_not(copy: Path, mlcc: Mlcc) -> None:
    before = os.getcwd()
    os.chdir(copy / "golden")
    for _ in range(1500):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(before)
    done = mlcc("verify", copy)
    assert done.returncode == 5 and "golden/d/ is not part" in done.stderr
    subprocess.run(["rm", "-rf", copy / "golden"], check=True)


def test_verify_says_what_it_verified_and_checks_what_is_demanded(copy: Path, mlcc: Mlcc) -> None:
    said = json.loads(mlcc("verify", copy, "--json").stdout)
    assert (said["model"], said["target"]) == ("small.onnx", "x86_64-v3") and len(said["key"]) == 64
    assert mlcc("verify", copy, "--target", "x86_64-v3", "--model", "small").returncode == 0
    assert mlcc("verify", copy, "--target", "aarch64-linux").returncode == 5
    assert mlcc("verify", copy, "--model", "other").returncode == 5
    assert "x86_64-v3" in mlcc("verify", copy.with_name(f"{copy.name}.oci")).stdout


def test_the_layout_beside_is_verified(copy: Path, mlcc: Mlcc) -> None:
    layout = copy.with_name(f"{copy.name}.oci")
    for blob in (layout / "blobs/sha256").iterdir():
        raw = blob.read_bytes()
        blob.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        for place in (copy, layout):
            assert mlcc("verify", place).returncode == 5
        blob.write_bytes(raw)
    assert mlcc("verify", copy).returncode == 0


@pytest.mark.parametrize(
    "payload",
    [b"[]", b"null", b'{"subject": 3}', b'{"_type": "x", "subject": [], "predicateType": "https://slsa.dev/provenance/v1", "predicate": {}}',
     b'{"_type": "https://in-toto.io/Statement/v1", "subject": [], "predicateType": "other", "predicate": {}}', b"[" * 100_000],
)  # fmt: skip
def test_signed_by_a_trusted_key_but_no_statement(payload: bytes, copy: Path, mlcc: Mlcc) -> None:
    from mlcc.artifact.keys import signing_key
    from mlcc.artifact.sign import FILE, sign

    (copy / FILE).write_bytes(sign(payload, signing_key(None)))
    for options in ([], ["--json"]):
        done = mlcc("verify", copy, *options)
        assert done.returncode == 5 and "no statement" in done.stderr


SECRET = "MC4CAQAwBQYDK2VwBCIEIFyR0Rc8jmJ0bV0l8rjKx0tK1WQxSecretSecretSecr"


@pytest.mark.parametrize("value", [SECRET, f'"-----BEGIN PRIVATE KEY-----\\n{SECRET}\\n-----END PRIVATE KEY-----"', f"key: {SECRET}"])
def test_a_malformed_key_is_never_shown(value: str, small_model: Path, copy: Path, tmp_path: Path, mlcc: Mlcc) -> None:
    for command in (["build", small_model, "--shape", "x=1x3x8x8", "-t", "c99", "-o", tmp_path / "o"], ["verify", copy]):
        done = mlcc(*command, MLCC_SIGNING_KEY=value)
        assert done.returncode == 2 and "Secret" not in done.stdout + done.stderr and "$MLCC_SIGNING_KEY" in done.stderr


def test_no_child_process_gets_the_key(small_model: Path, tmp_path: Path, mlcc: Mlcc) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    own = Ed25519PrivateKey.generate()
    pem = own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    spy = tmp_path / "cc"
    spy.write_text(f'#!/bin/sh\nenv >> {tmp_path}/seen\nexec gcc "$@"\n')
    spy.chmod(0o755)
    line = ["build", small_model, "--shape", "x=1x3x8x8", "-t", "native", "-o", tmp_path / "o", "--compiler", str(spy), "--no-cache"]
    done = mlcc(*line, MLCC_SIGNING_KEY=pem)
    assert done.returncode == 0, done.stderr
    seen = (tmp_path / "seen").read_text()
    assert "PATH=" in seen and "MLCC_SIGNING_KEY" not in seen and "BEGIN PRIVATE" not in seen


def test_keys_that_others_may_read_or_replace_are_refused(tmp_path: Path) -> None:
    from mlcc.artifact.keys import own_public_keys, signing_key
    from mlcc.error import Error

    key = tmp_path / "k" / "key.pem"
    env = {**os.environ, "MLCC_CONFIG": str(key.parent)}
    subprocess.run([sys.executable, "-c", "from mlcc.artifact.keys import signing_key; signing_key(None)"], env=env, check=True)
    assert key.stat().st_mode & 0o777 == 0o600 and key.with_suffix(".pub").exists()
    signing_key(key)
    assert signing_key(key).warning == ""
    key.chmod(0o644)
    assert "others may read" in signing_key(key).warning
    key.chmod(0o602)
    with pytest.raises(Error, match="anyone may change"):
        signing_key(key)
    key.chmod(0o600)
    key.parent.chmod(0o777)
    with pytest.raises(Error, match="anyone may replace"):
        signing_key(key)
    key.parent.chmod(0o700)
    trusted = key.parent / "trusted"
    trusted.mkdir()
    shutil.copy(key.with_suffix(".pub"), trusted / "a.pub")
    trusted.chmod(0o777)
    with pytest.MonkeyPatch.context() as m:
        m.setenv("MLCC_CONFIG", str(key.parent))
        with pytest.raises(Error, match="others may put keys there"):
            own_public_keys()
        trusted.chmod(0o755)
        assert len(own_public_keys()) == 2


def test_sixteen_builds_make_one_key(tmp_path: Path) -> None:
    code = "from mlcc.artifact.keys import signing_key, pem; print(signing_key(None).public_pem.decode())"
    for turn in range(3):
        env = {**os.environ, "MLCC_CONFIG": str(tmp_path / str(turn))}
        runs = [subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True) for _ in range(16)]
        assert len({r.communicate()[0] for r in runs}) == 1 and all(r.returncode == 0 for r in runs)
