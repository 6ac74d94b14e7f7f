"""A program that subscribes, as docs/embedding.md tells: it acts, and then stores its cursor.

    python subscriber.py SOCKET DIARY CURSOR

To look for mail is to write a line to DIARY. Without a stored cursor it does not know what it has
missed, so it looks at each account.
"""

import json
import os
import sys
import time
from pathlib import Path

from mailbell.client import Client, Cursor, Subscription

__all__ = ["main"]


def main(path: str, diary: str, kept: Path, accounts: list[str]) -> None:
    """Subscribe until the end.

    Args:
        path: the listener's local socket.
        diary: where each look is noted.
        kept: where the cursor is stored.
        accounts: all that are looked at without a cursor.
    """
    after = _stored(kept)
    with Client(path) as client, open(diary, "ab", buffering=0) as file:
        subscription = client.subscribe(after=after, retry=lambda _: True)
        if after is None:
            file.writelines(_line(account) for account in accounts)
            _store(kept, subscription)
        for notification in subscription:
            file.write(_line(notification.account))
            _store(kept, subscription)


def _line(account: str) -> bytes:
    return f"{account} {time.time_ns()}\n".encode()


def _stored(kept: Path) -> Cursor | None:
    return Cursor(**json.loads(kept.read_text())) if kept.exists() else None


def _store(kept: Path, subscription: Subscription) -> None:
    """Replace the file in one step: a program that is killed leaves the old or the new one."""
    cursor = subscription.cursor
    if cursor is None:
        return
    new = kept.with_suffix(".new")
    new.write_text(json.dumps({"epoch": cursor.epoch, "sequence": cursor.sequence}))
    os.replace(new, kept)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
