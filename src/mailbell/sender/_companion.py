"""A small process beside the sender, with a policy of its own.

The sender is locked in and can start no process later. So its companions are forked before the
lock, and are not started again. Each has one thing to do. It shares one pair of sockets with
the sender and nothing else: it closes all other descriptors first, becomes the same user,
locks itself in, and ends when the sender ends.
"""

import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from mailbell._sys.companion import end_with_parent, keep_descriptors
from mailbell._sys.credentials import Identity
from mailbell._sys.signals import children_are_waited_for
from mailbell.core.errors import (
    ConfigurationError,
    MailbellError,
    OperatingSystemError,
    TemporaryError,
    find_refusal,
)
from mailbell.sandbox.lock import Confinement, Unprivileged, drop_privileges, open_status, step
from mailbell.sandbox.policy_file import read_policy
from mailbell.syscalls.policy import Numbers

__all__ = ["Companion", "confine", "import_nothing_more", "say_ready", "start"]

PATIENCE: Final = 30.0
"""Seconds until a companion must be locked in."""
_READY: Final = b"ready"
_MAX_ERROR: Final = 1024
# Errors of a companion that are the sender's too; any other is the system's.
_KINDS: Final = {str(kind.exit_code): kind for kind in (ConfigurationError, TemporaryError)}
# A service manager or a terminal sends these to all processes of the sender.
_ENDING: Final = (
    signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGXCPU, signal.SIGPWR,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Companion:
    """A companion that runs and is locked in.

    Attributes:
        program: the name of its policy.
        pid: its process.
        pair: the sender's end of the pair: SOCK_SEQPACKET, non-blocking. It reads the end of
            the stream when the companion has ended.
    """

    program: str
    pid: int
    pair: socket.socket


@step("start companion")
def start(
    program: str, run: Callable[[socket.socket], object], keep: Collection[socket.socket] = ()
) -> Companion:
    """Fork a companion, and wait until it is locked in.

    Call it before the event loop and before the lock, while the process has one thread.

    Args:
        program: the name of its policy.
        run: what it does, with its own end of the pair (SOCK_SEQPACKET, blocking). It locks
            the process in, calls `say_ready`, and returns when the sender has ended.
        keep: sockets that the companion takes over. The sender has closed them when this
            returns: so what waits on them ends with the companion.

    Returns:
        The companion, locked in.

    Raises:
        ConfigurationError, TemporaryError: it raised this; the message is its own.
        OperatingSystemError: it could not start for another reason; the message is its own.
    """
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with children_are_waited_for():
        pid = os.fork()
        if pid == 0:
            kept = {far.fileno(), *(sock.fileno() for sock in keep)}
            _be_companion(program, far, run, kept)
        far.close()
        for sock in keep:
            sock.close()
        _require_ready(program, pid, near)
    near.setblocking(False)
    return Companion(program, pid, near)


def confine(
    program: str,
    identity: Identity | None,
    *,
    open_files: int,
    descriptors: Mapping[str, Numbers],
    connect_to: frozenset[int] = frozenset(),
    connect_within: tuple[str, ...] = (),
) -> Unprivileged:
    """Drop the privileges of this companion and tie its life to the sender's.

    Args:
        program: the name of its policy.
        identity: the user of the sender; None: this process has no privilege to change its user.
        open_files: how many descriptors it may need at once.
        descriptors: the numbers that the policy names.
        connect_to: TCP ports that it may connect to.
        connect_within: folders in which it may connect to Unix sockets.

    Returns:
        What `mailbell.sandbox.lock.lock` needs.

    Raises:
        MailbellError: a step failed.
    """
    unprivileged = drop_privileges(
        Confinement(
            policy=read_policy(program),
            identity=identity,
            open_files=open_files,
            status_file=open_status(),
            descriptors=descriptors,
            connect_to=connect_to,
            connect_within=connect_within,
        )
    )
    end_with_parent()  # after the change of the user, which resets it
    return unprivileged


def say_ready(far: socket.socket) -> None:
    """Tell the sender that this companion is locked in. The companion calls it once.

    Args:
        far: the companion's end of the pair.
    """
    far.send(_READY, socket.MSG_DONTWAIT)


class NoModule:
    """Finds no module. Otherwise an import would look into folders, which the filter forbids."""

    @staticmethod
    def find_spec(*_: object) -> None:
        """Find nothing."""


def import_nothing_more() -> None:
    """Let every import of a module that is not loaded fail. Call it after the lock."""
    sys.meta_path[:] = [NoModule]


def _require_ready(program: str, pid: int, near: socket.socket) -> None:
    said = b""
    if select.select([near], [], [], PATIENCE)[0]:
        said = near.recv(_MAX_ERROR)
    if said == _READY:
        return
    near.close()
    # It may have ended. Its number is kept until it is reaped here, so nobody else has it.
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    text = (
        said.decode("utf-8", "replace") or "it ended, or was not ready in time, without a message"
    )
    code, _, why = text.partition(" ")
    if code in _KINDS:
        raise _KINDS[code](f"{program} cannot start: {why}")
    raise OperatingSystemError(f"{program} cannot start: {text}")


def _be_companion(
    program: str, far: socket.socket, run: Callable[[socket.socket], object], keep: Collection[int]
) -> NoReturn:
    """Do the companion's work and end; never return to the code of the sender."""
    code = os.EX_SOFTWARE
    try:
        # An object of the sender's that is collected here would close its descriptor, whose
        # number may be one of the companion's by then.
        gc.freeze()
        for number in _ENDING:  # it ends with the sender, which may have things to finish
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # as the sender has it: no child is known
        keep_descriptors(keep)
        run(far)
        code = os.EX_OK
    except BaseException as error:  # nothing may return into the code of the sender
        _report(program, far, error)
    finally:
        os._exit(code)


def _report(program: str, far: socket.socket, error: BaseException) -> None:
    refusal = find_refusal(error)
    with suppress(OSError):
        if refusal is not None:
            what = "the system refused what cannot be done without"
            print(f"{program}: {what}: {refusal}", file=sys.stderr, flush=True)
        elif not isinstance(error, MailbellError):
            traceback.print_exception(error)
    with suppress(OSError):
        text = str(error) or repr(error)
        if isinstance(error, ConfigurationError | TemporaryError):
            text = f"{error.exit_code} {text}"
        far.send(text.encode("utf-8", "replace")[:_MAX_ERROR], socket.MSG_DONTWAIT)
