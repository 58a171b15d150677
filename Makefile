# Every target sets up what it needs; `make demo` works on a machine with Python 3.11+ alone, `make test` also takes a C compiler and npm.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Each process has half of the folders, so that most fixtures are made once; who is done takes tests from the other.
SHARED := -n 2 --dist worksteal

.PHONY: help demo test quick lint format bench docs web acceptance importing agreement fuzz minimum dist recompile clean

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
	@touch $@ $(VENV)/core.stamp $(VENV)/quick.stamp

$(VENV)/quick.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	@echo "setting up: packages for the quick tests, without PyTorch (once)"
	@$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/core.stamp

# The oldest versions, with nothing newer beside them: Python 3.11 (name it with MINIMUM_PYTHON) has wheels of all of them.
MINIMUM_PYTHON ?= python3.11
MINIMUM := .venv-minimum
$(MINIMUM)/stamp: pyproject.toml constraints-minimum.txt
	@echo "setting up: the oldest versions that pyproject.toml declares (once)"
	@rm -rf $(MINIMUM)
	$(MINIMUM_PYTHON) -m venv $(MINIMUM)
	@$(MINIMUM)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-minimum.txt \
	  --editable . pytest pytest-xdist hypothesis
	@touch $@

$(VENV)/docs.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	@echo "setting up: what the documentation needs, PyTorch among it (once)"
	@$(PIP) --editable '.[docs]'
	@touch $@

$(VENV)/browser.stamp: $(VENV)/dev.stamp tests/report/set_up_browser.sh js/node_modules/.package-lock.json
	@tests/report/set_up_browser.sh $(BIN)/python
	@touch $@

demo: $(VENV)/core.stamp  ## shrink a small real network, also calibrated, decode it, compare: under a minute
	@$(BIN)/enxuto demo

test: $(VENV)/browser.stamp lint  ## lint and run the test suite
	$(BIN)/python -m pytest $(SHARED)

QUICK := not acceptance and not slow and not torch and not browser
quick: $(VENV)/quick.stamp  ## the core's tests, without PyTorch and browser: under a minute once set up
	$(BIN)/python -m pytest $(SHARED) -q -m "$(QUICK)"

minimum: $(MINIMUM)/stamp  ## the quick tests on the oldest versions that are declared
	$(MINIMUM)/bin/python -m pytest $(SHARED) -q -m "$(QUICK) and not extras and not recent"

FUZZ_FACTOR ?= 20
FUZZ_SEED ?= $(shell date +%s)
fuzz: $(VENV)/quick.stamp  ## hostile bytes and properties on many more examples; FUZZ_SEED=… repeats a run
	ENXUTO_FUZZ_FACTOR=$(FUZZ_FACTOR) ENXUTO_FUZZ_SEED=$(FUZZ_SEED) $(BIN)/python -m pytest $(SHARED) -q \
	  -m "fuzz and not torch and not acceptance" --hypothesis-seed=$(FUZZ_SEED)

dist: $(VENV)/dist.stamp  ## wheel and sdist in dist/, checked: README, license, and the demo from an empty environment
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python .ci/check_dist.py dist

$(VENV)/dist.stamp: $(VENV)/python.stamp constraints.txt
	@$(PIP) build twine
	@touch $@

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
	$(BIN)/python -m pytest $(SHARED) -q docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

js/node_modules/.package-lock.json: js/package.json
	@echo "setting up: onnxruntime-web from npm (once)"
	@cd js && npm install --no-package-lock --no-audit --no-fund --silent
	@touch $@

web: js/node_modules/.package-lock.json  ## the page with the decoder, for any static host, in docs/_build/web
	@$(PYTHON) docs/site_parts/web_page.py docs/_build/web
	@echo "see it: python3 -m http.server --directory docs/_build/web"

acceptance: $(VENV)/dev.stamp  ## long checks; uses ../shared where it is present
	$(BIN)/python -m pytest -m acceptance

importing: $(VENV)/dev.stamp  ## others' graphs as modules: equal outputs, pruned, exported, timed; long
	$(BIN)/python -m pytest -m acceptance -s tests/acceptance/test_acceptance_importing.py

agreement: $(VENV)/quick.stamp  ## package, example, C and WebAssembly on 100,000 mutated files: long
	$(BIN)/python -m pytest -m acceptance -s tests/acceptance/test_acceptance_decoders.py

recompile:       ## forget compiled loops, so that they are compiled anew
	find src \( -name '*.nb[ic]' -o -name 'enx-*.so' \) -delete

clean:           ## remove what the targets made
	rm -rf $(VENV) $(MINIMUM) dist build docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
