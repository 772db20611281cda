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
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

import mlcc as mlcc_package
from mlcc.error import Error
from mlcc.runtime import load
from tests.conftest import Mlcc


@pytest.fixture(scope="module")
def built(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import mlcc

    out = tmp_path_factory.mktemp("dist")
    return Path(mlcc.build(small_model, target="x86_64-v3", shapes={"x": (1, 3, 8, 8)}, out=out)["artifacts"][0]["path"])


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """y = relu(x), of three numbers."""
    folder = tmp_path_factory.mktemp("three")
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3]) for n in "xy"]
    onnx.save(
        helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:]), ir_version=9),
        folder / "m.onnx",
    )
    made = mlcc_package.build(folder / "m.onnx", target=("native", "c99"), out=folder)["artifacts"]
    return {a["target"]: Path(a["path"]) for a in made}


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
    assert (
        mlcc("verify", copy, "--minimum-version", "1.0").returncode == 0
        and mlcc("verify", copy, "--minimum-version", "1.0.1").returncode == 5
    )
    assert mlcc("verify", copy, "--minimum-version", "one").returncode == 2
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
    [b"[]", b"null", b'{"subject": 3}', b'{"_type": "x", "subject": [], "predicateType": "https://slsa.dev/provenance/v1", '
        b'"predicate": {}}',
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


def altered(artifact: Path, folder: Path, **changes: Any) -> Path:
    """A copy whose manifest says something else; nobody's signature is asked for by `run`."""
    copy = folder / "altered"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(artifact, copy)
    about = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**about, **changes}))
    return copy


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": [{"name": "x", "dtype": "float32", "shape": [1, 1]}]},
        {"outputs": [{"name": "y", "dtype": "float32", "shape": [0]}]},
        {"outputs": [{"name": "y", "dtype": "int8", "shape": [1, 3]}]},
        {"workspace_bytes": 1},
    ],
)
@pytest.mark.parametrize("target", ["native", "c99"])
def test_a_manifest_that_the_library_contradicts(
    target: str, changes: dict[str, Any], artifacts: dict[str, Path], tmp_path: Path, mlcc: Mlcc
) -> None:
    if target == "c99" and "workspace_bytes" in changes:
        pytest.skip("the program has a workspace of its own")
    copy = altered(artifacts[target], tmp_path, **changes)
    assert mlcc("run", copy).returncode == 5  # the signature tells already
    done = mlcc("run", copy, "--no-verify")
    assert done.returncode in (4, 5, 7) and "internal" not in done.stderr, done.stderr
    if target == "native":
        with pytest.raises(Error, match="other inputs or outputs"):
            load(copy, verify=False)


DAMAGES: list[dict[str, Any]] = [
    {"name": "../x"}, {"name": 3}, {"inputs": None}, {"inputs": [{"name": "x", "dtype": "float32", "shape": [-1]}]}, {"workspace_bytes": -1}, {"workspace_bytes": 2**70},
    {"inputs": [{"name": "x", "dtype": "object", "shape": [1]}]}, {"outputs": [{"dtype": "float32"}]}, {"target": []}, {"instruction_sets": "x"}, {"operators": 3},
    {"inputs": [{"name": "x", "dtype": "float32", "shape": [2**31, 2**31]}]}, {"inputs": [{"name": "x", "dtype": ["float32"], "shape": [1]}]},
]  # fmt: skip


@pytest.mark.parametrize("changes", DAMAGES)
def test_damaged_manifests_are_said_to_be_so(changes: dict[str, Any], artifacts: dict[str, Path], tmp_path: Path, mlcc: Mlcc) -> None:
    copy = altered(artifacts["native"], tmp_path, **changes)
    for command in (("run", copy), ("inspect", copy), ("bench", copy)):
        done = mlcc(*command)
        assert done.returncode == 5 and "manifest.json is damaged" in done.stderr, (command, done.stderr)


