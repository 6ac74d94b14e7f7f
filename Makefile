# The two commands: `make run` and `make test`. Each makes its own environment.

PYTHON ?= python3
VENV ?= .venv
SECONDS ?= 60
MINUTES ?= 10
HOURS ?= 1
XPI ?= mailbell.xpi
# Further options for pip; the stage "newest" of .ci/stages gives some.
PIP_OPTIONS ?=
# What is installed is what requirements/ names, with its hashes. With another value than "yes"
# pip chooses from what pyproject.toml permits; the stages "floors" and "newest" do that.
LOCKED ?= yes
# Tests that run at the same time. Most tests wait for a daemon or for the kernel, so there
# may be more of them than cores.
WORKERS ?= 4
# Processes that check types at the same time.
TYPERS ?= 2

BIN := $(VENV)/bin
PARALLEL := -n $(WORKERS) --dist worksteal
SOURCES := pyproject.toml README.md $(shell find src policy examples servers clients man -type f -not -name '*.pyc' 2>/dev/null)

# The source tree has these links. A source distribution cannot hold them.
LINKS := src/mailbell/policy src/mailbell/examples src/mailbell/clients

.PHONY: run test suite lint fuzz bench bench-quick bench-push bench-cluster bench-cluster-costs torture soak mutants demo xpi dist sbom docs lock lock-upgrade lock-check vm e2e deb man clean

## run: start the sandboxed listener on loopback and print notifications as they come
run: $(BIN)/.run
	@$(BIN)/python -u scripts/run.py

## test: lint, then every test; every branch of the pure modules must be tested
test: lint suite

## suite: the tests without lint (TESTS=path runs only those, and counts no branches).
##        What takes long and is marked so, and the tests of bench/ and torture/, have stages of
##        their own in .ci/run
suite: $(BIN)/.test
ifdef TESTS
	$(BIN)/python -m pytest $(PARALLEL) $(TESTS)
else
	$(BIN)/python -m pytest $(PARALLEL) -m 'not long and not aside' --cov --cov-report=
	$(BIN)/python -m coverage report --fail-under=100 --include="$$($(BIN)/python tests/test_layers.py)"
endif

## lint: check style and types
lint: $(BIN)/.test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	@# An older mypy, which has one process, ignores it.
	MYPY_NUM_WORKERS=$(TYPERS) $(BIN)/python -m mypy

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

## bench-push: compare RFC 4146 with IMAP IDLE and with polling, with a real Dovecot; some ten
##             minutes, and it writes docs/push.md and the table of README.md. Needs root and
##             mmdebstrap (QUICK=--quick: fewer users, in two minutes, and writes no document)
bench-push: $(BIN)/.test
	@$(BIN)/python -u bench/push/run.py $(QUICK)

## bench-cluster: simulate a cluster of 10^6 to 10^8 accounts with the measured costs of
##                bench/cluster/costs.json, in a minute; it writes docs/scale.md
##                (COSTS=FILE: with other costs, and writes no document)
bench-cluster: $(BIN)/.bench
	@$(BIN)/python bench/cluster/run.py $(if $(COSTS),--costs "$(COSTS)")

## bench-cluster-costs: measure what bench-cluster takes from bench/cluster/costs.json, and how much
##                      one, two and three nodes share, in less than ten minutes. Needs
##                      redis-server, redis-tools and a C compiler; for IDLE also root and mmdebstrap
##                      (INPUTS="name ..." measures only these; QUICK=--quick: in two minutes, and
##                      writes nothing)
bench-cluster-costs: $(BIN)/.test
	@$(BIN)/python -u bench/cluster/measure.py $(QUICK) $(INPUTS)

## torture: faults, kills, floods and inputs against the real daemons, all together in MINUTES, and a
##          table at the end (PARTS="name ..." runs only these, SEED=N repeats a run). Needs root
torture: $(BIN)/.fuzz
	@$(BIN)/python -u -m torture.run --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(PARTS)

## soak: all programs at work for HOURS, each restarted now and then: nothing may drift
soak: $(BIN)/.test
	@$(BIN)/python -u -m torture.soak --hours $(HOURS)

## mutants: change the code in small ways and see whether a test notices; takes hours, and goes on
##          where it was ended (FILES="path ..." tries only these)
mutants: $(BIN)/.mutants
	@$(BIN)/python -u -m torture.mutants $(FILES)

## demo: show the way of a mail in this terminal, with a real mail server and a real laptop, each in
##       namespaces of its own (CAST=file records it). Needs mmdebstrap; root is not needed
demo: $(BIN)/.run
	@$(BIN)/python -m scripts.demo $(if $(CAST),--cast "$(CAST)")

