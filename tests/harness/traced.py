"""For a mailbelld that a test traces: it does not notice.

A process that is traced does not become ready. Whoever traces it could change what it reads
about itself; here that is done in its Python instead, and nothing else about it is changed.
"""

from typing import Final

NOBODY: Final = b"TracerPid:\t0"


def without_a_tracer(text: bytes) -> bytes:
    """Return the text of /proc/PID/status as it is without a tracer."""
    lines = text.splitlines()
    return b"\n".join(NOBODY if line.startswith(b"TracerPid:") else line for line in lines)


def hide_the_tracer() -> None:
    """Let this process not see who traces it."""
    from mailbell.sandbox import lock

    names = vars(lock)
    parse = names["parse_status"]
    names["parse_status"] = lambda text: parse(without_a_tracer(text))
