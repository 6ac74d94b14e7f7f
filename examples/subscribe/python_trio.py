"""Be told of new mail in a Trio program that also does other work.

Usage: python_trio.py [COUNT]     ends after COUNT notifications; without COUNT, never
"""

import sys

import trio

from mailbell.client import Notification
from mailbell.client.trio import Client


async def listen(tell: trio.MemorySendChannel[Notification]) -> None:
    """Send each notification to the program. This task may be cancelled at any point."""
    async with tell, Client() as client, await client.subscribe() as subscription:
        async for notification in subscription:
            await tell.send(notification)


async def main() -> None:
    """Print each notification: its account, and its cause."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else None
    # The channel stores nothing: while the program is busy, the daemon merges notifications.
    tell, told = trio.open_memory_channel[Notification](0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, tell)
        number = 0
        async for notification in told:
            print(f"{notification.account}: {notification.cause}", flush=True)
            number += 1
            if number == count:
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
