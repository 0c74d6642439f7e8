# Two set-up commands on a fresh machine with Python 3.11: `make demo` and `make test`.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export EMSWEEP_WORKSPACE ?= $(CURDIR)/emsweep-workspace

.PHONY: demo test test-fast lint bench readme clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[demo,dev,postgresql,systems]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/sweep launch ems_grid --yes
	$(BIN)/sweep report ems_grid

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: test-fast
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-fast: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -m 'not slow' --numprocesses 2 --dist worksteal

bench: $(STAMP)
	for bench in benchmarks/bench_*.py; do $(BIN)/python -m benchmarks.$$(basename $$bench .py) || exit 1; done

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

readme: $(STAMP)
	$(BIN)/python -m sweeps.reference README.md
