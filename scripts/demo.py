"""Show the whole way of a mail, with real programs: `python -m scripts.demo`, or `make demo`.

A mail server and a laptop are started in namespaces of their own, over a clean Debian 13 that is
made on the first run and kept. An ordinary user can do the same where the kernel and /etc/subuid
give users namespaces. It ends by itself, and leaves nothing but that root directory.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from scripts.show.cast import marked, read
from scripts.show.machines import PACKAGES, SUITE
from scripts.show.picture import picture
from scripts.show.root import cache, lacks, made, namespaces, place

ROOT: Final = Path(__file__).resolve().parent.parent
MOMENT: Final = "junk"
"""The marker of the recording that the still picture is of."""


def main(arguments: list[str]) -> int:
    """Show it; return the exit code: 0: all of it has happened."""
    parser = argparse.ArgumentParser(description="Show the way of a mail, with real programs.")
    parser.add_argument(
        "--cast", type=Path, help="record it in this file (.cast), and a picture beside it (.svg)"
    )
    options = parser.parse_args(arguments)
    # An ordinary user's path often lacks these folders, in which are programs of root's.
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
    folder = cache(ROOT)
    root = place(folder, SUITE, PACKAGES)
    if lack := lacks(builds=not root.exists()):
        print(lack, file=sys.stderr)
        return os.EX_UNAVAILABLE
    try:
        _set_up(root)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return os.EX_UNAVAILABLE
    hold = folder / "hold"
    hold.mkdir(exist_ok=True)
    command = [*namespaces(network=False), sys.executable, "-m", "scripts.show.play"]
    command += [str(root), str(hold), *([str(options.cast.resolve())] if options.cast else [])]
    code = subprocess.run(command, cwd=ROOT, check=False, stdin=subprocess.DEVNULL).returncode  # noqa: S603 (our own words)
    if options.cast and not code:
        cast = read(options.cast.read_text())
        options.cast.with_suffix(".svg").write_text(picture(cast, marked(cast, MOMENT)))
    return code


def _set_up(root: Path) -> None:
    if root.exists():
        return
    began = time.monotonic()
    print(
        f"making a clean Debian 13 with {len(PACKAGES)} packages, once: it takes a minute or two",
        flush=True,
    )

    def told(step: str) -> None:
        print(f"{time.monotonic() - began:4.0f} s  {step}", flush=True)

    made(root, SUITE, PACKAGES, told)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