def test_helpers_of_others_are_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cached library is loaded only where nobody else may have put it there, and as it was compiled."""
    from mlcc.cache import library

    monkeypatch.setattr(library, "working_folder", lambda: tmp_path)
    text = "int answer(void) { return 42; }"
    assert library.loaded("t", text).answer() == 42
    (path,) = (tmp_path / "t").glob("*/t.so")
    good = path.read_bytes()
    path.unlink()  # it is mapped
    path.write_bytes(good[:-8])  # damaged: compiled again
    assert library.whole(path.parent, "t") is False
    assert library.loaded("t", text).answer() == 42 and library.whole(path.parent, "t")
    for place in (path, path.parent, path.parent.parent):
        place.chmod(0o777)
        assert not library.whole(path.parent, "t")
        library.loaded("t", text)
        assert place.stat().st_mode & 0o002 == 0
    path.unlink()
    path.symlink_to("/dev/zero")
    assert library.loaded("t", text).answer() == 42 and not path.is_symlink()


def test_helpers_are_compiled_by_several_at_once(tmp_path: Path) -> None:
    """On a machine's first day: whoever is second takes what is there, though its own bytes differ (they did: the linker names its files)."""
    call = "from mlcc.cache.library import loaded; print(loaded('t', 'int answer(void) { return 42; }').answer())"
    with_cache = {**os.environ, "MLCC_CACHE": str(tmp_path)}
    running = [
        subprocess.Popen([sys.executable, "-c", call], env=with_cache, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(5)
    ]
    ends = [p.communicate() for p in running]
    assert [out for out, _ in ends] == [b"42\n"] * 5, ends
    assert len(list((tmp_path / "t").iterdir())) == 1


def test_onnx_runtime_reports_to_nobody_and_follows_no_link(tmp_path: Path, small_model: Path) -> None:
    """ONNX Runtime starts telemetry as it is imported (a device's number in the home folder) and writes $TMPDIR/.ses; with CI's variables
    set it does not. This test fails where a new release no longer does: then `compare.runtime` can go."""
    ours = f"from pathlib import Path; from mlcc.conformance.compare import session; session(Path({str(small_model)!r}))"
    quiet = {"CI", "TF_BUILD", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "TRAVIS", "CIRCLECI", "ORT_DISABLE_TELEMETRY"}
    env = {k: v for k, v in os.environ.items() if k not in quiet and not k.startswith("XDG_")}
    for code, harmed in (("import onnxruntime", True), (ours, False)):
        place, home, victim = tmp_path / code[:4] / "tmp", tmp_path / code[:4] / "home", tmp_path / "victim"
        place.mkdir(parents=True)
        home.mkdir()
        victim.write_text("precious")
        (place / ".ses").symlink_to(victim)
        subprocess.run([sys.executable, "-c", code], check=True, env={**env, "TMPDIR": str(place), "HOME": str(home)})
        assert (victim.read_text() != "precious") is harmed
        assert any("Microsoft" in p.parts for p in home.rglob("*")) is harmed


def test_nothing_runs_that_nobody_trusted_has_signed(artifacts: dict[str, Path], tmp_path: Path, mlcc: Mlcc) -> None:
    key, other = tmp_path / "k.pem", tmp_path / "other.pem"
    for path in (key, other):
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path], check=True, capture_output=True)
        subprocess.run(["openssl", "pkey", "-in", path, "-pubout", "-out", path.with_suffix(".pub")], check=True, capture_output=True)
    model = artifacts["native"].parents[1] / "m.onnx"
    for target in ("native", "c99"):
        built = Path(mlcc_package.build(model, target=target, out=tmp_path / "d", key=key)["artifacts"][0]["path"])
        commands = [("run",), ("bench", "--seconds", "0.01")] if target == "native" else [("run",)]
        for command in commands:
            done = mlcc(command[0], built, *command[1:])
            assert done.returncode == 5 and "unknown key" in done.stderr
            assert mlcc(command[0], built, *command[1:], "--trust", other.with_suffix(".pub")).returncode == 5
            assert mlcc(command[0], built, *command[1:], "--trust", key.with_suffix(".pub")).returncode == 0
            assert mlcc(command[0], built, *command[1:], "--no-verify").returncode == 0
    native = tmp_path / "d/m/native"
    with pytest.raises(Error, match="unknown key"):
        load(native)
    assert load(native, trust=[key.with_suffix(".pub")]) and load(native, verify=False)
    library = native / "lib/libm.so"
    body = library.read_bytes()
    library.unlink()  # it is mapped
    library.write_bytes(body + b"0")
    with pytest.raises(Error, match="was changed"):
        load(native, trust=[key.with_suffix(".pub")])
