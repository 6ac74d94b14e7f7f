"""Boot real machines, and show each claim of tests/machines in them: `make vm`.

    python scripts/vm.py [--smoke] [MACHINE...]

Without a name all machines of tests/machines/machines.toml are tried, one after another. What
they show is noted in .cache/machines.jsonl; `scripts/machine_table.py --results FILE` makes the
table of docs/machines.md from it. With --smoke a few claims are tried, and no results are kept.
The exit code is 0 if each machine has shown every claim, but for those that tests/conftest.py
lets it leave out (ALLOWED).
"""

import fcntl
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
TESTS: Final = ROOT / "tests" / "machines"
RESULTS: Final = ROOT / ".cache" / "machines.jsonl"
LIMIT: Final = 6 * 3600  # seconds for one machine, also if it is emulated beside other load
# What Debian's packages install, and the package.
PROGRAMS: Final = {
    "mmdebstrap": "mmdebstrap", "ssh": "openssh-client",
    "ssh-keygen": "openssh-client", "mke2fs": "e2fsprogs", "zstd": "zstd", "setpriv": "util-linux",
}  # fmt: skip
# The same, by the architecture of a machine.
EMULATORS: Final = {
    "amd64": {"qemu-system-x86_64": "qemu-system-x86"},
    "arm64": {"qemu-system-aarch64": "qemu-system-arm"},
}


def main(arguments: list[str]) -> int:
    """Try machines; return the exit code."""
    known = tomllib.loads((TESTS / "machines.toml").read_text())
    smoke = "--smoke" in arguments
    names = [word for word in arguments if word != "--smoke"] or list(known)
    for name in names:
        if name not in known:
            print(f"there is no machine {name!r}; there are: {', '.join(known)}", file=sys.stderr)
            return os.EX_USAGE
    if missing := _missing({known[name]["architecture"] for name in names}):
        print(f"this needs: apt-get install {' '.join(missing)}", file=sys.stderr)
        return os.EX_UNAVAILABLE
    if os.geteuid() != 0:
        print("to make a machine's disk needs root", file=sys.stderr)
        return os.EX_NOPERM
    RESULTS.parent.mkdir(exist_ok=True)
    with open(RESULTS.with_suffix(".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another run goes on; its results are in the same file", file=sys.stderr)
            return os.EX_TEMPFAIL
        if not smoke:
            RESULTS.unlink(missing_ok=True)
        failed = [name for name in names if not _tried(name, smoke=smoke)]
    if failed:
        print(f"not everything was shown by: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _missing(architectures: Iterable[str]) -> list[str]:
    programs = PROGRAMS | {k: v for each in architectures for k, v in EMULATORS[each].items()}
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    found = {name for place in path.split(":") for name in programs if Path(place, name).exists()}
    return sorted({package for name, package in programs.items() if name not in found})


def _tried(name: str, *, smoke: bool) -> bool:
    print(f"== {name}", flush=True)
    begun = time.monotonic()
    environment = os.environ | {
        "MAILBELL_MACHINE": name,
        "MAILBELL_MACHINES_RESULTS": "" if smoke else str(RESULTS),
        "MAILBELL_SMOKE": "1" if smoke else "0",
        "MAILBELL_WHOLE": "0" if smoke else "1",
        # A claim that is left out for a reason that is not listed was not shown.
        "MAILBELL_STRICT": "1",
    }
    command = [
        "setpriv", "--pdeathsig", "KILL", "--",  # it ends with this process
        sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", str(TESTS),
    ]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 (our own tests)
            command, check=False, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, timeout=LIMIT
        )
        code = done.returncode  # also that of pytest when no claim was left
    except subprocess.TimeoutExpired as late:
        print(late, file=sys.stderr)
        code = os.EX_TEMPFAIL
    print(f"== {name}: {'shown' if code == 0 else 'FAILED'}, {time.monotonic() - begun:.0f} s")
    return code == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
