"""Watches each daemon that a run of tests starts, without a change to the tests.

`MAILBELL_WATCH` in the environment of the run names a directory for what is seen. The
daemon is watched in two ways at once, and each has a report of its own:

- `trace-PROGRAM-*`: it runs under strace, which writes down its system calls. It does not notice
  (`harness.traced`);
- `audit-PROGRAM-*`: it runs with an audit hook (`harness.audited`), which writes down what Python
  does after the lock, and makes no system call for that.

It has the C library's allocator, and the interpreter checks each block of it. Each of the two
alone asks the kernel for nothing else: the checks only make blocks larger.
`tests/sandbox/test_allocators.py` has the daemon serve with each of them.

`tests/sandbox/test_whole_suite.py` runs the system tests so and judges what was seen.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = [
    "ALLOWED",
    "ALLOWED_OF",
    "AUDITED",
    "DOORS",
    "TRACEBACK",
    "Watched",
    "calls_after_the_lock",
    "events",
    "new_report",
    "unexpected",
    "watched",
]

DOORS: Final = {
    "mailbelld": "mailbell.cli.mailbelld",
    "mailbell-sender": "mailbell.cli.mailbell_sender",
}
AUDITED: Final = ("-P", str(Path(__file__).parent / "audited.py"))
REPORT_BYTES: Final = 1 << 18

# Audit events after the lock, and why each may happen.
ALLOWED: Final = {
    r"begins by .*": "said by the hook itself",
    r"socket\.__new__ by (accept|adopt|_receive): .*": "an object for what accept4(2) has made",
    r"cpython\._PySys_ClearAuditHooks by .*": "the end of the interpreter",
}
# Of one program, in addition. 2049 and 2050 are the types of stream and datagram sockets.
_CALLING: Final = r"socket\.__new__ by (_begin|_call_untrusted): \['socket', (2|10), (2049|2050), "
ALLOWED_OF: Final[dict[str, dict[str, str]]] = {
    "mailbell-sender": {
        _CALLING + "(6|17)]": "the socket that calls a target",
        r"socket\.connect by call_address: .*": "the call of a target",
    },
}
# CPython looks for the source lines of a traceback, and goes on without (policy: "deny").
TRACEBACK: Final = {r"open by (get_data|updatecache): \['\S+\.py', 'rb?', \d+]": "for a traceback"}

CALL: Final = re.compile(r"(\w+)\(([^)]*)\) ")
# seccomp(SECCOMP_SET_MODE_FILTER, flags, program) that was granted.
LOADED: Final = re.compile(r"seccomp\(0x1, \w+, 0x\w+\) += 0$")


@dataclass(frozen=True)
class Watched:
    """How to start a daemon so that it is watched.

    Attributes:
        command: what to run the interpreter through.
        program: what the interpreter runs.
        environ: added to the environment.
    """

    command: Sequence[str]
    program: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)


def watched(program: str = "mailbelld") -> Watched:
    """Return how this run of tests starts a daemon."""
    directory = os.environ.get("MAILBELL_WATCH", "")
    if not directory:
        return Watched((), ("-m", DOORS[program]))
    # -D: the daemon stays the test's child; raw: numbers, as the filter sees them.
    strace = (
        shutil.which("strace") or "strace", "-D", "-qq", "-e", "raw=all", "-e", "signal=none",
        "-o", str(new_report(Path(directory), f"trace-{program}-")),
    )  # fmt: skip
    report = str(new_report(Path(directory), f"audit-{program}-"))
    environ = {"AUDITED_REPORT": report, "AUDITED_TRACED": "yes", "AUDITED_DOOR": DOORS[program]}
    return Watched(strace, AUDITED, {**environ, "PYTHONMALLOC": "malloc_debug"})


def new_report(directory: Path, prefix: str = "audit-") -> Path:
    """Make an empty report that a daemon may write, whatever user it runs as."""
    descriptor, name = tempfile.mkstemp(prefix=prefix, dir=directory)
    os.fchmod(descriptor, 0o666)
    os.truncate(descriptor, REPORT_BYTES)
    os.close(descriptor)
    return Path(name)


def events(report: Path) -> list[str]:
    """Return what the audit hook reported, once each, or nothing: it never was locked."""
    text = report.read_bytes()
    assert text.endswith(b"\0"), f"{report} is full"
    lines = text.rstrip(b"\0").decode().splitlines()
    assert not lines or lines[0].startswith("begins by "), lines
    return lines


def unexpected(lines: Iterable[str], allowed: Iterable[str]) -> list[str]:
    """Return those events that are none of the allowed ones."""
    return [line for line in lines if not any(re.fullmatch(each, line) for each in allowed)]


def calls_after_the_lock(trace: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield what a daemon asked of the kernel once its filter was loaded: name and arguments."""
    with trace.open() as lines:
        for line in lines:
            if LOADED.match(line):
                break
        for line in lines:
            if found := CALL.match(line):
                yield found[1], tuple(int(word, 0) for word in found[2].split(", ") if word)
