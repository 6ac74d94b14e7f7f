# The two commands: `make run` and `make test`. Each makes its own environment.

PYTHON ?= python3
VENV ?= .venv
SECONDS ?= 60
# More options for pip, such as those of the stage newest in .ci/stages.
PIP_OPTIONS ?=
# Tests at a time: most of them wait for a daemon or a kernel, so more than there are cores.
WORKERS ?= 3

BIN := $(VENV)/bin
PARALLEL := -n $(WORKERS) --dist worksteal
SOURCES := pyproject.toml README.md $(shell find src policy -type f -not -name '*.pyc' 2>/dev/null)

.PHONY: run test suite lint fuzz bench bench-quick clean

## run: start the sandboxed listener on loopback and print notifications as they come
run: $(BIN)/.run
	@$(BIN)/python -u scripts/run.py

## test: lint, then every test, with the branches of the pure layers counted
test: lint suite

## suite: the tests alone (TESTS=path runs those, and counts no branches)
suite: $(BIN)/.test
ifdef TESTS
	$(BIN)/python -m pytest $(PARALLEL) $(TESTS)
else
	$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report=
	$(BIN)/python -m coverage report --fail-under=100 --include="$$($(BIN)/python tests/test_layers.py)"
endif

## lint: types and style
lint: $(BIN)/.test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

## fuzz: every fuzz target, SECONDS in all
fuzz: $(BIN)/.fuzz
	$(BIN)/python fuzz/run.py --seconds $(SECONDS)

## bench: what the daemon costs, beside others, and under attack (WORKLOADS=name ... for some)
bench: $(BIN)/.bench
	$(BIN)/python bench/run.py $(WORKLOADS)

## bench-quick: the same in a minute, less exact
bench-quick: $(BIN)/.bench
	$(BIN)/python bench/run.py --quick $(WORKLOADS)

clean:
	rm -rf $(VENV) .cache bench/build

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is older than 3.11; run: make PYTHON=python3.11" >&2; exit 69; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make an environment; run: apt-get install python3-venv" >&2; exit 69; }

# The wheel is installed, not the source tree: what is tested is what ships.
$(BIN)/.run: $(BIN)/python $(SOURCES)
	@echo "setting up $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) .
	@touch $@

$(BIN)/.test: $(BIN)/python $(SOURCES)
	@echo "setting up $(VENV) for the tests ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) '.[test,lint,bench]'
	@touch $@ $(BIN)/.run $(BIN)/.bench

$(BIN)/.bench: $(BIN)/python $(SOURCES)
	@echo "setting up $(VENV) for the benchmarks ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) '.[bench]'
	@touch $@ $(BIN)/.run

$(BIN)/.fuzz: $(BIN)/.test
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) '.[fuzz]'
	@touch $@
