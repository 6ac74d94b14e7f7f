"""The simplest listener with Trio: `serve_tcp` and a handler. No limits, no deadline.

It prints its port. After SIGTERM it prints how many lines it took and how many other inputs.
"""

import signal
from functools import partial

import trio

LINE = b"nm_notifyuser\r\n"

counts = {"lines": 0, "others": 0}


async def take(stream: trio.SocketStream) -> None:
    """Read a line from one connection, in however many pieces it comes."""
    line = b""
    while len(line) < len(LINE) and (piece := await stream.receive_some(len(LINE))):
        line += piece
    counts["lines" if line == LINE else "others"] += 1


async def main() -> None:
    """Serve until SIGTERM."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, take, port=0, host="127.0.0.1")
            listeners = await nursery.start(serve)
            print(listeners[0].socket.getsockname()[1], flush=True)
            await anext(signals)
            nursery.cancel_scope.cancel()
    print(counts["lines"], counts["others"])


if __name__ == "__main__":
    trio.run(main)
