"""Unusual allocators: under each of them the daemon keeps serving, or does not start.

Each allocator asks the kernel in its own way, and in some ways only when memory grows. So each
daemon here must take tens of MiB: for subscribers that missed everything of many accounts, for
sources, and for connections that wait. An operator chooses an allocator by an environment
variable: `PYTHONMALLOC`, `GLIBC_TUNABLES`, `LD_PRELOAD`.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import LINE, Daemon, configuration, ring, started, until
from harness.sender import PATIENCE, sent, unread
from harness.tracee import mappings
from system.support import GENEROUS, Local, loopback, rss

pytestmark = pytest.mark.long

ACCOUNTS: Final = 10_000
NOTIFIED: Final = 1000  # accounts that get a notification
SUBSCRIBERS: Final = 250
WAITING: Final = 250
# KiB, at least. An idle daemon with so many accounts has 40 MiB. Some allocators keep what
# they took at the start and use that first.
GROWN: Final = 60 * 1024
AGAIN: Final = 8 * 1024  # KiB, at most, that a second time of the same takes

JEMALLOC: Final = "libjemalloc.so.2"
TCMALLOC: Final = "libtcmalloc_minimal.so.4"
FOLDERS: Final = ("/usr/lib", "/usr/lib64", "/usr/local/lib")


def found(pattern: str) -> list[Path]:
    """The libraries of some name that are installed."""
    places = (pattern, f"*/{pattern}")  # a folder for each kind of processor, on Debian
    paths = (path for folder in FOLDERS for place in places for path in Path(folder).glob(place))
    return sorted({path.resolve() for path in paths})


# Each is the file of one version, as in libmimalloc.so.2.0.
MIMALLOCS: Final = found("libmimalloc.so.[0-9]*")
OLD: Final = [path for path in MIMALLOCS if re.search(r"\.so\.(1|2\.0)", path.name)]

ALLOCATORS: Final[dict[str, Mapping[str, str]]] = {
    "as it is": {},
    "malloc": {"PYTHONMALLOC": "malloc"},
    "debug": {"PYTHONMALLOC": "debug"},
    "jemalloc": {"LD_PRELOAD": JEMALLOC, "PYTHONMALLOC": "malloc"},
    "tcmalloc": {"LD_PRELOAD": TCMALLOC, "PYTHONMALLOC": "malloc"},
    "transparent huge pages": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
    "huge pages": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=2", "PYTHONMALLOC": "malloc"},
    "a mapping for each": {
        "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=4096:glibc.malloc.arena_max=1"
    },
}
for each in MIMALLOCS:
    if each not in OLD:
        ALLOCATORS[each.name] = {"LD_PRELOAD": each.name}
if sys.version_info >= (3, 13):
    ALLOCATORS["CPython's mimalloc"] = {"PYTHONMALLOC": "mimalloc"}


def installed(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment, with the whole path of the preloaded library."""
    name = environ.get("LD_PRELOAD")
    if name is None:
        return dict(environ)
    libraries = found(name)
    if not libraries:
        pytest.skip(f"{name} is not installed")
    return {**environ, "LD_PRELOAD": str(libraries[0])}


def many_accounts() -> str:
    one = '[[account]]\nname = "account-{0}"\nsources = ["{1}"]\n'
    return "".join(one.format(number, caller) for number, caller in enumerate(callers(ACCOUNTS)))


def callers(number: int) -> list[str]:
    """An address for each of so many accounts."""
    return [address for first in range(1, 1 + number // 250) for address in loopback(first)]


@contextmanager
def loaded(daemon: Daemon, endpoint: tuple[str, int]) -> Iterator[None]:
    """Many subscribers that read nothing, all sources, and connections that wait."""
    with ExitStack() as stack:
        for _ in range(SUBSCRIBERS):
            local = stack.enter_context(Local(daemon.path))
            local.call("Subscribe", {"after": {"epoch": "another", "sequence": 1}}, more=True)
            local.reply()
        for source in callers(NOTIFIED):
            ring(endpoint, source=source)
        for source in callers(WAITING):
            stack.enter_context(sent(endpoint, LINE[:5], source))
        until(lambda: daemon.status().connections == WAITING)
        assert daemon.status().accounts_total == ACCOUNTS
        yield
    until(lambda: daemon.status().subscribers == 0)


@pytest.mark.parametrize("name", ALLOCATORS)
def test_it_serves_while_memory_grows_and_keeps_no_more_the_second_time(
    name: str, tmp_path: Path
) -> None:
    environ = installed(ALLOCATORS[name])
    toml = configuration(tmp_path, tcp=["127.0.0.1:0"], more=GENEROUS + many_accounts())
    toml = toml.replace("[socket]", f"[socket]\nsubscribers = {SUBSCRIBERS}")
    peaks = []
    with started(tmp_path, toml, environ=environ) as daemon:
        library = environ.get("LD_PRELOAD")
        if library and os.geteuid() == 0:  # only root may look into the daemon's memory
            assert Path(library).resolve() in paths(daemon)
        endpoint, before = daemon.endpoint(), rss(daemon)
        for _ in range(4 if "mimalloc.so.3" in name else 2):
            with loaded(daemon, endpoint):
                peaks.append(rss(daemon))
            with sent(endpoint, LINE) as last:
                assert unread(last) == b""
        print(f"resident: {before} KiB, at the peaks {peaks}")
        assert peaks[0] > GROWN
        # mimalloc 3 takes what it keeps in three portions (117, 126, 128 MiB), and then no more.
        assert peaks[-1] - peaks[-2] < AGAIN
        assert daemon.stop() == 0
        assert [line for line in daemon.lines() if "event=failed" in line] == []


def paths(daemon: Daemon) -> set[Path]:
    return {Path(each.path) for each in mappings(daemon.pid) if each.path.startswith("/")}


@pytest.mark.skipif(not MIMALLOCS, reason="mimalloc is not installed")
def test_what_the_sandbox_does_not_permit_is_refused_at_the_start(tmp_path: Path) -> None:
    """mimalloc 2.0 needs mprotect(2) to make memory usable. The other tests try newer ones."""
    for library in OLD:
        require_refused(library, tmp_path)


def require_refused(library: Path, tmp_path: Path) -> None:
    file = tmp_path / "mailbelld.toml"
    file.write_text(configuration(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "mailbell.cli.mailbelld", "--config", str(file)],
        env={**os.environ, "LD_PRELOAD": str(library)}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (71, ""), done
    (line,) = done.stderr.splitlines()
    assert line == (
        "mailbelld: the allocator mimalloc before 2.1 cannot work in the sandbox; unset LD_PRELOAD"
    )
