"""Inputs, and the C program that says them to a daemon."""

import os
import shutil
import struct
import subprocess
import tempfile
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

from bench.processes import BUILD

__all__ = ["CannotSpeakError", "Ends", "Input", "Said", "Speech", "Target", "build"]

HERE: Final = Path(__file__).resolve().parent
INCLUDED: Final = HERE.parent.parent / "bench" / "c"
_HEAD: Final = struct.Struct("=IBB")
_SHOWN: Final = 400  # bytes of a piece in a report; the seed of the round repeats all of it
_NUMBERS: Final = 3  # of 64 bits, which the program writes for each input


class CannotSpeakError(Exception):
    """The program that says the inputs cannot be built, or has failed."""


class Ends(IntEnum):
    """How a connection ends; the numbers of speak.c."""

    FINISHES = 0  # closes its side, and waits for the daemon
    LEAVES = 1  # closes at once; over TCP with a reset
    STAYS = 2  # waits until the daemon closes


class How(IntEnum):
    """How an input ended; the numbers of speak.c."""

    CLOSED = 0
    ANSWERED = 1
    REFUSED = 2
    UNFINISHED = 3


class Input(NamedTuple):
    """One connection, or one datagram.

    Attributes:
        pieces: what is sent, a piece at a time; a datagram has one piece at most.
        ends: how the connection ends.
        source: the IPv4 address that it comes from, as a number; 0: any.
    """

    pieces: tuple[bytes, ...]
    ends: Ends = Ends.FINISHES
    source: int = 0

    @property
    def data(self) -> bytes:
        """All that is sent."""
        return b"".join(self.pieces)

    def pack(self) -> bytes:
        """Return the input in the form that speak.c reads."""
        pieces = self.pieces
        lengths = struct.pack(f"={len(pieces)}I", *map(len, pieces))
        return b"".join((_HEAD.pack(self.source, self.ends, len(pieces)), lengths, *pieces))

    def __str__(self) -> str:
        """Return the input as a person reads it in a report."""
        source = ".".join(map(str, self.source.to_bytes(4))) if self.source else "any"
        pieces = " | ".join(map(_show, self.pieces)) or "nothing"
        return f"{pieces} ({self.ends.name.lower()}, from {source})"


def _show(piece: bytes) -> str:
    shown = repr(piece[:_SHOWN])
    return shown if len(piece) <= _SHOWN else f"{shown}... ({len(piece)} bytes)"


class Said(NamedTuple):
    """What became of inputs.

    Attributes:
        began: when each began, in nanoseconds of the monotonic clock.
        ended: when each ended; 0: it did not.
        faults: what went wrong, a line each; a daemon never causes one.
        dropped: datagrams that the kernel dropped at the daemon's socket.
    """

    began: Sequence[int]
    ended: Sequence[int]
    faults: tuple[str, ...]
    dropped: int


def build() -> Path:
    """Compile the program unless that was done since its last change.

    Returns:
        Its path.

    Raises:
        CannotSpeakError: there is no C compiler, or it refuses the program.
    """
    source, program = HERE / "speak.c", BUILD / "speak"
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        raise CannotSpeakError(f"no C compiler ({compiler}); run: apt-get install gcc libc6-dev")
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    BUILD.mkdir(exist_ok=True)
    # It has another name until it is complete, because another run may build or use it.
    fresh = BUILD / f"speak.{os.getpid()}"
    flags = ["-O2", "-std=c11", "-Wall", "-Wextra", "-Werror", "-I", str(INCLUDED)]
    if subprocess.run([compiler, *flags, "-o", fresh, source], check=False).returncode:
        raise CannotSpeakError(f"{compiler} does not compile {source.name}")
    return fresh.replace(program)


@dataclass(frozen=True, slots=True)
class Target:
    """Where inputs go.

    Attributes:
        words: the first words of the command line of speak.c, as in `tcp 127.0.0.1 79`.
        at_once: how many are in flight; 0: the program decides.
        patience: seconds until it gives up.
    """

    words: tuple[str, ...]
    at_once: int = 0
    patience: int = 120

    def say(self, inputs: Iterable[Input]) -> "Speech":
        """Begin to say inputs.

        Args:
            inputs: in this order.
        """
        at_once = (str(self.at_once),) if self.at_once else ()
        return Speech((*self.words, *at_once, str(self.patience)), inputs)


class Speech:
    """A run of the program.

    Args:
        words: its command line.
        inputs: what it says.
    """

    def __init__(self, words: Sequence[str], inputs: Iterable[Input]) -> None:
        self._inputs = tuple(inputs)
        # Files, because the program reads all before it begins, and writes all at its end.
        with tempfile.TemporaryFile() as packed:
            packed.write(b"".join(map(Input.pack, self._inputs)))
            packed.seek(0)
            self._process = subprocess.Popen(
                [str(BUILD / "speak"), *words],
                stdin=packed, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip

    def wait(self) -> Said:
        """Wait until all is said.

        Raises:
            CannotSpeakError: the program has failed.
        """
        output, errors = self._process.communicate()
        if self._process.returncode:
            raise CannotSpeakError(f"speak: {errors.decode(errors='replace').strip()}")
        numbers = array("q")
        numbers.frombytes(output)
        hows = numbers[2::_NUMBERS]
        faults = tuple(
            f"{How(how).name}: {said}"
            for said, how in zip(self._inputs, hows, strict=True)
            if how != How.CLOSED
        )
        return Said(numbers[::_NUMBERS], numbers[1::_NUMBERS], faults, int(errors or 0))
