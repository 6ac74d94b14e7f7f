"""A flood: messages as fast as one core can send them, or paced, from many sources."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from bench.processes import BUILD, PATIENCE, Failed, pin

__all__ = ["NETWORKS", "Flood", "Sent", "source"]

NETWORKS: Final = 65_000
"""Up to this number, each source is in a network of its own (bench/c/address.h)."""


class Sent(NamedTuple):
    """The result of a flood, as the sender saw it.

    Attributes:
        sent: messages that the kernel accepted.
        failed: messages that the kernel refused, or connections that were not answered.
        seconds: how long it took.
    """

    sent: int
    failed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Flood:
    """The messages of a flood, and their sources.

    Attributes:
        transport: how they are sent.
        message: a good line, or bytes that resemble it.
        count: number of messages.
        first: number of the first source.
        sources: number of sources, used in turn.
        per_second: the most messages a second; 0: as fast as possible.
    """

    transport: Literal["tcp", "udp"]
    message: Literal["line", "garbage"]
    count: int
    first: int = 0
    sources: int = 200
    per_second: int = 0

    def run(
        self, host: str, port: int, core: int | None = None, through: Sequence[str] = ()
    ) -> Sent:
        """Send the whole flood.

        Args:
            host: numeric address, without brackets.
            port: of the listener.
            core: CPU to run on; None: any.
            through: a command prefix such as `nsenter`; it executes the command after it.

        Raises:
            Failed: the flood did not run to its end.
        """
        numbers = [port, self.first, self.sources, self.count, PATIENCE]
        words = [self.transport, host, *map(str, numbers), self.message]
        if self.per_second:
            words.append(str(self.per_second))
        command = [*through, str(BUILD / "flood"), *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            pin(process.pid, core)
            output, _ = process.communicate()
        if process.returncode:
            raise Failed(f"bench/build/flood ended with exit code {process.returncode}")
        sent, failed, nanoseconds = map(int, output.splitlines()[-1].split())
        if sent + failed != self.count:
            raise Failed(f"of {self.count} messages {sent + failed} were sent in {PATIENCE} s")
        return Sent(sent, failed, nanoseconds / 1e9)


def source(version: Literal[4, 6], number: int) -> int:
    """Return the address of a source, as the C programs compute it.

    Args:
        version: IP version.
        number: number of the source.

    Source: bench/c/address.h.
    """
    again, network = divmod(number, NETWORKS)
    if version == 4:
        return 0x7F010001 + (network << 8) + again
    return 0x20010DB8 << 96 | network + 1 << 80 | again << 64 | 1
