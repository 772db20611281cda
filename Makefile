# Two commands: `make demo` builds, signs, verifies and runs a real model; `make test` runs every check. Both set up all they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
SHOWN := $(VENV)/shown
# Modules are compiled once, not in each of the hundreds of processes that the tests start (containers often forbid it).
unexport PYTHONDONTWRITEBYTECODE
# Emulators for the foreign CPUs and boards that tests build for, compilers for the examples and the portable C, OpenCL on the CPU,
# simulation and synthesis of hardware, and the compilers that firmware is built with.
PACKAGES := qemu-user-static qemu-system-arm qemu-system-misc gcc g++ libc6-dev pocl-opencl-icd verilator yosys nextpnr-ice40 fpga-icestorm \
            gcc-arm-none-eabi libnewlib-arm-none-eabi gcc-riscv64-unknown-elf gcc-aarch64-linux-gnu libc6-dev-arm64-cross clang lld

NEW_ENOUGH = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "mlcc needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version`. Set PYTHON=…" >&2; exit 1; }

# In the whole environment where there is one, else in one that installs in a minute.
demo: $(or $(wildcard $(READY)),$(SHOWN))
	@$(BIN)/python examples/demo.py

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p build/types && ln -sfn ../../backends build/types/mlcc_backends && ln -sfn ../../targets build/types/mlcc_targets
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto --dist worksteal --durations=20 --durations-min=1

# The long sweeps: every elementary function on all 2^32 inputs (about 40 minutes on two cores); CUDA's kernels on all that the CPU's are tested on.
test-full: $(READY)
	MLCC_TEST_OPT_LEVEL=3 MLCC_TEST_CUDA=1 $(BIN)/python -m pytest -n auto tests/kernels tests/graph/test_onnx_cases.py
	MLCC_TEST_OPT_LEVEL=3 $(BIN)/python -m pytest -n auto tests/graph tests/fuzz
	MLCC_TEST_OPT_LEVEL=3 $(BIN)/python -m pytest -n auto -m full

# Importers, each in an environment of its own with its extra alone: all that they train, save and read.
FRAMEWORKS := tflite sklearn boost keras torch jax tensorflow
test-frameworks: $(FRAMEWORKS:%=build/frameworks/%/tested)

build/frameworks/%/tested: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --editable '.[$*,compare]' pytest pytest-timeout pytest-xdist hypothesis mpmath magika \
	  scikit-learn scipy $(if $(filter tflite,$*),ai-edge-litert) $(if $(filter boost,$*),skops joblib) $(if $(filter jax,$*),flax optax) \
	  $(if $(filter tensorflow,$*),tflite ai-edge-litert) $(if $(filter torch,$*),skl2onnx skops joblib)
	MLCC_TEST_FRAMEWORKS=1 $(@D)/bin/python -m pytest -n0 tests/examples/test_frameworks.py $(if $(filter sklearn boost,$*),tests/importers/test_trees.py $(if $(filter sklearn,$*),tests/importers/test_columns.py),tests/importers/test_$*.py)

bench: $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python -m benchmarks.models

docs: $(READY)
	$(BIN)/python -m docs.make_operators

$(READY): pyproject.toml
	@$(NEW_ENOUGH)
	$(PYTHON) -m venv $(VENV)
	@# both at once: one waits for the network while the other unpacks. Modules are compiled as they are imported.
	@$(MAKE) --no-print-directory system & packages=$$!; $(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]' && wait $$packages
	@touch $(READY)

$(SHOWN): pyproject.toml
	@$(NEW_ENOUGH)
	@if command -v qemu-aarch64-static >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends qemu-user-static >/dev/null; \
	else echo "note: to run foreign targets here, install: qemu-user-static" >&2; fi
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[demo]'
	@touch $(SHOWN)

# System packages where we may install them; a clear word where not. Without the emulators, foreign targets are built but not run.
system:
	@if command -v qemu-aarch64-static >/dev/null && command -v qemu-system-arm >/dev/null && command -v qemu-system-riscv32 >/dev/null && command -v g++ >/dev/null && [ -e /etc/OpenCL/vendors ] && command -v verilator >/dev/null && command -v nextpnr-ice40 >/dev/null && command -v arm-none-eabi-gcc >/dev/null && command -v riscv64-unknown-elf-gcc >/dev/null && command -v clang >/dev/null && command -v aarch64-linux-gnu-gcc >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(PACKAGES) >/dev/null; \
	else echo "note: to run foreign targets here, install: $(PACKAGES)" >&2; fi

clean:
	rm -rf $(VENV) dist build mutants *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: demo test test-full test-frameworks bench golden mutants docs system clean

# Generated code kept for review (tests/golden/), written anew.
golden: $(READY)
	MLCC_GOLDEN=write $(BIN)/python -m pytest -n0 tests/golden tests/artifact/checks

# Changed code that the tests of artifacts, caches, validators and planner do not notice (about ten minutes); `mutmut show NAME` shows one.
mutants: $(READY)
	$(BIN)/mutmut run
	$(BIN)/mutmut results
