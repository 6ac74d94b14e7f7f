"""The simplest listener with asyncio: `start_server` and a handler. No limits, no deadline.

It prints its port. After SIGTERM it prints how many lines it took and how many other inputs.
"""

import asyncio
import signal

LINE = b"nm_notifyuser\r\n"

counts = {"lines": 0, "others": 0}


async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read a line from one connection."""
    line = await reader.readline()
    counts["lines" if line == LINE else "others"] += 1
    writer.close()


async def main() -> None:
    """Serve until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await stopped.wait()
    print(counts["lines"], counts["others"])


if __name__ == "__main__":
    asyncio.run(main())
