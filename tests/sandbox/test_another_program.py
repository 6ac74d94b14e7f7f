"""The sandbox locks any program: here one that is not mailbelld, with a policy of its own.

It may connect to one TCP port and write to one file that it opened before. Otherwise it may do
no more than mailbelld.
"""

import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from harness.child import Ended, run
from sandbox.attacks.layers import NOBODY, ROOT

from mailbell._sys import landlock
from mailbell._sys.credentials import NO_CAPABILITIES, read_capabilities
from mailbell.core.errors import InternalError
from mailbell.sandbox.lock import Confinement, Locked, drop_privileges, lock, open_status
from mailbell.sandbox.policy_file import FOLDER, list_programs, read_policy
from mailbell.syscalls.policy import Policy
from mailbell.syscalls.policy_toml import parse

# The policy of mailbelld with two further grants and another name.
CONNECT: Final = """
[[allow]]
calls = ["connect"]
reason = "Calls the machines of the users."

[[allow]]
calls = ["pwrite64"]
args.0 = ["STATE"]
reason = "Writes the state it opened before the lock."
"""


def policy() -> Policy:
    text = Path(FOLDER, "mailbelld.toml").read_text()
    text = text.replace('program = "mailbelld"', 'program = "another"')
    text = text.replace("[placeholders]", '[placeholders]\nSTATE = "the file of its state"')
    text = text.replace('calls = ["connect", "getpeername"', 'calls = ["getpeername"')
    return parse((text + CONNECT).encode())


@pytest.fixture
def listening() -> Iterator[tuple[socket.socket, socket.socket]]:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        yield one, two


def locked(state: int, port: int, then: Callable[[Locked], object]) -> Ended:
    """Lock a child as another program, and go on there."""

    def inside() -> object:
        near, _far = socket.socketpair()
        near.setblocking(False)
        signal.set_wakeup_fd(near.fileno())
        confinement = Confinement(
            policy=policy(),
            identity=NOBODY if ROOT else None,
            open_files=64,
            status_file=open_status(),
            descriptors={"STATE": state, "SHARED": (0, 1, 2)},
            connect_to=frozenset({port}),
        )
        return then(lock(drop_privileges(confinement)))

    return run(inside)


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "succeeded"


def test_it_does_what_its_policy_grants_and_nothing_else(
    tmp_path: Path, listening: tuple[socket.socket, socket.socket]
) -> None:
    if landlock.abi() < 4:
        pytest.skip("TCP came with version 4")
    good, other = (sock.getsockname() for sock in listening)
    callers = [socket.socket() for _ in range(2)]
    state = os.open(tmp_path / "state", os.O_RDWR | os.O_CREAT)

    def then(proven: Locked) -> Any:
        return {
            "program": proven.policy.program,
            "uid": proven.status.uids[0],
            "good port": outcome(lambda: callers[0].connect(good)),
            "other port": outcome(lambda: callers[1].connect(other)),
            "its state": outcome(lambda: os.pwrite(state, b"kept", 0)),
            "a file": outcome(lambda: os.open("/etc/passwd", os.O_RDONLY)),
            "a socket": outcome(socket.socket),
        }

    try:
        ended = locked(state, good[1], then)
    finally:
        os.close(state)
        for caller in callers:
            caller.close()
    assert ended.value == {
        "program": "another",
        "uid": NOBODY.uid if ROOT else os.getuid(),
        "good port": "succeeded",
        "other port": "EACCES",
        "its state": "succeeded",
        "a file": "EACCES",
        "a socket": "EACCES",
    }, ended
    assert (tmp_path / "state").read_bytes() == b"kept"


def test_another_descriptor_than_the_named_one_kills(
    tmp_path: Path, listening: tuple[socket.socket, socket.socket]
) -> None:
    with open(tmp_path / "state", "wb") as state, open(tmp_path / "other", "wb") as other:
        number = other.fileno()
        ended = locked(state.fileno(), 79, lambda _: os.pwrite(number, b"no", 0))
    assert ended.signal is signal.SIGSYS, ended


def test_a_descriptor_that_the_policy_does_not_declare_stops_the_start(tmp_path: Path) -> None:
    def inside() -> object:
        confinement = Confinement(
            policy=read_policy("mailbelld"),
            identity=None,
            open_files=64,
            status_file=open_status(),
            descriptors={"STATE": 3, "SHARED": (0, 1, 2)},
        )
        return lock(drop_privileges(confinement))

    ended = run(inside)
    assert isinstance(ended.error, InternalError), ended
    assert "STATE" in str(ended.error)


def test_what_root_must_not_open_is_opened_by_the_user_before_landlock(tmp_path: Path) -> None:
    """All privileges and all other files are gone then. The descriptor fills the policy."""
    tmp_path.chmod(0o755)
    path = tmp_path / "state"
    path.touch()
    if ROOT:
        os.chown(path, NOBODY.uid, NOBODY.gid)
    path.chmod(0o600)
    seen: dict[str, Any] = {}

    def open_last() -> dict[str, int]:
        seen["uid"], seen["capabilities"] = os.getuid(), read_capabilities()
        seen["other"] = outcome(lambda: os.open("/etc/passwd", os.O_RDONLY))
        seen["readable"] = outcome(lambda: os.close(os.open("/dev/urandom", os.O_RDONLY)))
        seen["program"] = outcome(lambda: os.execv("/bin/true", ["true"]))
        return {"STATE": os.open("state", os.O_RDWR)}

    def inside() -> object:
        os.chdir(tmp_path)  # nobody may not reach it by its path
        near, _far = socket.socketpair()
        near.setblocking(False)
        signal.set_wakeup_fd(near.fileno())
        confinement = Confinement(
            policy=policy(),
            identity=NOBODY if ROOT else None,
            open_files=64,
            status_file=open_status(),
            descriptors={"SHARED": (0, 1, 2)},
            open_last=open_last,
            open_within=".",
            readable=("/dev/urandom",),
        )
        unprivileged = drop_privileges(confinement)
        lock(unprivileged)
        state = unprivileged.opened["STATE"]
        assert isinstance(state, int)
        os.pwrite(state, b"kept", 0)
        seen["again"] = outcome(lambda: os.open("state", os.O_RDONLY))
        return seen

    ended = run(inside)
    assert ended.value == {
        "uid": NOBODY.uid if ROOT else os.getuid(),
        "capabilities": NO_CAPABILITIES,
        "other": "EACCES",
        "readable": "succeeded",
        "program": "EACCES",
        "again": "EACCES",
    }, ended
    assert path.read_bytes() == b"kept"


@pytest.mark.parametrize("number", [0, 3, 40])
def test_a_name_without_any_descriptor_permits_none(number: int) -> None:
    """A program that could not open its file goes on, and its policy permits less."""

    def inside() -> object:
        near, _far = socket.socketpair()
        near.setblocking(False)
        signal.set_wakeup_fd(near.fileno())
        confinement = Confinement(
            policy=policy(),
            identity=NOBODY if ROOT else None,
            open_files=64,
            status_file=open_status(),
            descriptors={"SHARED": (0, 1, 2), "STATE": ()},
        )
        lock(drop_privileges(confinement))
        return os.pwrite(number, b"no", 0)

    assert run(inside).signal is signal.SIGSYS


def test_every_shipped_policy_is_of_the_program_it_is_named_after() -> None:
    assert list_programs() == sorted(read_policy(name).program for name in list_programs())
    assert "mailbelld" in list_programs()
