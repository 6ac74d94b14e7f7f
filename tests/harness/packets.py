"""Tells which packets left a network namespace, whoever sent them, and where they were to go."""

import json
import os
import shutil
from collections.abc import Callable
from typing import Any, Final

import pytest

__all__ = ["left", "watch"]

# An ordinary user has no such folder in PATH.
_NFT: Final = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
# A name server is asked by UDP, everything else is fetched by TCP. What a host does by itself, as
# to look for its neighbours, is neither.
_TABLE: Final = """
table inet seen {
  set four { type ipv4_addr . inet_proto . inet_service; flags dynamic; }
  set six { type ipv6_addr . inet_proto . inet_service; flags dynamic; }
  chain out {
    type filter hook output priority 0;
    oifname "lo" accept
    meta l4proto { tcp, udp } add @four { ip daddr . meta l4proto . th dport }
    meta l4proto { tcp, udp } add @six { ip6 daddr . meta l4proto . th dport }
  }
}
"""


def watch(run: Callable[..., str]) -> None:
    """Begin to look.

    Args:
        run: runs a program of this host in the namespace, and returns what it prints.
    """
    if _NFT is None:
        pytest.skip("nft is not installed")
    run(_NFT, _TABLE)


def left(run: Callable[..., str]) -> set[tuple[str, str, int]]:
    """Return where packets went that left by another interface than `lo`.

    Args:
        run: as for `watch`.

    Returns:
        For each destination its address, "tcp" or "udp", and the port.
    """
    said = json.loads(run(_NFT, "-j", "list", "table", "inet", "seen"))["nftables"]
    sets: list[dict[str, Any]] = [part["set"] for part in said if "set" in part]
    return {tuple(element["concat"]) for one in sets for element in one.get("elem", [])}
