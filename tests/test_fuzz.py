"""Every fuzz target holds for its seeds, for its regressions, and for some random inputs.

Every module that reads what comes from outside has a target, or a reason why it has none.
"""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_layers import PURE, ROOT, TREE

from fuzz.parsers import PARSERS

FUZZ = Path(__file__).parent.parent / "fuzz"
TARGETS = sorted(path.stem.removeprefix("fuzz_") for path in FUZZ.glob("fuzz_*.py"))
INPUTS = [
    pytest.param(target, path, id=f"{kind}/{target}/{path.name}")
    for target in TARGETS
    for kind in ("corpus", "regressions")
    for path in sorted((FUZZ / kind / target).glob("[!.]*"))
]

# Pure modules without a target, and the reason. fuzz/parsers.py has all the others.
VALUES: Final = "holds data, and reads none"
DECIDES: Final = "gets typed values from a module that has a target"
WRITES: Final = "writes text, and reads none"
MODEL: Final = "has a model in the tests of its room, with the same arguments"
WITHOUT: Final = {
    "__init__.py": VALUES,
    "core/errors.py": VALUES,
    "core/outcome.py": VALUES,
    "core/sender_outcome.py": VALUES,
    "core/notification.py": VALUES,
    "core/target.py": VALUES,
    "core/coalesce.py": MODEL,
    "core/clock.py": "measures time",
    "varlink/__init__.py": "names what the others have",
    "cluster/rendezvous.py": MODEL,
    "cluster/members.py": MODEL,
    "cluster/outbox.py": MODEL,
    "cluster/repeats.py": MODEL,
    "syscalls/call_numbers.py": VALUES,
    "interfaces/local_event.py": VALUES,
    "interfaces/sandbox.py": VALUES,
    "interfaces/sender_status.py": VALUES,
    "logs/journal.py": WRITES,
    "logs/switch.py": WRITES,
    "recipes/_values.py": VALUES,
    "_sys/bpf_program.py": VALUES,
    "calling/daemon.py": VALUES,
    "listener/_waiting.py": MODEL,
    "listener/_counters.py": "counts outcomes, which are a closed set",
    "listener/_wakeups.py": MODEL,
    "listener/_account_state.py": MODEL,
    "listener/_hub.py": MODEL,
    "listener/_admission.py": DECIDES,
    "listener/_recent.py": MODEL,
    "sender/_cyrus_queue.py": DECIDES,
    "sender/_quiet_folders.py": DECIDES,
    "sender/_speakers.py": DECIDES,
    "sender/_counters.py": "counts outcomes, which are a closed set",
    "sender/_hook_places.py": MODEL,
    "sender/_late_rings.py": MODEL,
    "sender/_reception.py": DECIDES,
    "sender/_address_rules.py": DECIDES,
    "sender/_address_book.py": MODEL,
    "sender/_places.py": MODEL,
    "sender/_ring.py": VALUES,
    "sender/_delay_queue.py": MODEL,
    "sender/_backoff.py": MODEL,
    "sender/_call.py": DECIDES,
    "sender/_schedule.py": MODEL,
    "sender/_bell.py": DECIDES,
    "sender/_backlog.py": MODEL,
    "sender/_shared_bell.py": DECIDES,
    "sender/_node_settings.py": VALUES,
    "sender/_watchers.py": MODEL,
    "sender/_recent.py": MODEL,
    "sender/_desk.py": DECIDES,
    "installation/service_files.py": "reads the files of this package",
    "installation/services.py": VALUES,
    "agent/_pace.py": MODEL,
    "agent/_sleep.py": MODEL,
    "agent/folders.py": "looks at two variables of the person's own environment",
    "cli/_openmetrics.py": WRITES,
    "cli/_sender_metrics.py": WRITES,
    "cli/_sender_words.py": WRITES,
    "cli/_text.py": WRITES,
}

