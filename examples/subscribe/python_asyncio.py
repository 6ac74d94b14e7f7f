"""Be told of new mail in an asyncio program that needs no library of mailbell.

It speaks the public protocol (docs/embedding.md). Unlike `mailbell.client` it does not
connect again: it ends when the daemon ends.

Usage: python_asyncio.py [COUNT]     ends after COUNT notifications, or with the daemon
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

SOCKET = os.environ.get("MAILBELL_SOCKET", "/run/mailbell/mailbell.sock")
CALL = {"method": "org.mailbell.Listener.Subscribe", "parameters": {}, "more": True}
LONGEST = 65536  # bytes of a reply; those of the daemon have a few hundred


async def notifications(path: str) -> AsyncGenerator[dict[str, Any], None]:
    """Yield each notification, until the daemon closes the connection."""
    reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST)
    try:
        writer.write(json.dumps(CALL).encode() + b"\0")
        while True:
            reply = json.loads((await reader.readuntil(b"\0"))[:-1])
            if "error" in reply:
                raise RuntimeError(f"the daemon answered {reply['error']}")
            # The first reply has no notification: it confirms the subscription.
            if reply["parameters"]["notification"] is not None:
                yield reply["parameters"]["notification"]
    finally:
        writer.close()


async def main() -> None:
    """Print each notification: its account, and its cause."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else None
    number = 0
    async with aclosing(notifications(SOCKET)) as stream:
        async for notification in stream:
            print(f"{notification['account']}: {notification['cause']}", flush=True)
            number += 1
            if number == count:
                break


if __name__ == "__main__":
    asyncio.run(main())
