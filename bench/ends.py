"""Connections that say anything and end in any way: the load of `bench/c/ends.c`."""

import subprocess
from dataclasses import dataclass
from typing import Final, Literal

from bench.processes import BUILD, PATIENCE, Failed, pin

__all__ = ["LINE", "Ends"]

LINE: Final = b"nm_notifyuser\r\n"


@dataclass(frozen=True, slots=True)
class Ends:
    """One round of connections over TCP.

    Attributes:
        count: how many.
        text: what each one says.
        end: how it ends then, as `bench/c/ends.c` explains.
        parallel: how many there are at once.
        first: number of the first source.
        sources: number of sources, used in turn.
    """

    count: int
    text: bytes = LINE
    end: Literal["fin", "reset", "wait", "late"] = "fin"
    parallel: int = 64
    first: int = 0
    sources: int = 200

    def run(self, host: str, port: int, core: int | None = None) -> None:
        """Make them all, and wait until each has ended.

        Args:
            host: numeric address.
            port: of the listener.
            core: CPU to run on; None: any.

        Raises:
            Failed: one did not end, or was answered.
        """
        numbers = [port, self.count, self.parallel, self.first, self.sources, PATIENCE]
        words = [host, *map(str, numbers), self.text.hex(), self.end]
        command = [str(BUILD / "ends"), *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            pin(process.pid, core)
            output, _ = process.communicate()
        if process.returncode:
            raise Failed(f"bench/build/ends ended with exit code {process.returncode}")
        ended, failed, _ = map(int, output.split())
        if ended != self.count:
            raise Failed(f"of {self.count} connections {ended} ended well, {failed} did not")
