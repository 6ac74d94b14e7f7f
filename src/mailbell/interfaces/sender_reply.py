"""Bounds what a reply of mailbell-sender may hold, as `mailbell.interfaces.reply` does in general.

Pure: a reply comes in, and an error goes out.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from mailbell.cluster.report import is_name
from mailbell.core.mailbox import normalize_mailbox
from mailbell.interfaces.reply import check_reply
from mailbell.interfaces.sender import ExplainReply, RingResult, Step
from mailbell.interfaces.sender_status import Account, Cluster, ClusterNode, Store, TargetState

__all__ = ["WATCH_LIMIT", "check_sender_reply"]

WATCH_LIMIT: Final = 16 * 1024
"""The greatest length of an answer to `Watch`, in bytes. One of the sender's has at most 3,000:
254 characters of an account may take 12 bytes each in JSON."""

# A name of the DNS or a numeric address, its port, and perhaps its transport.
_TARGET: Final = re.compile(r"[A-Za-z0-9._:\[\]-]{1,270}(/udp)?", re.ASCII)

# Characters. The path of a store may have PATH_MAX bytes, and a message some words beside it.
_LONGEST_PATH: Final = 4096 + 256


def _is_mailbox(name: str) -> bool:
    return normalize_mailbox(name) is not None


def _is_target(target: str | None) -> bool:
    return target is None or _TARGET.fullmatch(target) is not None


def _is_path(text: str | None) -> bool:
    return text is None or (len(text) <= _LONGEST_PATH and text.isprintable())


_RULES: Final[Mapping[tuple[type, str], Callable[[Any], object]]] = {
    (Account, "name"): _is_mailbox,
    (Cluster, "failing"): _is_path,
    (Cluster, "node"): is_name,
    (ClusterNode, "name"): is_name,
    (ExplainReply, "account"): _is_mailbox,
    (RingResult, "account"): _is_mailbox,
    (RingResult, "target"): _is_target,
    (Step, "target"): _is_target,
    (Store, "failing"): _is_path,
    (Store, "set_aside"): _is_path,
    (Store, "url"): _is_path,
    (TargetState, "target"): _is_target,
}


def check_sender_reply(reply: object) -> None:
    """Refuse a reply that a client should not keep.

    Args:
        reply: one of the `...Reply` types of `mailbell.interfaces.sender`.

    Raises:
        ProtocolError: a value is too long, too large or not printable. The text names the
            field, and holds no byte of the sender's.
    """
    check_reply(reply, _RULES)
