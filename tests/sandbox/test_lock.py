"""Each step of the lock in its place, with everything that changes the process replaced.

The other tests of this folder lock real processes in. Here each step is seen to be called, with
what, after what, and what follows from its answer: also a step that another one would make up for.
"""

import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from mailbell._sys import credentials, landlock, process, seccomp
from mailbell._sys.credentials import Identity
from mailbell._sys.landlock import Landlock
from mailbell._sys.proof import ProcessStatus
from mailbell.core.errors import InternalError, OperatingSystemError
from mailbell.sandbox import lock as module
from mailbell.sandbox.lock import (
    Confinement,
    Unprivileged,
    clear_inherited,
    drop_privileges,
    lock,
    open_status,
    step,
)
from mailbell.sandbox.policy_file import read_policy
from mailbell.syscalls.policy import Policy

REMEDY = "see what the system lacks, or which other sandbox is around this process"
IDENTITY = Identity("nobody", 4711, 4712)
STARTED_AS = Identity("me", 815, 816)
LANDLOCK = Landlock(9, 6, 1, 2, 3, 4, ())
Called = list[tuple[Any, ...]]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Called:
    """What is called, in its order, with its arguments."""
    calls: Called = []

    def noting(name: str, answer: object = None) -> Callable[..., object]:
        def note(*args: object, **more: object) -> object:
            calls.append((name, *args, *sorted(more.items())))
            return answer

        return note

    for where, name, answer in (
        (module, "require_lockable", None),
        (module, "close_inherited", None),
        (module, "reset_attributes", None),
        (module, "prepare_signals", None),
        (module, "forget_environment", None),
        (module, "make_undumpable", None),
        (credentials, "empty_bounding_set", None),
        (credentials, "become", None),
        (credentials, "clear_capabilities", None),
        (process, "preload_libgcc", None),
        (process, "no_new_privileges", None),
        (process, "deny_writable_executable", True),
        (process, "limit_resources", None),
        (process, "require_single_task", None),
        (process, "require_memory_can_grow", None),
        (landlock, "confine_files", None),
        (landlock, "restrict", LANDLOCK),
    ):
        monkeypatch.setattr(where, name, noting(name, answer))
    return calls


def confinement(**more: Any) -> Confinement:
    given: dict[str, Any] = {
        "policy": read_policy("mailbelld"), "identity": None, "open_files": 64, "status_file": -1,
        "started_as": STARTED_AS,
    }  # fmt: skip
    return Confinement(**given | more)


def test_what_was_inherited_is_cleared_in_this_order(called: Called) -> None:
    clear_inherited()
    assert called == [
        ("require_lockable", os.environ),
        ("close_inherited", os.environ, os.getpid()),
        ("reset_attributes",),
        ("prepare_signals",),
    ]


UNTIL_ROOT_IS_GONE: Called = [("preload_libgcc",), ("forget_environment",)]
AFTER_THAT: Called = [
    ("clear_capabilities",),
    ("no_new_privileges",),
    ("make_undumpable",),
    ("deny_writable_executable",),
    ("limit_resources", ("open_files", 64)),
    ("require_single_task",),
]


def restricted(**more: object) -> tuple[object, ...]:
    given: dict[str, object] = {
        "connect_to": frozenset(), "send_to": frozenset(), "connect_within": (),
        "witness": landlock.WITNESS,
    }  # fmt: skip
    return ("restrict", *sorted((given | more).items()))


def test_privileges_are_dropped_in_this_order(called: Called) -> None:
    found = drop_privileges(confinement())
    assert called == [*UNTIL_ROOT_IS_GONE, *AFTER_THAT, restricted()]
    assert found == Unprivileged(confinement(), LANDLOCK, writable_executable_denied=True)
    assert found.opened == {}


def test_what_is_left_out_of_a_confinement_is_nothing_and_nobody_else() -> None:
    made = Confinement(
        policy=read_policy("mailbelld"), identity=None, open_files=64, status_file=-1
    )
    assert made.descriptors == {}
    assert made.started_as == credentials.current_identity()


def test_root_becomes_somebody_else_before_anything_else_is_given_up(called: Called) -> None:
    drop_privileges(confinement(identity=IDENTITY))
    become: Called = [("empty_bounding_set",), ("become", IDENTITY)]
    assert called == [*UNTIL_ROOT_IS_GONE, *become, *AFTER_THAT, restricted()]


def test_landlock_gets_what_the_program_may_reach(called: Called) -> None:
    more: dict[str, Any] = {
        "connect_to": frozenset({79}), "send_to": frozenset({53}), "connect_within": ("/run/x",),
    }  # fmt: skip
    drop_privileges(confinement(**more))
    assert called[-1] == restricted(**more)


