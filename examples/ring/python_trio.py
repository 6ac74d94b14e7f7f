"""Watch which targets are rung and which are not, in a Trio program.

Usage: python_trio.py [COUNT]     ends after COUNT rings; without COUNT, never
"""

import sys

import trio

from mailbell.sender_client import RingOutcome, UnavailableError
from mailbell.sender_client.trio import Client

# The sender is away while it restarts.
PAUSE = 1.0


async def main() -> None:
    """Print each ring: its account, its target and its outcome."""
    left = int(sys.argv[1]) if len(sys.argv) > 1 else -1
    client = Client()
    while left:
        try:
            async with await client.watch() as watching:
                async for ring in watching:
                    good = "rung" if ring.outcome is RingOutcome.SENT else ring.outcome
                    print(f"{ring.account}: {ring.target or 'no target'}: {good}", flush=True)
                    left -= 1
                    if not left:
                        break
        except UnavailableError:
            await trio.sleep(PAUSE)


if __name__ == "__main__":
    trio.run(main)
