"""What machines there are: reads `machines.toml`."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["MACHINES", "Machine"]


@dataclass(frozen=True)
class Machine:
    """A machine that can be made; `machines.toml` says what each attribute means."""

    name: str
    title: str
    suite: str
    architecture: str
    kernel: str
    kernel_suite: str = ""
    claims: tuple[str, ...] = ()

    @property
    def kernel_from(self) -> str:
        """The suite that has the kernel."""
        return self.kernel_suite or self.suite


def _read() -> dict[str, Machine]:
    tables = tomllib.loads(Path(__file__).with_name("machines.toml").read_text())
    return {
        name: Machine(name, **{**table, "claims": tuple(table.get("claims", ()))})
        for name, table in tables.items()
    }


MACHINES: Final = _read()
