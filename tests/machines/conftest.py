"""One machine for all claims: it is made, booted, and mailbell installed in it.

`make vm` names the machine in MAILBELL_MACHINE. A claim is shown with a test: a line is printed
for each, and noted as JSON for the table of docs/machines.md.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import pytest
from machines.claim import MARK, counts
from machines.description import MACHINES
from machines.documents import commands
from machines.guest import Guest, guest_on
from machines.mail_server import Sender, install_sender
from machines.making import make
from machines.person import Agent, install_agent
from machines.results import facts, note, show
from machines.wheels import source_tree, wheels

NAME: Final = os.environ.get("MAILBELL_MACHINE", "")
WHOLE: Final = os.environ.get("MAILBELL_WHOLE") == "1"
SMOKE: Final = os.environ.get("MAILBELL_SMOKE") == "1"
HERE: Final = Path(__file__).parent

# pip finds everything in this folder of the machine, which has no way out.
_OFFLINE: Final = "export PIP_NO_INDEX=1 PIP_FIND_LINKS=/root/wheels PIP_ROOT_USER_ACTION=ignore"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the claims that are not of this machine, and in a short run all but a few."""
    if not NAME:
        return
    here = [item for item in items if item.path.is_relative_to(HERE)]
    left_out = [
        item
        for item in here
        for mark in [item.get_closest_marker(MARK)]
        if not counts(item.path.stem.removeprefix("test_"), MACHINES[NAME].claims)
        or (SMOKE and not (mark and mark.kwargs["smoke"]))
    ]
    config.hook.pytest_deselected(items=left_out)
    kept = [item for item in items if item not in left_out]
    # First what is claimed of a machine without mailbell's services.
    items[:] = sorted(kept, key=lambda item: "guest" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def bare() -> Iterator[Guest]:
    """The machine, booted, with nothing of mailbell."""
    if not NAME:
        pytest.skip("`make vm` makes the machine")
    machine = MACHINES[NAME]
    made = make(machine, _say)
    with guest_on(machine, made.kernel, made.disk, made.keys) as guest:
        why = guest.emulator.why_emulated
        how = f"emulated ({why})" if why else "with KVM"
        _say(f"boot of Linux {guest.kernel.version}, {how}: {guest.boot:.0f} s")
        note(facts(guest))
        yield guest


@pytest.fixture(scope="session")
def program(bare: Guest, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """The machine with mailbell as docs/quickstart.md installs it, word by word."""
    folder = tmp_path_factory.mktemp("installed")
    python = bare.run("python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'").strip()
    found = wheels(bare.machine.architecture, python)
    bare.put(found, "/root")
    bare.run(f"mv /root/{found.name} /root/wheels")
    bare.put(source_tree(folder), "/root")
    # The machine has python3-venv, and the first command needs a network.
    install = " && ".join(commands("docs/quickstart.md", "pip install .")[1:])
    link = commands("docs/service.md", "useradd --system")[0]
    bare.run(f"cd /root/mailbell && {_OFFLINE} && {install} && {link}", timeout=900)
    return bare


@pytest.fixture(scope="session")
def guest(program: Guest) -> Guest:
    """The machine with mailbelld as docs/service.md installs it, word by word."""
    program.run("set -e\n" + "\n".join(commands("docs/service.md", "sysusers.d/mailbell.conf")))
    return program


@pytest.fixture(scope="session")
def lingering(guest: Guest) -> Agent:
    """The agent of the machine's ordinary user, as docs/agent.md installs it."""
    return install_agent(guest)


@pytest.fixture(scope="session")
def sender(guest: Guest) -> Sender:
    """mailbell-sender, as docs/service.md installs it, word by word."""
    return install_sender(guest)


def _say(text: str) -> None:
    print(f"      {NAME}: {text}", flush=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Print and note what was shown."""
    report = yield
    mark = item.get_closest_marker(MARK)
    decided = report.when == "call" or not report.passed
    if NAME and mark and decided:
        show(item, mark.args[0], report)
    return report


def pytest_sessionfinish(exitstatus: int) -> None:
    """Note that the run came to its end, whatever it has shown: the table takes only such runs."""
    if NAME and exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        note({"machine": NAME, "whole": WHOLE})
