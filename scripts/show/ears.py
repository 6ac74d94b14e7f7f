"""Hears what the programs of the show say, line by line, and watches the laptop's Maildir."""

import os
import selectors
import subprocess
import time
from email.parser import BytesHeaderParser
from pathlib import Path

from scripts.show.events import Happening, Line, happening

__all__ = ["Ears"]

_LOOK: float = 0.02  # seconds between two looks at the Maildir: the file's own time is what counts
_HELD: float = 0.05  # seconds after which nothing earlier is heard any more, of any program
_LAST_WORDS = 20


class Ears:
    """What has happened so far, in the order of its time."""

    def __init__(self) -> None:
        self.happenings: list[Happening] = []
        self.said: list[str] = []
        """The last lines of all programs, for a person who looks for a fault."""
        self._selector = selectors.DefaultSelector()
        self._rest: dict[int, bytes] = {}
        self._maildir: Path | None = None
        self._seen: set[str] = set()
        self._held: list[Happening] = []

    def hear(self, program: str, process: "subprocess.Popen[bytes]") -> None:
        """Hear a program from now on."""
        if process.stdout:
            os.set_blocking(process.stdout.fileno(), False)
            self._selector.register(process.stdout, selectors.EVENT_READ, program)

    def watch(self, maildir: Path) -> None:
        """Watch a Maildir from now on."""
        self._maildir = maildir

    def listen(self, seconds: float) -> list[Happening]:
        """Hear the programs for some time at most; return what is new, in the order of its time."""
        for key, _ in self._selector.select(max(0.0, min(seconds, _LOOK))):
            self._held += self._read(key.fd, key.data)
        self._held += self._look()
        self._held.sort(key=lambda each: each.at)
        settled = time.time() - _HELD
        new = [each for each in self._held if each.at <= settled]
        self._held = self._held[len(new) :]
        self.happenings += new
        return new

    def _read(self, descriptor: int, program: str) -> list[Happening]:
        data, at = os.read(descriptor, 65536), time.time()
        if not data:
            self._selector.unregister(descriptor)
            self._say(program, "has ended")
        *whole, rest = (self._rest.get(descriptor, b"") + data).split(b"\n")
        self._rest[descriptor] = rest
        texts = [each.decode(errors="replace") for each in whole]
        for text in texts:
            self._say(program, text)
        found = (happening(Line(at, program, text)) for text in texts)
        return [each for each in found if each]

    def _say(self, program: str, text: str) -> None:
        self.said = [*self.said, f"{program}: {text}"][-_LAST_WORDS:]

    def _look(self) -> list[Happening]:
        """Return the mails that have come into the Maildir, with the times of their files."""
        if self._maildir is None or not (self._maildir / "new").is_dir():
            return []
        found = []
        for each in sorted((self._maildir / "new").iterdir()):
            if each.name not in self._seen:
                self._seen.add(each.name)
                header = BytesHeaderParser().parsebytes(each.read_bytes())
                line = Line(each.stat().st_ctime, "Maildir", str(header["Subject"]))
                found.append(happening(line))
        return [each for each in found if each]
