"""Become mailbelld, which a test traces, and which does not notice.

Run as a program, with the words of mailbelld. A process that is traced does not become
ready. Whoever traces it could change what it reads about itself; here that is done in its
Python instead, and nothing else about it is changed.
"""

from typing import Final

NOBODY: Final = b"TracerPid:\t0"


def without_a_tracer(text: bytes) -> bytes:
    """Return the text of /proc/PID/status as it is without a tracer."""
    lines = text.splitlines()
    return b"\n".join(NOBODY if line.startswith(b"TracerPid:") else line for line in lines)


if __name__ == "__main__":
    from mailbell._sys import unneeded

    unneeded.replace_unneeded()

    from mailbell.cli import mailbelld
    from mailbell.sandbox import lock

    names = vars(lock)
    parse = names["parse_status"]
    names["parse_status"] = lambda text: parse(without_a_tracer(text))
    mailbelld.main()