def test_what_is_opened_last_is_opened_between_two_layers(called: Called) -> None:
    def open_last() -> dict[str, int]:
        called.append(("open_last",))
        return {"STATE": 7}

    more = {"open_last": open_last, "open_within": "/state", "readable": ("/dev/urandom",)}
    found = drop_privileges(confinement(**more))
    assert called[-3:] == [
        ("confine_files", "/state", ("/dev/urandom",)),
        ("open_last",),
        restricted(witness="/state"),
    ]
    assert found.opened == {"STATE": 7}


def test_no_other_file_is_readable_if_none_is_named(called: Called) -> None:
    drop_privileges(confinement(open_last=dict, open_within="/state"))
    assert called[-2] == ("confine_files", "/state", ())


def test_whether_memory_can_be_written_and_executed_is_told(
    called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "deny_writable_executable", lambda: False)
    assert drop_privileges(confinement()).writable_executable_denied is False


class Filter:
    """The filter of a policy, which is not loaded."""

    def __init__(self, called: Called) -> None:
        self._called = called

    def load(self) -> None:
        self._called.append(("load",))


STATUS = ProcessStatus(
    (1, 1, 1, 1), (2, 2, 2, 2), (), 0, 0, 0, 0, 0, True, 2, 1, 0
)  # fmt: skip


@pytest.fixture
def proof(
    called: Called, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., Confinement]]:
    """Makes a confinement whose proof is the file of this test, and a filter that refuses."""
    path = tmp_path / "status"
    path.write_bytes(b"what the kernel says")

    def compile_policy(policy: Policy, *, measured: bool) -> Filter:
        called.append(("compile_policy", policy, measured))
        return Filter(called)

    def refuse(what: str) -> Callable[..., None]:
        def refused(*args: object) -> None:
            called.append((what, *args))
            raise OSError(errno.EACCES, "refused")

        return refused

    def parse_status(text: bytes) -> ProcessStatus:
        called.append(("parse_status", text))
        return STATUS

    real_open = os.open
    monkeypatch.setattr(seccomp, "compile_policy", compile_policy)
    monkeypatch.setattr(module, "parse_status", parse_status)
    for name in ("require_untraced", "require_locked"):
        monkeypatch.setattr(
            module, name, lambda *a, _name=name, **k: called.append((_name, *a, *k.items()))
        )

    def confine(**more: Any) -> Confinement:
        found = confinement(
            status_file=real_open(path, os.O_RDONLY), descriptors={"SHARED": (0, 1, 2)}, **more
        )
        monkeypatch.setattr(os, "open", refuse("open"))
        monkeypatch.setattr(os, "stat", refuse("stat"))
        return found

    before = signal.set_wakeup_fd(-1)
    yield confine
    signal.set_wakeup_fd(before)


def names(called: Called) -> list[str]:
    return [name for name, *_ in called]


def test_the_filter_is_loaded_and_then_proven(
    called: Called, proof: Callable[..., Confinement]
) -> None:
    wanted = proof()
    before = Unprivileged(wanted, LANDLOCK, writable_executable_denied=True)
    found = lock(before)
    assert found.unprivileged is before
    assert names(called) == [
        "compile_policy", "load", "require_memory_can_grow", "parse_status", "require_untraced",
        "require_locked", "open", "stat",
    ]  # fmt: skip
    (_, policy, measured), *_ = called
    assert measured is False
    assert found.policy is policy
    assert policy.placeholders == {} or policy != wanted.policy
    assert called[3:] == [
        ("parse_status", b"what the kernel says"),
        ("require_untraced", STATUS),
        ("require_locked", STATUS, STARTED_AS, ("dropped", False)),
        ("open", "/", os.O_PATH),
        ("stat", "/"),
    ]
    assert found.status is STATUS
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(wanted.status_file)


def test_who_was_to_become_somebody_else_must_be(
    called: Called, proof: Callable[..., Confinement]
) -> None:
    wanted = proof(identity=IDENTITY)
    lock(Unprivileged(wanted, LANDLOCK, writable_executable_denied=True))
    assert ("require_locked", STATUS, IDENTITY, ("dropped", True)) in called


