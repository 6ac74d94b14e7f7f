"""Types what a block of a document shows, in a clean system, and compares what is printed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from documents.blocks import Block, Step, is_printed, steps
from packages.system import System

__all__ = ["Walk"]


@dataclass(frozen=True)
class Walk:
    """Root and a person, who do what a document says.

    Attributes:
        system: where they type.
        person: who types what begins with `$ `.
        folder: where root types. The person types in the home folder.
        environment: variables beside those of a login.
    """

    system: System
    person: str = "anna"
    folder: str = "/root"
    environment: Mapping[str, str] = field(default_factory=dict)

    def follow(self, block: Block) -> None:
        """Type the lines of a block; each must end with 0 and print what is shown."""
        for step in steps(block.text):
            self.take(block, step)

    def take(self, block: Block, step: Step) -> None:
        """Type one line of a block."""
        # Only the mirror of Debian is outside.
        network = "host" if step.command.startswith("apt-get ") else "own"
        command = f"cd {self.folder}; {step.command}" if step.root else step.command
        done = self.system.ran(
            command, user="root" if step.root else self.person, network=network,
            env=self.environment,
        )  # fmt: skip
        if done.code or not is_printed(step.printed, done.said):
            shown = "\n".join(step.printed)
            where = f"{block.document}, {block.heading}: {step.command}"
            pytest.fail(f"{where}: code {done.code}\n{done.said}\nthe page shows:\n{shown}")
