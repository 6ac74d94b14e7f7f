"""A process that is not locked is noticed, and the error names every wrong value."""

from dataclasses import replace
from pathlib import Path

import pytest

from mailbell._sys.credentials import Identity
from mailbell._sys.proof import ProcessStatus, parse_status, require_locked, require_untraced
from mailbell.core.errors import InternalError, OperatingSystemError

IDENTITY = Identity("mailbell", 998, 997)
LOCKED = ProcessStatus(
    uids=(998,) * 4,
    gids=(997,) * 4,
    groups=(),
    inheritable=0,
    permitted=0,
    effective=0,
    bounding=0,
    ambient=0,
    no_new_privs=True,
    seccomp=2,
    threads=1,
    tracer=0,
)
TEXT = b"""Name:\tmailbelld
TracerPid:\t4321
Uid:\t998\t998\t998\t998
Gid:\t997\t997\t997\t997
Groups:\t4 24 \nThreads:\t1
CapInh:\t0000000000000001
CapPrm:\t0000000000000002
CapEff:\t0000000000000004
CapBnd:\t000001ffffffffff
CapAmb:\t0000000000000008
NoNewPrivs:\t1
Seccomp:\t2
"""


def test_parse() -> None:
    assert parse_status(TEXT) == replace(
        LOCKED,
        groups=(4, 24),
        inheritable=1,
        permitted=2,
        effective=4,
        bounding=0x1FFFFFFFFFF,
        ambient=8,
        tracer=4321,
    )
    assert parse_status(TEXT).capabilities == 15


def test_parse_what_this_kernel_writes() -> None:
    assert parse_status(Path("/proc/self/status").read_bytes()).threads >= 1


@pytest.mark.parametrize("line", TEXT.splitlines()[1:])
def test_a_missing_line_is_noticed(line: bytes) -> None:
    with pytest.raises(InternalError, match="is not understood"):
        parse_status(TEXT.replace(line, b""))


@pytest.mark.parametrize("text", [b"", b"Uid:\tx\n", TEXT.replace(b"Seccomp:\t2", b"Seccomp:\t")])
def test_nonsense_is_noticed(text: bytes) -> None:
    with pytest.raises(InternalError, match="is not understood"):
        parse_status(text)


def test_locked() -> None:
    require_locked(LOCKED, IDENTITY, dropped=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"uids": (998, 998, 0, 998)}, "uids is (998, 998, 0, 998), not (998, 998, 998, 998)"),
        ({"gids": (0,) * 4}, "gids is (0, 0, 0, 0), not (997, 997, 997, 997)"),
        ({"inheritable": 1}, "capabilities is 0x1, not 0x0"),
        ({"permitted": 1}, "capabilities is 0x1, not 0x0"),
        ({"effective": 1}, "capabilities is 0x1, not 0x0"),
        ({"ambient": 1}, "capabilities is 0x1, not 0x0"),
        ({"no_new_privs": False}, "no_new_privs is False, not True"),
        ({"seccomp": 1}, "seccomp is 1, not 2"),
        ({"threads": 2}, "threads is 2, not 1"),
        ({"groups": (4,)}, "groups is (4,), not ()"),
        ({"bounding": 1}, "bounding set is 0x1, not 0x0"),
        ({"seccomp": 0, "threads": 3}, "seccomp is 0, not 2; threads is 3, not 1"),
    ],
)
def test_not_locked(change: dict[str, object], message: str) -> None:
    with pytest.raises(InternalError) as caught:
        require_locked(replace(LOCKED, **change), IDENTITY, dropped=True)  # type: ignore[arg-type]  # a table of fields
    assert caught.value.what == f"the process is not locked: {message}"


def test_a_tracer_is_noticed() -> None:
    require_untraced(LOCKED)
    with pytest.raises(OperatingSystemError, match="process 4321 traces this one"):
        require_untraced(replace(LOCKED, tracer=4321))


def test_an_ordinary_user_keeps_groups_and_bounding_set() -> None:
    require_locked(replace(LOCKED, groups=(4,), bounding=1), IDENTITY, dropped=False)