@pytest.mark.parametrize(("name", "what"), [("open", "opened"), ("stat", "looked at")])
def test_a_filter_that_lets_a_file_be_touched_stops_the_start(
    proof: Callable[..., Confinement], monkeypatch: pytest.MonkeyPatch, name: str, what: str
) -> None:
    wanted = proof()
    monkeypatch.setattr(os, name, lambda *_: os.dup(0) if name == "open" else None)
    with pytest.raises(InternalError) as granted:
        lock(Unprivileged(wanted, LANDLOCK, writable_executable_denied=True))
    assert granted.value.what == f"the sandbox is in force, but a file could still be {what}"


def test_another_sandbox_that_refuses_is_no_proof(
    proof: Callable[..., Confinement], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "not ours")

    wanted = proof()
    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(OperatingSystemError) as other:
        lock(Unprivileged(wanted, LANDLOCK, writable_executable_denied=True))
    assert (other.value.what, other.value.remedy) == ("cannot start (lock): not ours", REMEDY)


def test_the_filter_knows_the_descriptors_and_the_one_of_signals(
    called: Called, proof: Callable[..., Confinement], monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: list[dict[str, Any]] = []
    bind = Policy.bind

    def binding(self: Policy, numbers: dict[str, Any]) -> Policy:
        bound.append(dict(numbers))
        return bind(self, numbers)

    monkeypatch.setattr(Policy, "bind", binding)
    near, far = os.pipe()
    os.set_blocking(far, False)
    signal.set_wakeup_fd(far)
    wanted = proof()
    lock(Unprivileged(wanted, LANDLOCK, True, {}))
    assert bound == [{"SHARED": (0, 1, 2), "STATUS": wanted.status_file, "WAKEUP": far}]
    assert signal.set_wakeup_fd(-1) == far, "Trio needs it again"
    os.close(near)
    os.close(far)


def test_signals_that_come_faster_than_they_are_read_are_no_error(
    proof: Callable[..., Confinement], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python would say so for each of them: the one who reads is woken in any case."""
    said: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    near, far = socket.socketpair()
    far.setblocking(False)
    with near, far:
        signal.set_wakeup_fd(far.fileno(), warn_on_full_buffer=False)
        lock(Unprivileged(proof(), LANDLOCK, writable_executable_denied=True))
        with suppress(BlockingIOError):
            while True:
                far.send(bytes(1 << 16))
        before = signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.raise_signal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, before)
        assert signal.set_wakeup_fd(-1) == far.fileno()
    assert said == []


def test_what_was_opened_last_is_in_the_filter(
    called: Called, proof: Callable[..., Confinement], monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: list[dict[str, Any]] = []

    def binding(self: Policy, numbers: dict[str, Any]) -> Policy:
        bound.append(numbers)
        return self

    monkeypatch.setattr(Policy, "bind", binding)
    wanted = proof()
    lock(Unprivileged(wanted, LANDLOCK, True, {"STATE": 7, "SHARED": (0,)}))
    (numbers,) = bound
    assert (numbers["STATE"], numbers["SHARED"]) == (7, (0,))


def test_a_program_without_signals_has_no_descriptor_for_them(
    called: Called, proof: Callable[..., Confinement], monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: list[dict[str, Any]] = []

    class Plain:
        placeholders: Final[dict[str, str]] = {}

        def bind(self, numbers: dict[str, Any]) -> "Plain":
            bound.append(numbers)
            return self

    wanted = proof(policy=Plain())
    lock(Unprivileged(wanted, LANDLOCK, True, {}))
    assert set(bound[0]) == {"SHARED", "STATUS"}


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.ENOENT, "no such file"), "cannot start (one): no such file"),
        (OSError(errno.ENOENT, "no such file", "/x"), "cannot start (one): no such file: /x"),
        (OSError("odd"), "cannot start (one): odd"),
    ],
    ids=str,
)
def test_an_error_that_nobody_foresaw_names_its_step(error: OSError, what: str) -> None:
    with pytest.raises(OperatingSystemError) as told, step("one"):
        raise error
    assert (told.value.what, told.value.remedy) == (what, REMEDY)
    assert told.value.__cause__ is error


@pytest.mark.parametrize(
    ("act", "name"),
    [
        (clear_inherited, "close inherited"),
        (lambda: drop_privileges(confinement()), "drop privileges"),
    ],
)
def test_each_step_has_its_name(
    called: Called, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], name: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(module, "require_lockable", fail)
    monkeypatch.setattr(process, "preload_libgcc", fail)
    with pytest.raises(OperatingSystemError, match=rf"cannot start \({name}\): broken"):
        act()


def test_the_status_is_that_of_this_process_and_not_inherited() -> None:
    descriptor = open_status()
    try:
        assert os.readlink(f"/proc/self/fd/{descriptor}") == f"/proc/{os.getpid()}/status"
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)
