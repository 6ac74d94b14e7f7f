"""README.md: from a copy of the project on a bare Debian to the first ring."""

import sys
from pathlib import Path

import pytest
from documents.blocks import ROOT, Block, block, is_printed, steps
from documents.walk import Walk
from machines.cache import CACHE, cache_locked, kept
from machines.processes import run
from machines.wheels import source_tree
from packages.conftest import Boot
from packages.roots import SUITES

START = "Start in 60 seconds"
LOCKED = ("build.txt", "run.txt")
WHEELS = "/srv/wheels"
OUTPUT = "/tmp/first-terminal"


def start(ordinal: int) -> Block:
    return block("README.md", START, ordinal)


@pytest.mark.parametrize("suite", ["trixie", "bookworm"])
def test_from_a_copy_to_the_first_ring(boot: Boot, suite: str, tmp_path: Path) -> None:
    system = boot(suite)
    person = system.person("anna")
    system.put(source_tree(tmp_path), f"/home/{person}")
    system.run(f"chown -R {person}: /home/{person}")
    system.put(locked_wheels(SUITES[suite]), "/srv")
    system.run(f"mv /srv/* {WHEELS}")
    walk = Walk(system, person)
    install, start_it = steps(start(0).text)
    walk.take(start(0), install)

    (ring_it,) = steps(start(1).text)
    terminal = f"cd mailbell; export PIP_NO_INDEX=1 PIP_FIND_LINKS={WHEELS}"
    first = system.popen("runuser", "-l", person, "-c", f"{terminal}; {start_it.command} >{OUTPUT}")
    try:
        system.until(f"grep -q 'look at it' {OUTPUT}", "the listener")
        assert is_printed(start_it.printed, system.run(f"cat {OUTPUT}"))
        assert system.run(f"cd mailbell; {ring_it.command}", user=person) == ""
        system.until(f"grep -q 127.0.0.1$ {OUTPUT}", "the ring")
        shown = (*start_it.printed, *start(2).text.splitlines())
        assert is_printed(shown, system.run(f"cat {OUTPUT}"))
    finally:
        first.kill()
        first.wait()


def locked_wheels(python: str) -> Path:
    """Download what `make run` downloads: the versions that requirements/ names."""
    files = [ROOT / "requirements" / name for name in LOCKED]
    command = (
        sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-deps",
        "--only-binary=:all:", "--python-version", python, "--platform=manylinux_2_17_x86_64",
        "--platform=manylinux_2_28_x86_64",
        "--platform=manylinux2014_x86_64", *(f"--requirement={file}" for file in files),
    )  # fmt: skip
    made_of = (python, [file.read_text() for file in files])
    with cache_locked():
        return kept(
            CACHE / "locked", f"wheels-{python}", made_of,
            lambda new: run(*command, "--dest", new),
        )  # fmt: skip
