"""Libraries in programs as they are: several builds in one process, forks, pools that are not there, firmware with a C library of its
own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import mlcc
from tests.backends.models import small


def model(path: Path, factor: float) -> Path:
    """y = relu(x·w) with weights of its own, large enough for threads."""
    w = (np.random.default_rng(0).standard_normal((256, 512)) * factor).astype(np.float32)
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [256, s]) for n, s in (("x", 256), ("y", 512))]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(w, "w")]), ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models of one name: outputs of the second are twice the first's."""
    folder = tmp_path_factory.mktemp("linking")
    return [
        Path(mlcc.build(model(folder / "ic.onnx", f), target="x86_64-v3", out=folder / str(f))["artifacts"][0]["path"]) for f in (1.0, 2.0)
    ]


def program(source: str, artifact: Path, folder: Path, *libraries: str | Path) -> Path:
    (folder / "t.c").write_text(source)
    line = ["gcc", "-I", artifact / "include", folder / "t.c", "-o", folder / "t", *libraries, "-lpthread", "-lm", "-ldl"]
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "t"


BOTH = r"""
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#define IC_ANY_BUILD
#include "ic.h"
typedef int (*run_)(const ic_inputs *, const ic_outputs *, void *);
typedef int (*selftest)(void *);
int main(int argc, char **argv) {
    float *x = aligned_alloc(64, 256 * 256 * 4), *y[2];
    for (int i = 0; i < 256 * 256; i++) x[i] = (float)(i % 7) - 3;
    void *w = malloc(1 << 26);
    for (int k = 0; k < 2; k++) {
        void *l = dlopen(argv[1 + k], RTLD_NOW | RTLD_GLOBAL);
        if (!l) { puts(dlerror()); return 1; }
        y[k] = aligned_alloc(64, 256 * 512 * 4);
        ic_inputs in = {x};
        ic_outputs out = {y[k]};
        if (((run_)dlsym(l, "ic_run"))(&in, &out, w) || ((selftest)dlsym(l, "ic_selftest"))(w)) return 2;
    }
    for (int i = 0; i < 256 * 512; i++) if (y[1][i] != 2 * y[0][i]) return 3;
    return 0;
}
"""


def test_two_builds_of_one_name_in_a_process(two: list[Path], tmp_path: Path) -> None:
    run = program(BOTH, two[0], tmp_path)
    for order in (two, two[::-1]):
        done = subprocess.run([run, *(p / "lib/libic.so" for p in order)], capture_output=True, text=True)
        assert done.returncode == (0 if order is two else 3), done.stdout


def test_two_static_builds_of_one_name_do_not_link(two: list[Path], tmp_path: Path) -> None:
    for k, artifact in enumerate(two):
        (tmp_path / f"{k}.c").write_text(f'#include "ic.h"\nint f{k}(void *w) {{ return ic_selftest(w); }}\n')
        subprocess.run(["gcc", "-O2", "-I", artifact / "include", "-c", tmp_path / f"{k}.c", "-o", tmp_path / f"{k}.o"], check=True)
    (tmp_path / "main.c").write_text("int f0(void *), f1(void *);\nint main(void) { return f0(0) + f1(0); }\n")
    libraries = [p / "lib/libic.a" for p in two]
    line = ["gcc", tmp_path / "main.c", tmp_path / "0.o", tmp_path / "1.o", *libraries, "-lpthread", "-lm", "-o", tmp_path / "t"]
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True)
    assert done.returncode and "multiple definition" in done.stderr


FORK = r"""
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ic.h"
static float x[256 * 256], y[2][256 * 512];
static int run(void *pool, void *w, int k) {
    ic_inputs in = {x};
    ic_outputs out = {y[k]};
    return ic_run_parallel(&in, &out, w, ic_pool_for, pool);
}
int main(void) {
    for (int i = 0; i < 256 * 256; i++) x[i] = (float)(i % 7) - 3;
    void *w = malloc(ic_workspace_bytes()), *pool = ic_pool_create(4);
    if (run(pool, w, 0)) return 1;
    for (int turn = 0; turn < 6; turn++) {
        usleep(turn % 2 ? 50000 : 0); /* idle workers sleep, busy ones spin */
        pid_t child = fork();
        if (!child) {
            alarm(20);
            if (run(pool, w, 1) || memcmp(y[0], y[1], sizeof *y)) _exit(2);
            ic_pool_destroy(pool);
            pool = ic_pool_create(2); /* one of its own has threads again */
            if (!pool || run(pool, w, 1) || memcmp(y[0], y[1], sizeof *y)) _exit(3);
            ic_pool_destroy(pool);
            _exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        if (status) return 4;
        if (run(pool, w, 1) || memcmp(y[0], y[1], sizeof *y)) return 5;
    }
    ic_pool_destroy(pool);
    return run(0, w, 1) || memcmp(y[0], y[1], sizeof *y); /* no pool: the caller does it all */
}
"""


def test_forks_in_c(two: list[Path], tmp_path: Path) -> None:
    assert subprocess.run([program(FORK, two[0], tmp_path, two[0] / "lib/libic.a")], timeout=60).returncode == 0


FORK_PYTHON = """
import os, sys, time, multiprocessing
import numpy as np, mlcc
m = mlcc.load(sys.argv[1], threads=4)
x = np.ones((256, 256), np.float32)
want = np.asarray(m(x=x)["y"]).tobytes()
def same(_=0):
    return np.asarray(m(x=x)["y"]).tobytes() == want
for pause in (0, 0.06):
    time.sleep(pause)
    child = os.fork()
    if not child:
        ok = same()
        del m
        sys.exit(0 if ok else 1)  # as any program ends: with what Python runs then
    assert os.waitpid(child, 0)[1] == 0
with multiprocessing.get_context("fork").Pool(2) as pool:  # as servers do that load, then fork
    assert all(pool.map(same, range(4)))
assert same()
"""


def test_forks_in_python(two: list[Path], tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(FORK_PYTHON)
    done = subprocess.run([sys.executable, tmp_path / "t.py", two[0]], timeout=90, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "target, nm", [("cortex-m4f", "arm-none-eabi-nm"), ("cortex-m0plus", "arm-none-eabi-nm"), ("rv32imc", "riscv64-unknown-elf-nm")]
)
def test_firmware_keeps_its_own_memcpy(target: str, nm: str, tmp_path: Path) -> None:
    if shutil.which(nm) is None:
        pytest.skip(f"no {nm} here")
    built = mlcc.build(small(tmp_path / "small.onnx"), target=target, out=tmp_path / "o")
    library = Path(built["artifacts"][0]["path"]) / "lib/libsmall.a"
    listed = subprocess.run([nm, library], capture_output=True, text=True, check=True).stdout.split()
    assert "small_memcpy" in listed and not {"memcpy", "memset", "memmove"} & set(listed)
