"""A name server of the tests' own: real sockets on loopback, and a test says what it answers."""

import socket
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import trio
from harness.ports import free_port

from mailbell.core.networks import Address, Family

__all__ = ["NameServer", "addresses", "answered", "quick", "refused", "truncated"]

Answer = Callable[[dns.message.Message, bool], bytes | None]
"""Makes the answer to a query; the second argument: it came by TCP. None: no answer."""


def answered(query: dns.message.Message, *records: str) -> dns.message.Message:
    """Answer with records as in a zone file: "name ttl IN type data"."""
    response = dns.message.make_response(query)
    for text in records:
        name, ttl, group, kind, data = text.split(maxsplit=4)
        response.answer.append(dns.rrset.from_text(name, int(ttl), group, kind, data))
    return response


def addresses(*found: str, ttl: int = 60) -> Answer:
    """Answer with those of the addresses that are of the family asked for."""

    def answer(query: dns.message.Message, by_tcp: bool) -> bytes:
        name, kind = query.question[0].name, query.question[0].rdtype.name
        family = Family.IPV4 if kind == "A" else Family.IPV6
        fit = [each for each in found if Address.parse(each).family is family]
        return answered(query, *(f"{name} {ttl} IN {kind} {each}" for each in fit)).to_wire()

    return answer


def quick(query: bytes, ipv4: str, ipv6: str) -> bytes:
    """Answer a query with an address, at the cost of a few operations."""
    is_ipv4 = query[-3] == 1
    family = socket.AF_INET if is_ipv4 else socket.AF_INET6
    address = socket.inet_pton(family, ipv4 if is_ipv4 else ipv6)
    record = b"\xc0\x0c" + query[-4:] + struct.pack("!IH", 60, len(address)) + address
    return query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:] + record


def refused(code: dns.rcode.Rcode) -> Answer:
    """Answer with an error."""

    def answer(query: dns.message.Message, by_tcp: bool) -> bytes:
        response = dns.message.make_response(query)
        response.set_rcode(code)
        return response.to_wire()

    return answer


def truncated(answer: Answer) -> Answer:
    """Answer by TCP only: by UDP say that the answer was cut off."""

    def cut(query: dns.message.Message, by_tcp: bool) -> bytes | None:
        if by_tcp:
            return answer(query, by_tcp)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.TC
        return response.to_wire()

    return cut


class NameServer:
    """One address and port, by UDP and TCP.

    Args:
        host: the address.
        port: the port; 0: one that is free for all addresses, so that another server can have
            it at another one.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.family: Final = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._tcp, self._udp = self._bound(port)
        self.port: int = self._tcp.getsockname()[1]
        self.answers: dict[str, Answer] = {}
        self.otherwise: Answer = refused(dns.rcode.NXDOMAIN)
        self.asked: Counter[tuple[str, str, bool]] = Counter()
        self.ports: set[int] = set()  # of the other side
        # Answers datagrams without a record of them, many at once.
        self.quick: Callable[[bytes], bytes | None] | None = None
        self.raw: Callable[[bytes, Any], None] | None = None  # sees each datagram first

    def _bound(self, port: int) -> tuple[socket.socket, socket.socket]:
        for _ in range(20):
            tcp = socket.create_server((self.host, port or free_port()), family=self.family)
            udp = socket.socket(self.family, socket.SOCK_DGRAM)
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                tcp.close()
                udp.close()
            else:
                tcp.setblocking(False)
                udp.setblocking(False)
                return tcp, udp
        raise OSError("no port is free for both")

    def close(self) -> None:
        """Close both sockets: nothing listens there any more."""
        self._tcp.close()
        self._udp.close()

    def configuration(self, folder: Path, *more: str) -> Path:
        """Write a resolv.conf with this server, after others."""
        path = folder / "resolv.conf"
        path.write_text("".join(f"nameserver {host}\n" for host in (*more, self.host)))
        return path

    def send(self, data: bytes, to: Any) -> None:
        """Send a datagram from the server's own address."""
        self._udp.sendto(data, to)

    async def serve(self) -> None:
        """Answer for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve_tcp, nursery)
            while True:
                await trio.lowlevel.wait_readable(self._udp)
                try:
                    while True:
                        data, whom = self._udp.recvfrom(512)
                        self.ports.add(whom[1])
                        if self.raw:
                            self.raw(data, whom)
                        answer = self.quick(data) if self.quick else self._answer(data, False)
                        if answer is not None:
                            self.send(answer, whom)
                except BlockingIOError:
                    continue

    async def _serve_tcp(self, nursery: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._tcp)
            sock, _ = self._tcp.accept()
            nursery.start_soon(self._speak, trio.SocketStream(trio.socket.from_stdlib_socket(sock)))

    async def _speak(self, stream: trio.SocketStream) -> None:
        async with stream:
            data = await stream.receive_some(1024)
            answer = self._answer(bytes(data[2:]), True) if data else None
            if answer is None:
                await trio.sleep_forever()
            else:
                await stream.send_all(struct.pack("!H", len(answer)) + answer)

    def _answer(self, data: bytes, by_tcp: bool) -> bytes | None:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        self.asked[name, query.question[0].rdtype.name, by_tcp] += 1
        return self.answers.get(name, self.otherwise)(query, by_tcp)
