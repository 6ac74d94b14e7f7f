"""Log lines: one an event, `key=value`, escaped, and never more than a reader can stand.

Whoever can make the daemon log can try to fill the disk or to forge a line.
So each kind of event has its own token bucket, what it held back is said with
the next line of that kind, and every value that came from outside is quoted
and escaped until only printable ASCII is left. Pure: the clock and the place
to write to are arguments.
"""

from collections.abc import Callable
from enum import IntEnum

from mailbell.core.escape import printable
from mailbell.limits.limiter import Bucket

__all__ = ["Journal", "Level", "format_value"]

RATE = 1.0  # lines a second of one kind, after
BURST = 20  # so many at once
MAX_VALUE = 256  # characters of one value


class Level(IntEnum):
    """Severity, as in syslog(3); the number is systemd's prefix."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


def format_value(value: object, limit: int = MAX_VALUE) -> str:
    """Return a value as it stands in a log line: printable ASCII, quoted if need be.

    Args:
        value: bytes are escaped byte by byte; anything else through its text.
        limit: characters; the rest is left out.
    """
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    text = text[:limit]
    escaped = printable(text, also='"')
    plain = text and escaped == text and not {" ", "="} & set(text)
    return text if plain else f'"{escaped}"'


class Journal:
    """Writes the log.

    Args:
        write: takes one line without its end.
        clock: returns the monotonic clock in seconds.
        prefixed: begin each line with systemd's level prefix (sd-daemon(3)).
    """

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float], *, prefixed: bool = False
    ) -> None:
        self._write = write
        self._clock = clock
        self._prefixed = prefixed
        # One bucket for each kind of event; the kinds are words in our code,
        # never input, so this is bounded.
        self._buckets: dict[str, Bucket] = {}
        self._held_back: dict[str, int] = {}
        self.suppressed = 0

    def log(self, level: Level, event: str, **fields: object) -> None:
        """Write one line, unless there were too many of its kind.

        Args:
            level: how bad it is.
            event: the kind, one word of ours.
            fields: what else to say, in this order; None values are left out.
        """
        bucket = self._buckets.get(event)
        if bucket is None:
            bucket = self._buckets[event] = Bucket(RATE, BURST)
        if not bucket.take(self._clock()):
            self.suppressed += 1
            self._held_back[event] = self._held_back.get(event, 0) + 1
            return
        held_back = self._held_back.pop(event, None)
        self._write(self._line(level, event, {**fields, "suppressed": held_back}))

    def _line(self, level: Level, event: str, fields: dict[str, object]) -> str:
        words = [f"event={event}"]
        words += [f"{k}={format_value(v)}" for k, v in fields.items() if v is not None]
        prefix = f"<{level.value}>" if self._prefixed else ""
        return prefix + " ".join(words)
