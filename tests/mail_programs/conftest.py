"""Fixtures of the mail programs' tests: a mail server, a listener, a home."""

import itertools
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from cli.support import words
from harness.daemon import Daemon, configuration, started
from harness.mailserver import MailServer, mail_servers
from harness.sender import PATIENCE
from mail_programs.support import Agent, Home, Mailbox, agents, homes

# All tests ring from the same address, one after another.
_NO_LIMIT = '[limits]\nrate = "1000/s"\nburst = 1000\n'
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[MailServer]:
    with mail_servers() as server:
        yield server


@pytest.fixture
def mailbox(server: MailServer) -> Mailbox:
    return Mailbox(server, f"anna{next(_NUMBERS)}")


@pytest.fixture(scope="session")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("mailbelld")
    with started(directory, configuration(directory, more=_NO_LIMIT)) as daemon:
        yield daemon


@pytest.fixture
def ring(listener: Daemon) -> Callable[[], None]:
    """Rings as a mail server does."""
    host, port = listener.endpoint()

    def ring() -> None:
        subprocess.run(words("mailbell", "send", f"{host}:{port}"), check=True, timeout=PATIENCE)

    return ring


@pytest.fixture
def home() -> Iterator[Home]:
    with homes() as home:
        yield home


@pytest.fixture
def run_agent(home: Home, listener: Daemon) -> Iterator[Callable[..., Agent]]:
    """Starts `mailbell run` with a preset and its words, or with a command."""
    with ExitStack() as stack:
        yield lambda *line: stack.enter_context(agents(home, listener.path, line))
