"""Each layer of the sandbox alone: what it stops, and what stops an attack without it."""

import ctypes
import os
import platform
import re
import resource
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import pytest
from harness.child import run as run_child
from sandbox.attacks.attempts import SUCCEEDED, THREAD_EXIT, Site, attempt, attempt_in_python, site
from sandbox.attacks.catalogue import ATTACKS, Attack
from sandbox.attacks.layers import (
    ALL,
    LIMIT_OF_FILES,
    LOGGING,
    NOBODY,
    NONE,
    ROOT,
    RUNS,
    Layer,
    Run,
    enter,
)
from sandbox.attacks.matrix import EXPECTED, only_one_stops, table
from sandbox.attacks.outcomes import possible

from mailbell._sys._libc import libc, prctl
from mailbell.sandbox import lock

Publish = Callable[[str, object], None]

PR_GET_DUMPABLE, PR_GET_MDWE = 3, 66
DOCUMENT: Final = Path(__file__).parent.parent.parent / "docs" / "sandbox.md"

pytestmark = pytest.mark.skipif(
    os.geteuid() == 0 and not ROOT,
    reason="needs root that may become nobody, or an ordinary user",
)
each_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)


@pytest.fixture(scope="module")
def place() -> Iterator[Site]:
    with site() as made:
        yield made


@each_attack
@pytest.mark.long
def test_each_layer_stops_what_it_should_and_nothing_else(
    attack: Attack, place: Site, record_property: Publish
) -> None:
    if attack.aims_at("thread_exit") and platform.machine() not in THREAD_EXIT:
        pytest.skip("of x86-64 and aarch64 only")
    found = {run: attempt(attack, run, place) for run in RUNS}
    works = _works(attack, found[NONE])
    for run, outcome in found.items():
        assert outcome in possible(EXPECTED[attack.name], run, works), f"{run.name}: {outcome}"
    record_property("sandbox: attacks", 1)
    record_property("sandbox: attempts, layer by layer", len(found))
    if not works:
        record_property("sandbox: attacks that nobody can make here", f"{attack.name}; ")


@each_attack
@pytest.mark.long
def test_the_same_in_python_succeeds_without_layers_and_fails_with_all(
    attack: Attack, place: Site
) -> None:
    works = _works(attack, attempt_in_python(attack, NONE, place))
    assert attempt_in_python(attack, ALL, place) in possible(EXPECTED[attack.name], ALL, works)


def _works(attack: Attack, outcome: str) -> bool:
    """Whether the attack succeeds without any layer, as it must to prove anything."""
    excused = attack.may_be_off or (attack.control_needs == "root" and not ROOT)
    assert outcome == SUCCEEDED or excused, f"nothing stops it, and yet: {outcome}"
    return outcome == SUCCEEDED


def test_every_attack_has_its_line_in_the_table() -> None:
    assert [attack.name for attack in ATTACKS] == list(EXPECTED)


def test_something_stops_every_attack_and_the_filter_comes_first(
    record_property: Publish,
) -> None:
    for stops in EXPECTED.values():
        assert all(stop.layer is not Layer.FILTER for stop in stops[1:])
        assert any(stop.reliable for stop in stops)
    names = only_one_stops()
    record_property("sandbox: attacks only one layer stops", "; ".join(names))


def test_the_document_shows_the_table() -> None:
    found = re.search(r"<!-- attacks -->\n(.*)<!-- /attacks -->", DOCUMENT.read_text(), re.DOTALL)
    assert found
    shown = [line for line in found[1].splitlines() if line]
    assert shown == list(table()), "paste what tests/sandbox/attacks/table.py prints"


def test_the_layers_are_the_daemons() -> None:
    """The single steps together do the same as `drop_privileges`, which the daemon calls."""
    nothing = dict.fromkeys(each.name for each in fields(lock.Confinement))
    identity = NOBODY if ROOT else None
    needed: dict[str, Any] = {
        "identity": identity,
        "open_files": LIMIT_OF_FILES,
        "connect_to": frozenset(),
        "send_to": frozenset(),
    }
    confinement = lock.Confinement(**{**nothing, **needed})  # the rest is not used
    one_by_one = Run("all but the filter", ALL.layers - {Layer.FILTER})
    expected = run_child(lambda: _state_after(lambda: lock.drop_privileges(confinement)))
    found = run_child(lambda: _state_after(lambda: enter(one_by_one, [])))
    assert found.value == expected.value
    assert len(found.value) == 20
    assert found.value["a file"] == "PermissionError"


def _state_after(step: Callable[[], object]) -> dict[str, object]:
    """What the kernel says of this process, as far as a layer changes it."""
    status = os.open("/proc/self/status", os.O_RDONLY)
    step()
    lines = os.read(status, 16384).decode().splitlines()
    names = {"Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "Threads"}
    state: dict[str, object] = {
        name: value for name, _, value in (line.partition(":\t") for line in lines)
        if name in names or name.startswith("Cap")
    }  # fmt: skip
    for name in ("CORE", "NPROC", "MEMLOCK", "NOFILE", "DATA", "FSIZE"):
        state[name] = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
    state["dumpable"] = prctl(PR_GET_DUMPABLE)
    state["memory"] = libc.prctl(PR_GET_MDWE, *(ctypes.c_ulong(0),) * 4)
    state["a file"] = _opened()
    return state


def _opened() -> str:
    try:
        os.close(os.open("/", os.O_RDONLY))
    except OSError as error:
        return type(error).__name__
    return "opened"


def test_a_filter_that_only_logs_is_in_force_and_refuses_nothing() -> None:
    def inside() -> tuple[str, int]:
        status = os.open("/proc/self/status", os.O_RDONLY)
        enter(Run(LOGGING.name, frozenset(), logs=True), [])
        text = os.read(status, 16384).decode()
        found = re.search(r"Seccomp:\t(\d)", text)
        return found[1] if found else text, os.getppid()

    assert run_child(inside).value == ("2", os.getpid())
