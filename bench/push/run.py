"""Measures pushing, waiting and polling: `python bench/push/run.py [--quick]`. See docs/push.md.

A full run writes bench/push/results.json, bench/push/results.png, and the tables of README.md and
docs/push.md. `--quick` writes results into bench/build/push/ only. Exit code 0: all was measured;
70: something could not be measured, and nothing is written.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).resolve().parents[2]
if not __package__:  # started by its path, which puts its own folder on the search path
    sys.path[0] = str(ROOT)
if str(ROOT / "tests") not in sys.path:  # namespaces and clean roots are those of the tests
    sys.path.append(str(ROOT / "tests"))

from harness.netns import Pair, namespaces  # noqa: E402  it is found only now
from packages.roots import clean_root  # noqa: E402  it is found only now

from bench.processes import BUILD, Failed  # noqa: E402  it is found only now
from bench.push import crowd, page, wires  # noqa: E402  it is found only now
from bench.push.picture import draw  # noqa: E402  it is found only now
from bench.push.record import FULL, QUICK, Plan, Run, Way  # noqa: E402  it is found only now
from bench.push.server import PACKAGES, certificate  # noqa: E402  it is found only now
from bench.push.settings import SERVER  # noqa: E402  it is found only now
from bench.report import Machine  # noqa: E402  it is found only now

__all__ = ["main", "measure"]

HERE: Final = Path(__file__).resolve().parent
_NEEDED: Final = ("unshare", "nsenter", "setpriv", "ip", "openssl", "mmdebstrap")
_CROWD: Final = tuple(f"192.0.2.{n}" for n in range(30, 50))


def measure(plan: Plan) -> Run:
    """Measure everything, and report the progress on stderr.

    Args:
        plan: how much.

    Raises:
        Failed: it cannot be measured here, or something else happened than what is to be measured.
    """
    _possible()
    for suite in plan.suites:
        with _step(f"Debian's {suite}, which is made once"):
            clean_root(suite, *PACKAGES)
    machine = Machine.here()
    with ExitStack() as stack:
        keys = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
        certificate(keys)
        watch = stack.enter_context(wires.watched(plan, _pair(stack, wires.ADDRESSES), keys))
        bench = crowd.Bench(plan, _pair(stack, _CROWD), keys, _CROWD)
        ways = tuple(_ways(bench))
        with _step(f"one user each, at least {plan.window:.0f} s"):
            seen = watch.finish()
    wires.check(seen)
    return Run(plan, machine, os.getloadavg()[0], version("mailbell"), ways, seen)


def _possible() -> None:
    if os.geteuid() != 0:
        raise Failed("Dovecot over a clean Debian needs root")
    for program in _NEEDED:
        if shutil.which(program) is None:
            raise Failed(f"{program} is not installed")


def _pair(stack: ExitStack, addresses: Sequence[str]) -> Pair:
    ours = [f"{address}/24" for address in addresses]
    return stack.enter_context(namespaces([f"{SERVER}/24"], ours))


def _ways(bench: crowd.Bench) -> Iterator[Way]:
    steps: list[tuple[str, Callable[[], Way]]] = []
    for suite in bench.plan.suites:
        name = f"IDLE, Dovecot {crowd.NAMES[suite]}"
        steps += [
            (name, partial(crowd.idle, bench, suite)),
            (f"{name}, hibernation", partial(crowd.idle, bench, suite, hibernates=True)),
            (f"mailbell, Dovecot {crowd.NAMES[suite]}", partial(crowd.rung, bench, suite)),
        ]
    if bench.plan.with_tls:
        steps.append(("IDLE, Dovecot 2.4, TLS", partial(crowd.memory_with_tls, bench, "trixie")))
    for name, step in steps:
        with _step(name):
            way = step()
        yield way
    # Both at once: a poll comes when it comes, so little depends on how fast the machine is.
    with _step("IMAP and POP3, polled"), ThreadPoolExecutor() as pool:
        imap = pool.submit(crowd.polled, bench, "imap", 1143)
        pop3 = pool.submit(crowd.polled, bench, "pop3", 1153)
        found = (imap.result(), pop3.result())
    yield from found


@contextmanager
def _step(name: str) -> Iterator[None]:
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    began = time.monotonic()
    yield
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)


def main(words: Sequence[str] | None = None) -> int:
    """Return the exit code.

    Args:
        words: the words of the command line; None: those of this process.
    """
    parser = argparse.ArgumentParser(description="Compares RFC 4146 with IDLE and with polling.")
    parser.add_argument("--quick", action="store_true", help="fewer users, in a minute")
    options = parser.parse_args(words)
    try:
        run = measure(QUICK if options.quick else FULL)
    except Failed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 70
    folder = BUILD / "push" if options.quick else HERE
    folder.mkdir(parents=True, exist_ok=True)
    record = msgspec.json.format(msgspec.json.encode(run))
    (folder / "results.json").write_bytes(record + b"\n")
    draw(run, folder / "results.png")
    print(page.report(run))
    return 0 if options.quick else page.main(["--write"])


if __name__ == "__main__":
    sys.exit(main())
