# Every target sets up what it needs; `make demo` and `make test` work on a machine with Python 3.11+ alone.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo test lint format bench docs acceptance recompile clean

help:            ## list the targets
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/: .*##/\t/'

$(VENV)/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "enxuto needs Python 3.11 or newer; name one with PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/core.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	@echo "setting up: the core packages (once)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	@echo "setting up: development packages, PyTorch among them (once)"
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/core.stamp

$(VENV)/docs.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	@echo "setting up: what the documentation needs, PyTorch among it (once)"
	@$(PIP) --editable '.[docs]'
	@touch $@

$(VENV)/browser.stamp: $(VENV)/dev.stamp tests/report/set_up_browser.sh
	@tests/report/set_up_browser.sh $(BIN)/python
	@touch $@

demo: $(VENV)/core.stamp  ## shrink a small real network, also calibrated, decode it, compare: under a minute
	@$(BIN)/enxuto demo

test: $(VENV)/browser.stamp lint  ## lint and run the test suite
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/dev.stamp  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev.stamp  ## let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/dev.stamp  ## benchmarks; timings are ratios within one run
	$(BIN)/python benchmarks/codec.py

docs: $(VENV)/docs.stamp  ## run the examples of all pages, and build the site in docs/_build/html
	$(BIN)/python -m pytest -n 2 -q docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

acceptance: $(VENV)/dev.stamp  ## long checks; uses ../shared where it is present
	$(BIN)/python -m pytest -m acceptance

recompile:       ## forget compiled loops, so that they are compiled anew
	find src -name '*.nb[ic]' -delete

clean:           ## remove what the targets made
	rm -rf $(VENV) dist build docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
