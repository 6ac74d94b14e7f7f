"""Log lines: one for each event, `key=value`, escaped and limited in rate.

An attacker who can cause log lines can try to fill the disk or to forge a line. So each kind
of event has its own token bucket, and the next line of the same kind says how many lines
were held back or could not be written. Every value from outside is escaped to printable ASCII,
and quoted if needed. Pure: the caller passes the clock and the function that writes.
"""

from collections.abc import Callable
from enum import IntEnum

from mailbell.core.escape import printable
from mailbell.limits.limiter import Bucket

__all__ = ["Journal", "Level", "format_value"]

RATE = 1.0  # lines a second of each kind, after the burst
BURST = 20  # lines of each kind that may come at once
MAX_VALUE = 256  # characters of one value


class Level(IntEnum):
    """The severity, as in syslog(3). The number is systemd's prefix."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


def format_value(value: object, limit: int = MAX_VALUE) -> str:
    """Return a value as it is written in a log line: printable ASCII, quoted if needed.

    Args:
        value: bytes are escaped byte by byte; any other value is first made text.
        limit: how many characters are shown; the rest is left out.
    """
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    text = text[:limit]
    escaped = printable(text, also='"')
    plain = text and escaped == text and not {" ", "="} & set(text)
    return text if plain else f'"{escaped}"'


class Journal:
    """Writes the log.

    Args:
        write: writes one line; it gets the line without its end. False: the line is lost, and
            counts as held back.
        clock: returns the monotonic time in seconds.
        prefixed: whether each line begins with systemd's level prefix (sd-daemon(3)).
    """

    def __init__(
        self, write: Callable[[str], object], clock: Callable[[], float], *, prefixed: bool = False
    ) -> None:
        self._write = write
        self._clock = clock
        self._prefixed = prefixed
        # One bucket for each kind of event. The kinds are words in our code and never
        # come from outside, so their number is bounded.
        self._buckets: dict[str, Bucket] = {}
        self._held_back: dict[str, int] = {}
        self.suppressed = 0

    def log(self, level: Level, event: str, **fields: object) -> None:
        """Write one line, unless too many of its kind came.

        Args:
            level: the severity.
            event: the kind of event, one word of ours.
            fields: what else to say, in this order. A field with the value None is left out.
        """
        bucket = self._buckets.get(event)
        if bucket is None:
            bucket = self._buckets[event] = Bucket(RATE, BURST)
        if not bucket.take(self._clock()):
            self._hold_back(event)
            return
        held_back = self._held_back.get(event)
        line = self._line(level, event, {**fields, "suppressed": held_back})
        if self._write(line) is False:
            self._hold_back(event)
        else:
            self._held_back.pop(event, None)

    def _hold_back(self, event: str) -> None:
        self.suppressed += 1
        self._held_back[event] = self._held_back.get(event, 0) + 1

    def _line(self, level: Level, event: str, fields: dict[str, object]) -> str:
        words = [f"event={event}"]
        words += [f"{k}={format_value(v)}" for k, v in fields.items() if v is not None]
        prefix = f"<{level.value}>" if self._prefixed else ""
        return prefix + " ".join(words)