# Functions that read what comes from outside are called so.
READS: Final = re.compile(
    r"^ *(?:async )?def _*(?:\w+_untrusted|parse|decode)(?:_\w+)?\(", re.MULTILINE
)
# Modules with such a function that read nothing from outside by it, and the reason.
PASSES_ON: Final = "takes bytes from a socket, and passes them to a module that has a target"
READS_NOTHING: Final = {
    "cli/send.py": "reads a word that the person has typed",
    "listener/_connections.py": PASSES_ON,
    "sender/_datagram_server.py": PASSES_ON,
    "sender/_hook_server.py": PASSES_ON,
    "sender/_named.py": PASSES_ON,
    "serving/_varlink_peer.py": PASSES_ON,
    "serving/varlink_server.py": PASSES_ON,
}


def check_of(target: str) -> Callable[[bytes], None]:
    check: Callable[[bytes], None] = importlib.import_module(f"fuzz.fuzz_{target}").check
    return check


def reading() -> Iterator[Path]:
    """Yield the modules, acting ones too, that have a function which reads input."""
    for path in TREE:
        if READS.search((ROOT / path).read_text()):
            yield path


def test_each_target_has_a_row_and_each_row_a_target() -> None:
    assert set(PARSERS) == set(TARGETS)


def test_each_pure_module_has_a_target_or_a_reason() -> None:
    reached = {path for paths in PARSERS.values() for path in paths}
    assert not reached & set(WITHOUT), "a module has a target and a reason why it has none"
    assert set(WITHOUT) | (reached & set(map(str, PURE))) == set(map(str, PURE))


def test_a_module_that_reads_has_a_target_also_if_it_acts() -> None:
    reached = {path for paths in PARSERS.values() for path in paths}
    assert {str(path) for path in reading()} <= reached | set(READS_NOTHING)


def called_files(target: str) -> set[str]:
    """Return the files of which the seeds of a target call a function."""
    called: set[str] = set()
    check = check_of(target)
    before = sys.getprofile()
    sys.setprofile(lambda frame, *_: called.add(frame.f_code.co_filename))
    try:
        for path in sorted((FUZZ / "corpus" / target).glob("[!.]*")):
            check(path.read_bytes())
    finally:
        sys.setprofile(before)
    return called


@pytest.mark.parametrize("target", TARGETS)
def test_the_seeds_of_a_target_reach_its_modules(target: str) -> None:
    called = called_files(target)
    assert [path for path in PARSERS[target] if str(ROOT / path) not in called] == []


@pytest.mark.parametrize("target", TARGETS)
def test_target_has_seeds(target: str) -> None:
    assert any((FUZZ / "corpus" / target).glob("[!.]*")), "write a seed into fuzz/corpus"


def test_every_seed_belongs_to_a_target() -> None:
    for kind in ("corpus", "regressions"):
        assert {path.name for path in (FUZZ / kind).iterdir()} <= set(TARGETS)


def test_no_regression_has_the_name_of_a_seed() -> None:
    """.clusterfuzzlite/build.sh puts both into one folder."""
    for target in TARGETS:
        seeds, regressions = (
            {path.name for path in (FUZZ / kind / target).glob("[!.]*")}
            for kind in ("corpus", "regressions")
        )
        assert not seeds & regressions


@pytest.mark.parametrize(("target", "path"), INPUTS)
def test_seeds_and_regressions(target: str, path: Path) -> None:
    check_of(target)(path.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_anything(target: str) -> None:
    check = check_of(target)

    @settings(max_examples=60)
    @given(st.binary(max_size=200))
    def holds(data: bytes) -> None:
        check(data)

    holds()


@pytest.mark.parametrize("target", TARGETS)
def test_invariant_is_stated_first(target: str) -> None:
    documentation = importlib.import_module(f"fuzz.fuzz_{target}").__doc__
    assert documentation
    assert documentation.splitlines()[0].endswith(".")


def test_targets_need_neither_fuzzer_nor_trio() -> None:
    code = (
        "import sys, importlib\n"
        "sys.path.insert(0, 'tests')\n"
        f"for name in {TARGETS!r}: importlib.import_module('fuzz.fuzz_' + name)\n"
        "assert not {'atheris', 'trio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=FUZZ.parent)
