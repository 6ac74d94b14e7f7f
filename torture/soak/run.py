"""Runs a soak in namespaces of its own, and judges it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from torture.figures import Report
from torture.soak.house import SET_UP
from torture.soak.plan import HOUR, Plan, Record, read
from torture.soak.report import report

__all__ = ["Missing", "every", "measured", "run"]

ROOT: Final = Path(__file__).resolve().parents[2]
_PROGRAMS: Final = ("unshare", "ip", "mount", "sh")


class Missing(Exception):  # noqa: N818 (its name says what happened)
    """A soak cannot be run on this machine."""


def run(seconds: float, seed: int, say: Callable[[str], None]) -> Report:
    """Soak the programs for so long, and judge it.

    Args:
        seconds: how long the load lasts.
        seed: of everything that is chosen at random.
        say: is told how it goes, a line a minute.
    """
    plan = Plan(seconds=seconds, seed=seed, every=every(seconds), restart_every=min(seconds, HOUR))
    try:
        return report(measured(plan, say))
    except Missing as error:
        return Report(part="soak", skipped=str(error))
    except RuntimeError as error:
        return Report(part="soak", failures=(f"{error}; repeat: {plan}",))


def every(seconds: float) -> float:
    """Return how many seconds there are between two samples of a soak.

    Args:
        seconds: how long the load lasts.
    """
    return min(max(seconds / 360, 1.0), 10.0)


def measured(plan: Plan, say: Callable[[str], None], listener: Sequence[str] = ()) -> Record:
    """Soak the programs.

    Args:
        plan: what to do.
        say: is told how it goes, a line a minute.
        listener: what the interpreter runs as mailbelld; the real one if nothing.

    Returns:
        What was measured.

    Raises:
        Missing: the machine lacks something.
        RuntimeError: the programs did not start, or the soak has a bug.
    """
    if os.geteuid() != 0:
        raise Missing("it needs root: nobody else may see the memory of a locked process")
    lacks = [name for name in _PROGRAMS if shutil.which(name) is None]
    if lacks:
        raise Missing(f"there is no {', '.join(lacks)} here")
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the daemons pass through it as another user
        return _measured(plan, say, listener, folder)


def _measured(
    plan: Plan, say: Callable[[str], None], listener: Sequence[str], folder: Path
) -> Record:
    conf, asked, found = folder / "resolv.conf", folder / "plan.json", folder / "record.json"
    conf.write_text("nameserver 127.0.0.1\n")
    asked.write_bytes(msgspec.json.encode(plan))
    house = folder / "house"
    house.mkdir(mode=0o755)
    command = [
        "unshare", "--net", "--mount", "sh", "-c", SET_UP, "sh", str(conf),
        sys.executable, "-u", "-m", "torture.soak.inside", str(asked), str(found), str(house),
        *listener,
    ]  # fmt: skip
    environ = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ, text=True) as process:
        for line in process.stdout or ():
            say(line.rstrip())
    if process.returncode or not found.exists():
        raise RuntimeError(f"the soak ended with {process.returncode}")
    return read(found)
