# The two commands: `make run` and `make test`. Each makes its own environment.

PYTHON ?= python3
VENV ?= .venv
SECONDS ?= 60

BIN := $(VENV)/bin
SOURCES := pyproject.toml README.md $(shell find src policy -type f -not -name '*.pyc' 2>/dev/null)

.PHONY: run test lint fuzz bench coverage clean

## run: start the sandboxed listener on loopback and print notifications as they come
run: $(BIN)/.run
	@$(BIN)/python -u scripts/run.py

## test: lint, then every test, with the branches of the pure layers counted
test: lint
	$(BIN)/python -m pytest --cov --cov-report= $(TESTS)
	$(BIN)/python -m coverage report --include='$(PURE)' --fail-under=100

## lint: types and style
lint: $(BIN)/.test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

## fuzz: every fuzz target, SECONDS in all
fuzz: $(BIN)/.fuzz
	$(BIN)/python fuzz/run.py --seconds $(SECONDS)

## bench: the daemon beside a bare C loop, same load, same run
bench: $(BIN)/.run
	$(BIN)/python bench/run.py

clean:
	rm -rf $(VENV) .cache bench/build

# Layers 0 and 1 (docs/architecture.md): no input may reach a branch untested.
PURE_MODULES := _abi _accounts _admission _coalesce _config _config_reader _config_values _errors _events _gcra \
	_hub _journal _limiter _networks _openmetrics _packet_filter _policy _policy_toml \
	_stats _switch _waiting _wire
comma := ,
empty :=
space := $(empty) $(empty)
PURE := $(subst $(space),$(comma),$(foreach m,$(PURE_MODULES),*/mailbell/$(m).py) */mailbell/varlink/*.py)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is older than 3.11; run: make PYTHON=python3.11" >&2; exit 69; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make an environment; run: apt-get install python3-venv" >&2; exit 69; }

# The wheel is installed, not the source tree: what is tested is what ships.
$(BIN)/.run: $(BIN)/python $(SOURCES)
	@echo "setting up $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check .
	@touch $@

$(BIN)/.test: $(BIN)/python $(SOURCES)
	@echo "setting up $(VENV) for the tests ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check '.[test,lint]'
	@touch $@ $(BIN)/.run

$(BIN)/.fuzz: $(BIN)/.test
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check '.[fuzz]'
	@touch $@
