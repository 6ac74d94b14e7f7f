"""Call port 79 as mail servers do, again and again. Runs in a machine, with its own Python.

    python3 calls.py FOLDER ADDRESS PAUSE COUNT [LINE]

A connection is made every PAUSE seconds, whether or not those before it were served, until there
were COUNT or FOLDER has a file `enough`. FOLDER/called gets one line for each: when it began and
ended, in seconds since 1970, and how. It is "served" if the other side closed it in order after
the line was sent. FOLDER/done is made at the end.
"""

import asyncio
import resource
import sys
import time
from pathlib import Path
from typing import TextIO

_PATIENCE = 200.0  # seconds for one connection

_RINGING = "nm_notifyuser\r\n"


async def _call(address: str, line: bytes, file: TextIO) -> None:
    begun = time.time()
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection(address, 79)
            writer.write(line)
            answer = await reader.read(1)
            how = "answered" if answer else "served"
            writer.close()
    except (OSError, TimeoutError) as error:
        how = type(error).__name__
    file.write(f"{begun:.6f} {time.time():.6f} {how}\n")


async def _all(folder: Path, address: str, pause: float, count: int, line: bytes) -> None:
    with (folder / "called").open("w", buffering=1) as file:
        pending: set[asyncio.Future[None]] = set()
        for _ in range(count):
            task = asyncio.ensure_future(_call(address, line, file))
            pending.add(task)
            task.add_done_callback(pending.discard)
            await asyncio.sleep(pause)
            if (folder / "enough").exists():
                break
        await asyncio.gather(*pending)


def main(folder: str, address: str, pause: str, count: str, line: str = _RINGING) -> None:
    """Make the calls of this command line."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, 16384), limit))
    place = Path(folder)
    asyncio.run(_all(place, address, float(pause), int(count), line.encode()))
    (place / "done").touch()


if __name__ == "__main__":
    main(*sys.argv[1:])