## vm: boot real machines in QEMU and show each claim of tests/machines in them; takes long
##     (MACHINE="trixie newest" tries only these; tests/machines/machines.toml has all)
vm: $(BIN)/.test
	@$(BIN)/python -u scripts/vm.py $(MACHINE)

## e2e: a mail server and laptops in network namespaces, with the real programs: mail comes in by
##      SMTP and is pushed to a laptop. Needs root and Debian; each file is a topology
e2e:
	@MAILBELL_ROOTS=1 $(MAKE) suite TESTS="tests/end_to_end tests/bench/test_push.py" PARALLEL="-n 3 --dist loadfile"

## xpi: build Thunderbird's add-on, mailbell.xpi (or XPI=FILE): the same bytes on every machine.
##      Python alone is needed, and no environment
xpi: src/mailbell/clients
	@PYTHONPATH=src $(PYTHON) -B scripts/xpi.py "$(XPI)"

## dist: build the wheel and the source distribution into dist/: the same bytes on every machine
dist: $(BIN)/.build
	@$(BIN)/python scripts/dist.py

## sbom: write what an installed wheel consists of into dist/ (CycloneDX): the same bytes each time
sbom: $(BIN)/.run $(BIN)/.sbom
	@$(BIN)/python -m scripts.sbom

## docs: build the site of the documents into dist/site; a dead link or anchor fails, and a document
##       that scripts/site/navigation.toml does not have
docs: $(BIN)/.run $(BIN)/.docs
	@$(BIN)/python -m scripts.site

## man: write the manual pages, man/, from the programs' help and the documents
man: $(BIN)/.test
	@$(BIN)/python -m scripts.manual --write

## lock: write requirements/*.txt, the versions and hashes that all targets install, after a change
##       of pyproject.toml. lock-upgrade takes the newest versions that are older than a week;
##       lock-check writes nothing, and fails if lock would change something
lock: $(BIN)/.lock
	@$(BIN)/python scripts/lock.py

lock-upgrade: $(BIN)/.lock
	@$(BIN)/python scripts/lock.py --upgrade

lock-check: $(BIN)/.lock
	@$(BIN)/python scripts/lock.py --check

## deb: build Debian's packages into dist/, in a clean Debian 13; needs root and mmdebstrap
deb: $(BIN)/.test
	@$(BIN)/python scripts/deb.py dist

clean:
	rm -rf $(VENV) .cache bench/build dist mailbell.xpi

src/mailbell/policy src/mailbell/clients:
	@ln -sfn ../../$(notdir $@) $@

src/mailbell/examples:
	@ln -sfn ../../examples/configuration $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "there is no $(PYTHON) here; run: apt-get install python3-venv" >&2; exit 69; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is older than 3.11; run: make PYTHON=python3.11" >&2; exit 69; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make an environment; run: apt-get install python3-venv" >&2; exit 69; }

# Install the wheel, so that the tests run what users install, and not the source tree. It is built
# by what requirements/build.txt names. Only wheels are taken: what another package needs for its
# build has no hashes. $(1): a file of requirements/; "extras-" has what pip installs without it.
extras-test := [cluster,test,lint,bench]
extras-bench := [bench]
extras-fuzz := [fuzz]
extras-mutants := [mutants]
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_OPTIONS)
PIP_LOCKED := $(PIP) --require-hashes --only-binary :all: -r requirements
ifeq ($(LOCKED),yes)
install = $(PIP_LOCKED)/build.txt -r requirements/$(1).txt && $(PIP) --no-deps --no-build-isolation .
else
install = $(PIP) '.$(extras-$(1))'
endif

$(BIN)/.run: $(BIN)/python $(SOURCES) requirements/build.txt requirements/run.txt
	@echo "setting up $(VENV) ..."
	@$(call install,run)
	@touch $@

$(BIN)/.test: $(BIN)/python $(SOURCES) requirements/build.txt requirements/test.txt | $(LINKS)
	@echo "setting up $(VENV) for the tests ..."
	@$(call install,test)
	@touch $@ $(BIN)/.run $(BIN)/.bench

$(BIN)/.bench: $(BIN)/python $(SOURCES) requirements/build.txt requirements/bench.txt
	@echo "setting up $(VENV) for the benchmarks ..."
	@$(call install,bench)
	@touch $@ $(BIN)/.run

$(BIN)/.fuzz: $(BIN)/.test requirements/fuzz.txt
	@$(call install,fuzz)
	@touch $@

$(BIN)/.mutants: $(BIN)/.test requirements/mutants.txt
	@$(call install,mutants)
	@touch $@

# The tools of the targets above, which no other target installs.
$(BIN)/.build $(BIN)/.docs $(BIN)/.lock $(BIN)/.sbom: $(BIN)/.%: requirements/%.txt | $(BIN)/python
	@$(PIP_LOCKED)/$*.txt
	@touch $@
