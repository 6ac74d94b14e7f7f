"""Whatever comes from name servers, each name gets one answer, and only a true reply decides it.

An input is steps: a datagram or a stream with any bytes, a refusal, or time that passes. A datagram
may be made of the question that is open, with a few of its bytes changed. All numbers that are
unpredictable in the resolver come from the input too.
"""

from mailbell.core.networks import Address, Family
from mailbell.sender._inquiries import Inquiries, Reply, Sending
from mailbell.sender._names import ADDRESSES, Reason

_NAMES = ("a.example", "host.example.net", "x")
_REPLY = Reply((Address(Family.IPV4, 1),), 60)
_FAILED = Reply((), 30, Reason.FAILED)
_PATIENCE = 60.0  # seconds after which each name has its answer


class Resolver:
    """Inquiries with the bytes of an input as their network and their clock."""

    def __init__(self, data: bytes, by_udp: list[bool]) -> None:
        self._data = data
        self._drawn = 0
        self.now = 0.0
        self.open: list[Sending] = []
        self.inquiries = Inquiries(by_udp=by_udp, ports=2, draw=self._draw, read=self._read)
        self.answered: list[str] = []

    def _draw(self, bits: int) -> int:
        self._drawn += 1  # a number that is drawn again must become another one
        seed = int.from_bytes(self._data[self._drawn % 16 :][:2], "big")
        return (seed * 31 + self._drawn * 7919) % (1 << bits)

    def _read(self, data: bytes, kind: int) -> Reply:
        assert kind in {1, 28}
        return _REPLY if data[3:4] == b"\x80" else _FAILED

    def settle(self) -> None:
        """Takes what is to be sent, and what was found."""
        for sending in self.inquiries.take(self.now):
            assert len(sending.data) <= 512
            self.open.append(sending)
        for answer in self.inquiries.answers():
            assert answer.name in _NAMES
            assert len(answer.addresses) <= ADDRESSES
            assert (answer.reason is None) == bool(answer.addresses)
            self.answered.append(answer.name)

    def step(self, code: int, body: bytes) -> None:
        """Does one thing that a network may do."""
        match code % 5:
            case 0:
                self.now += (body[0] if body else 1) / 64
            case 1:
                self.inquiries.datagram(code >> 4 & 1, code >> 5 & 1, body, self.now)
            case 2:
                self.inquiries.refused(code >> 4 & 1, code >> 5 & 1, self.now)
            case _:
                self._reply(code, body)
        self.settle()

    def _reply(self, code: int, body: bytes) -> None:
        """Answers a question that is open: its own bytes, some of them changed."""
        if not self.open:
            return
        sending = self.open[code % len(self.open)]
        data = bytearray(sending.data)
        data[2] |= 0x80
        for place, value in zip(body[::2], body[1::2], strict=False):
            data[place % len(data)] = value
        if sending.port >= 0:
            self.inquiries.datagram(sending.server, sending.port, bytes(data), self.now)
        else:
            self.open.remove(sending)
            self.inquiries.stream(sending, None if code & 0x80 else bytes(data), self.now)


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    if not data:
        return
    resolver = Resolver(data, [bool(data[0] & 1), bool(data[0] & 2)])
    for name in _NAMES:
        resolver.inquiries.ask(name, resolver.now)
        resolver.inquiries.ask(name, resolver.now)
    resolver.settle()
    rest = data[1:]
    while rest and len(resolver.answered) < len(_NAMES):
        size = rest[0] % 8
        resolver.step(rest[0], rest[1 : 1 + size])
        rest = rest[1 + size :]
    finish(resolver)


def finish(resolver: Resolver) -> None:
    """Lets time pass with no answer any more: then each name has exactly one."""
    until = resolver.now + _PATIENCE
    while resolver.now < until and len(resolver.inquiries):
        for sending in [each for each in resolver.open if each.port < 0]:
            resolver.open.remove(sending)
            resolver.inquiries.stream(sending, None, resolver.now)
        resolver.now += 0.5
        resolver.settle()
    resolver.settle()
    assert sorted(resolver.answered) == sorted(_NAMES)
    assert not len(resolver.inquiries)
