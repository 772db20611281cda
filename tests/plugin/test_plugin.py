"""A third party's wheel with a backend, a target, an importer, a packaging and a pass, in a fresh environment: built and run with no file
of ours touched."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import sysconfig
import venv
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

SOURCE = Path(__file__).parent / "mlcc_lab"
ENTRY_POINTS = """[mlcc.backends]
lab = mlcc_lab.machine
[mlcc.importers]
lab = mlcc_lab.files
[mlcc.packagings]
lab-note = mlcc_lab.note
[mlcc.passes]
lab-twice = mlcc_lab.twice
[mlcc.targets]
lab = mlcc_lab.boards
"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def wheel(folder: Path) -> Path:
    """The package as a wheel (PEP 427)."""
    info = "mlcc_lab-2.1.dist-info"
    files = {f"mlcc_lab/{p.relative_to(SOURCE)}": p.read_bytes() for p in sorted(SOURCE.rglob("*")) if p.suffix in (".py", ".toml")}
    files[f"{info}/METADATA"] = b"Metadata-Version: 2.1\nName: mlcc-lab\nVersion: 2.1\nRequires-Dist: mlcc\n"
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = ENTRY_POINTS.encode()
    rows = [f"{n},sha256={urlsafe_b64encode(hashlib.sha256(b).digest()).rstrip(b'=').decode()},{len(b)}" for n, b in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    place = folder / "mlcc_lab-2.1-py3-none-any.whl"
    with zipfile.ZipFile(place, "w") as z:
        for name, body in files.items():
            z.writestr(name, body)
    return place


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The command in a fresh environment that has mlcc (this one's packages) and the wheel."""
    folder = tmp_path_factory.mktemp("lab")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env/bin/python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True
    ).stdout.strip()
    (Path(site) / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    line = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", "--no-deps", wheel(folder)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    def call(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([python, "-m", "mlcc.cli", *map(str, arguments)], capture_output=True, text=True, cwd=cwd)

    return call


def model(folder: Path, offset: float = 0.5) -> Path:
    (folder / "offset.txt").write_text(str(offset))
    path = folder / "m.lab"
    path.write_text(json.dumps({"shape": [5], "steps": ["Neg", "Neg", "Abs"], "offset": "offset.txt"}))
    return path


def built(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stderr
    result: dict = json.loads(done.stdout)
    return result


def test_builds_with_all_of_them(lab: Run, tmp_path: Path) -> None:
    path = model(tmp_path)
    plain = built(lab("build", path, "-t", "lab-1", "-t", "c99", "-o", "a", "--emit", "lab-note", "--json", cwd=tmp_path))
    assert any("c99: no lab-note, which is for machines that can read" in note for note in plain["notes"])
    artifact = tmp_path / "a/m/lab-1"
    about = json.loads((artifact / "manifest.json").read_text())
    assert (about["conformance"], about["class"], about["machine"]) == ("passed", "exact", "lab")
    assert (artifact / "note.txt").read_text().startswith("hello from m.lab for lab-1")
    bill = json.loads((artifact / "sbom.cdx.json").read_text())
    assert {("lab-assembler", "2.1"), ("lab-reader", "2.1")} <= {(c["name"], c.get("version")) for c in bill["components"]}
    # what a table says reaches the packaging; one model has one answer, on the third party's machine, too
    told = built(
        lab("build", path, "-t", "lab-1", "-o", "b", "--emit", "lab-note", "--set", "lab-note.greeting=good day", "--json", cwd=tmp_path)
    )
    assert (tmp_path / "b/m/lab-1/note.txt").read_text().startswith("good day")
    x = np.array([-3, -0.25, 0, 1, np.inf], np.float32)
    np.save(tmp_path / "x.npy", x)
    runs = [json.loads(lab("run", f"a/m/{t}", "--input", "x=x.npy", "--json", cwd=tmp_path).stdout) for t in ("lab-1", "c99")]
    assert runs[0]["output_digest"] == runs[1]["output_digest"] and told["output_digest"] == plain["output_digest"]
    listed = json.loads(lab("targets", "lab-1", "--json", cwd=tmp_path).stdout)
    assert listed["runs_here"] == "the lab's simulator"


def test_a_pass_runs_where_it_is_asked_for_and_is_noted(lab: Run, tmp_path: Path) -> None:
    path = model(tmp_path)
    plain = built(lab("build", path, "-t", "lab-1", "-o", "a", "--json", cwd=tmp_path))
    less = built(lab("build", path, "-t", "lab-1", "-o", "b", "--pass", "lab-twice", "--json", cwd=tmp_path))
    assert plain["program_digest"] != less["program_digest"] and plain["output_digest"] == less["output_digest"]
    about = json.loads((tmp_path / "b/m/lab-1/manifest.json").read_text())
    assert "pass lab-twice" in about["rewrites"] and about["operators"] == {"Abs": 1, "Add": 1}
    said = json.loads((tmp_path / "a/m/lab-1/manifest.json").read_text())
    assert said["operators"] == {"Abs": 1, "Add": 1, "Neg": 2} and not said["rewrites"]


def test_a_fault_of_theirs_is_caught_and_their_files_count(lab: Run, tmp_path: Path) -> None:
    path = model(tmp_path)
    wrong = lab("build", path, "-t", "lab-1", "-o", "a", "--set", "tuning.fault=1.5", cwd=tmp_path)
    assert wrong.returncode == 7 and "outputs differ from the reference" in wrong.stderr
    one = built(lab("build", path, "-t", "lab-1", "-o", "a", "--json", cwd=tmp_path))
    again = built(lab("build", path, "-t", "lab-1", "-o", "a", "--json", cwd=tmp_path))
    assert again["artifacts"][0]["digest"] == one["artifacts"][0]["digest"]
    (tmp_path / "offset.txt").write_text("0.75")  # the importer's other file: no stale artifact
    other = built(lab("build", path, "-t", "lab-1", "-o", "a", "--json", cwd=tmp_path))
    assert other["output_digest"] != one["output_digest"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "tuning.fault=1000"], "such a fault would be seen"),
        (["--set", "tuning.trace=7"], "trace must be a bool"),
        (["--set", "tuning.speed=1"], "unknown key speed"),
        (["--set", "hardware.share=0.5"], "[hardware] is for other targets"),
        (["--set", "nobody.x=1"], "no settings are called nobody"),
        (["--set", "fault"], "not of the form"),
        (["--emit", "nothing"], "cannot emit nothing"),
        (["--pass", "nothing"], "no pass nothing is installed"),
        (["-t", "lab-9"], "did you mean lab-1"),
    ],
)
def test_what_is_unknown_is_said(lab: Run, tmp_path: Path, arguments: list[str], said: str) -> None:
    done = lab("build", model(tmp_path), "-t", "lab-1", "-o", "a", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_a_project_file_knows_their_tables(lab: Run, tmp_path: Path) -> None:
    model(tmp_path)
    text = 'model = "m.lab"\ntargets = ["lab-1"]\nout = "p"\n[tuning]\nfault = 1.5\n'
    (tmp_path / "mlcc.toml").write_text(text)
    assert lab("build", cwd=tmp_path).returncode == 7
    (tmp_path / "mlcc.toml").write_text(text.replace("1.5", '"much"'))
    done = lab("build", cwd=tmp_path)
    assert done.returncode == 2 and "mlcc.toml, [tuning]" in done.stderr and "fault must be a float" in done.stderr
    own = (SOURCE / "boards/lab-1.toml").read_text()
    (tmp_path / "small.toml").write_text(own.replace("words = 1000", "words = 3"))
    (tmp_path / "mlcc.toml").write_text('model = "m.lab"\ntargets = ["small.toml"]\n')
    done = lab("build", cwd=tmp_path)
    assert done.returncode == 4 and "the machine has 3" in done.stderr
    (tmp_path / "small.toml").write_text(own.replace("words = 1000", 'words = "many"'))
    done = lab("build", cwd=tmp_path)
    assert done.returncode == 2 and "small.toml, line 16" in done.stderr and "words must be an int" in done.stderr
