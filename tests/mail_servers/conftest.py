"""For all mail servers: two hosts with a cable, and the user's machine on one of them."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from harness.netns import Pair, namespaces
from mail_servers.laptop import ADDRESSES, SERVER, Laptop, listening


@pytest.fixture(scope="module")
def hosts() -> Iterator[Pair]:
    """The mail server's host and the user's, with IPv4 and IPv6."""
    with namespaces(SERVER, ADDRESSES) as pair:
        yield pair


@pytest.fixture(scope="module")
def laptop(hosts: Pair) -> Iterator[Laptop]:
    """The user's machine, with a mailbelld and `mailbell watch`."""
    with TemporaryDirectory(prefix="mailbell-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with listening(folder, hosts.client) as machine:
            yield machine
