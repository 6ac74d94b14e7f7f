"""Be told of new mail in an asyncio program: the public protocol, nothing of mailbell's.

Unlike `mailbell.client` it does not connect again: it ends when the daemon does.

Usage: python_asyncio.py [COUNT]     ends after COUNT notifications; without one, never
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
LONGEST = 65536  # bytes of a reply; the daemon's have a few hundred


async def notifications(path: str) -> AsyncGenerator[dict[str, Any], None]:
    """Yield each notification, for as long as the daemon is there."""
    reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST)
    try:
        writer.write(json.dumps(CALL).encode() + b"\0")
        while True:
            reply = json.loads((await reader.readuntil(b"\0"))[:-1])
            if "error" in reply:
                raise RuntimeError(f"the daemon answered {reply['error']}")
            # The first reply has none: it says that the daemon will tell.
            if reply["parameters"]["notification"] is not None:
                yield reply["parameters"]["notification"]
    finally:
        writer.close()


async def main() -> None:
    """Print each notification: the account, and why it should be looked at."""
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
