# Every target sets itself up in a fresh clone: Python >= 3.11 and make are enough; the real-cluster tests also need Java 17 and Maven.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUNS ?= 1

.PHONY: demo test test-quick check bench bench-micro compiled format clean build

demo: $(STAMP)
	$(BIN)/aiorocketmq demo

test: $(STAMP)
	$(BIN)/python -m tools.run_tests

# What needs neither Java nor a compiler, in less than three minutes.
test-quick: $(STAMP)
	$(BIN)/python -m tools.run_tests --quick

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.check_generated

# RUNS separate runs with everything, and docs/performance.md from them; BENCH takes more options, for example BENCH='--also grpc'.
bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python -m benchmarks --page $(RUNS) $(BENCH)

bench-micro: $(STAMP)
	$(BIN)/python -m benchmarks.micro

# The package with its hot modules compiled, in build/compiled: put that first on PYTHONPATH.
compiled: $(STAMP)
	$(BIN)/python -m tools.compile

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

build: $(STAMP)
	$(BIN)/python -m build --outdir build/dist .

clean:
	rm -rf $(VENV) build .cache dist

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[fast,cli,compression]' --group dev
	touch $(STAMP)
