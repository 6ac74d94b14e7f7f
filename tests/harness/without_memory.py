"""A nursery that finds no memory for one task more."""

from typing import NoReturn

__all__ = ["WithoutMemory"]


class WithoutMemory:
    """Takes the place of a `trio.Nursery`."""

    def start_soon(self, *task: object) -> NoReturn:
        raise MemoryError(f"no memory for {len(task)} objects")
