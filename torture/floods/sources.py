"""What the programs of the attackers share: where they attack, and from which addresses.

It imports nothing of the tests: a program of an attacker starts sooner without it.
"""

import os
from functools import cache
from typing import Final

from bench.flood import source

__all__ = ["ATTACKED", "IPV4_FIRST", "PORT", "begin", "ipv4_source", "yield_to_others"]

PORT: Final = 7979
ATTACKED: Final = {4: "192.0.2.1", 6: "fd79:1::1"}
"""The addresses of the daemon's host at the cable of the attackers, by family."""

IPV4_FIRST: Final = 0x0A010001
"""The first IPv4 source, 10.1.0.1: for bench/c/address.h, which says how the others follow."""


def ipv4_source(number: int) -> int:
    """Return the IPv4 address of a source, as a number.

    Args:
        number: number of the source.
    """
    return source(4, number) - source(4, 0) + IPV4_FIRST


def yield_to_others() -> None:
    """Go into the idle class, as every flood does. Imports come before: they take long there."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


@cache
def begin() -> None:
    """Say once that the attack has begun."""
    print("begins", flush=True)
