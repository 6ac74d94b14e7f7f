"""Names in real DNS: a name server on another host, at port 53, and the sender's own resolver."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from harness.daemon import until
from harness.name_server import quick
from harness.netns import Namespace, namespaces
from harness.sending import sending
from system.support import Local
from system.test_hook_to_subscriber import LAPTOP, SERVER, delivered, listening, toml

pytestmark = pytest.mark.unwatched(reason="the daemons do here what they do in other tests")


@contextmanager
def answering(host: Namespace, address: str) -> Iterator[list[bytes]]:
    """A name server on a host: it knows the laptop, and says nothing about other names.

    Yields:
        The questions that it got.
    """
    asked: list[bytes] = []
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 53))
        sock.settimeout(0.2)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                with suppress(TimeoutError):
                    query, whom = sock.recvfrom(512)
                    asked.append(query)
                    if b"laptop" in query.lower():
                        sock.sendto(quick(query, "192.0.2.2", "2001:db8::2"), whom)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            ended.set()
            thread.join()


def seeing(resolv_conf: Path) -> tuple[str, ...]:
    """A command that runs another one with this file in the place of /etc/resolv.conf."""
    # An ordinary user is root for mount(8) in a namespace, and after it who he was.
    back, view = "", ["unshare", "--mount"]
    if os.geteuid() != 0:
        back = f"unshare --map-user={os.getuid()} --map-group={os.getgid()}"
        view = ["unshare", "--user", "--map-root-user", "--mount"]
    return (*view, "sh", "-c", f'mount --bind {resolv_conf} /etc/resolv.conf && exec {back} "$@"',
            "sh")  # fmt: skip


def test_a_name_is_found_while_the_name_server_is_silent_about_another(open_path: Path) -> None:
    conf = open_path / "resolv.conf"
    conf.write_text("nameserver 192.0.2.2\n")
    targets = ["dead.example.net", "laptop.example.net"]
    with (
        namespaces(SERVER, LAPTOP) as hosts,
        listening(open_path / "laptop", hosts.client) as daemon,
        Local(daemon.path) as subscriber,
        answering(hosts.client, "192.0.2.2") as asked,
        sending(
            open_path, toml(open_path, targets), command=(*hosts.server.visit, *seeing(conf))
        ) as sender,
    ):
        subscriber.subscribe()
        delivered(sender, "anna")
        # RFC 8305: IPv6 is tried first, and IPv4 if IPv6 takes too long.
        assert subscriber.reply()["notification"]["source"] in {"2001:db8::1", "192.0.2.1"}
        until(lambda: any(b"dead" in query.lower() for query in asked), "the other question")
        until(lambda: sender.status().rings["sent"] == 1, "the count")
