"""Any text of /proc is read or refused as documented: other users choose some words in it.

The first byte says which file the rest is: a process's `status`, `stat` or `comm`, a table of
sockets of one of two kinds, or the note of a session, which is in a file of the agent.
"""

import io
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from mailbell._sys import _stat
from mailbell._sys.local_listener import inodes
from mailbell._sys.port_holder import _inodes, read_process_name
from mailbell._sys.proof import parse_status
from mailbell.agent import _processes
from mailbell.agent._session import Session
from mailbell.core.errors import InternalError

_PORT = 79
_STATE = "0A"


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    checks: dict[bytes, Callable[[bytes], None]] = {
        b"s": check_status,
        b"p": check_process,
        b"o": check_own,
        b"c": check_name,
        b"t": check_table,
        b"u": check_local,
    }
    checks.get(data[:1], check_note)(data[1:])


def check_status(text: bytes) -> None:
    """Reads what the lock is proved with."""
    try:
        status = parse_status(text)
    except InternalError:
        return
    assert status.capabilities >= status.inheritable | status.permitted or status.permitted < 0
    assert isinstance(status.no_new_privs, bool)


def opening(text: bytes) -> Any:
    """Returns what stands in for `open`: each file has the text."""
    return mock.Mock(side_effect=lambda *_: io.BytesIO(text))


def check_process(text: bytes) -> None:
    """Reads the line of a process of any user; the name in it may be anything."""
    with mock.patch.object(_processes, "_contents", return_value=text):
        process = _processes.read(7)
        assert process is None or (process.number == 7 and (process.lives or not process.runs))
        assert isinstance(_processes.newest(), int)


def check_own(text: bytes) -> None:
    """Reads the line of this process. Its starter chooses the name in it."""
    with mock.patch.object(_stat, "open", opening(text), create=True):
        try:
            numbers = _stat.own_stat()
        except ValueError:
            return
    assert all(place > 3 and abs(number) < math.inf for place, number in numbers.items())


def check_name(text: bytes) -> None:
    """Reads the name that a process gives itself."""
    with tempfile.TemporaryDirectory() as proc:
        Path(proc, "7").mkdir()
        Path(proc, "7", "comm").write_bytes(text)
        name = read_process_name(7, proc=proc)
    assert name
    assert name.isascii()
    assert name.isprintable()


def check_table(text: bytes) -> None:
    """Reads a table of /proc/net."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        found = list(_inodes(file.name, _PORT, _STATE))
    assert len(found) <= text.count(b"\n") + text.count(b"\r") + 1


def check_local(text: bytes) -> None:
    """Reads the table of Unix sockets. A path in it may be anything that a user has bound."""
    with tempfile.TemporaryDirectory() as proc:
        Path(proc, "net").mkdir()
        Path(proc, "net", "unix").write_bytes(text)
        found = inodes("/run/mailbell.sock", proc=proc)
    assert len(found) <= text.count(b"\n") + 1


def check_note(line: bytes) -> None:
    """Reads a note, and writes it again."""
    session = Session.read(line)
    if session is not None:
        assert Session.read(session.note()) == session
        assert session.number > 0
