# The two commands: `make run` and `make test`. Each makes its own environment.

PYTHON ?= python3
VENV ?= .venv
SECONDS ?= 60
XPI ?= mailbell.xpi
# Further options for pip; the stage "newest" of .ci/stages gives some.
PIP_OPTIONS ?=
# Tests that run at the same time. Most tests wait for a daemon or for the kernel, so there
# may be more of them than cores.
WORKERS ?= 4

BIN := $(VENV)/bin
PARALLEL := -n $(WORKERS) --dist worksteal
SOURCES := pyproject.toml README.md $(shell find src policy examples servers clients -type f -not -name '*.pyc' 2>/dev/null)

.PHONY: run test suite lint fuzz bench bench-quick xpi vm clean

## run: start the sandboxed listener on loopback and print notifications as they come
run: $(BIN)/.run
	@$(BIN)/python -u scripts/run.py

## test: lint, then every test; every branch of the pure modules must be tested
test: lint suite

## suite: the tests without lint (TESTS=path runs only those, and counts no branches).
##        What takes minutes and is marked "long" has a stage of its own in .ci/run
suite: $(BIN)/.test
ifdef TESTS
	$(BIN)/python -m pytest $(PARALLEL) $(TESTS)
else
	$(BIN)/python -m pytest $(PARALLEL) -m 'not long' --cov --cov-report=
	$(BIN)/python -m coverage report --fail-under=100 --include="$$($(BIN)/python tests/test_layers.py)"
endif

## lint: check style and types
lint: $(BIN)/.test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

## fuzz: run every fuzz target; all together take SECONDS
fuzz: $(BIN)/.fuzz
	$(BIN)/python fuzz/run.py --seconds $(SECONDS)

## bench: measure the daemon, alone, beside other programs and under attack
##        (WORKLOADS="name ..." runs only those)
bench: $(BIN)/.bench
	$(BIN)/python bench/run.py $(WORKLOADS)

## bench-quick: as bench, in two minutes and less exact
bench-quick: $(BIN)/.bench
	$(BIN)/python bench/run.py --quick $(WORKLOADS)

## vm: boot real machines in QEMU and show each claim of tests/machines in them; takes long
##     (MACHINE="trixie newest" tries only these; tests/machines/machines.toml has all)
vm: $(BIN)/.test
	@$(BIN)/python -u scripts/vm.py $(MACHINE)

## xpi: build Thunderbird's add-on, mailbell.xpi (or XPI=FILE): the same bytes on every machine.
##      Python alone is needed, and no environment
xpi:
	@PYTHONPATH=src $(PYTHON) -B scripts/xpi.py "$(XPI)"

clean:
	rm -rf $(VENV) .cache bench/build mailbell.xpi

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is older than 3.11; run: make PYTHON=python3.11" >&2; exit 69; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make an environment; run: apt-get install python3-venv" >&2; exit 69; }

# Install the wheel, so that the tests run what users install, and not the source tree.
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
