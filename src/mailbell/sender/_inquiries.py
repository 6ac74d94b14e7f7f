"""Decides what the resolver asks which name server, and when. It sends and reads nothing.

A name becomes two questions, one for each family. A question goes by UDP to one name server after
another. It goes by TCP if the answer was cut off, or if it looks forged; and as a last resort,
if no server answers by UDP at all. A name that gets no answer holds back no other name.

An answer must come from the server that was asked, to the port of ours that asked, with the
number of the question and with the name in exactly our mixture of upper and lower case. A forger
who does not see the question must guess all of them: RFC 5452, section 4.

Source: RFC 1035, section 4; RFC 5452; RFC 7766, section 5.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Final, NamedTuple

from mailbell.core.networks import Address
from mailbell.sender._names import ADDRESSES, Answer, Reason

__all__ = ["IPV4", "IPV6", "MOST_OPEN", "TCP_WAIT", "Inquiries", "Reply", "Sending"]

IPV4: Final = 1
"""The type A: RFC 1035, section 3.2.2."""
IPV6: Final = 28
"""The type AAAA: RFC 3596, section 2.1."""
MOST_OPEN: Final = 16_384
"""Names that are asked for at once. The caller must not ask for more."""

UDP_WAITS: Final = (1.0, 2.0, 2.0)
"""Seconds that each attempt by UDP waits. The next attempt goes to the next server."""
TCP_WAIT: Final = 3.0
"""Seconds that an attempt by TCP may take. The caller keeps this time."""
TCP_TURN: Final = 6.0
"""Seconds that a question may wait for one of the places for TCP."""
TCP_PLACES: Final = 32
"""Attempts by TCP at once. Last resorts get half of them, because most of them fail."""
OTHER_FAMILY: Final = 1.5
"""Seconds that a name with addresses of one family waits for the other one: one lost datagram."""
WINDOW: Final = 200
YOUNG: Final = 0.25
"""A question is young for so many seconds, or until its answer. Only `WINDOW` questions are young
at once, so that neither the server's buffer nor ours overflows. An old one holds back nothing."""
FAILED_TTL: Final = 30
"""Seconds that a failure is remembered: RFC 9520, section 3.2, has 1 second to 5 minutes."""

_DEAF: Final = 3  # attempts in a row without an answer: UDP does not get there
_HEADER: Final = 12
_QUERY: Final = b"\1\0\0\1\0\0\0\0\0\0"  # recursion is desired; there is one question
_INTERNET: Final = b"\0\1"  # the class IN
_OPCODE: Final = 0x78  # bits of the third byte
_TRUNCATED: Final = 0x02


class Reply(NamedTuple):
    """What an answer of a name server says.

    Attributes:
        addresses: of the family that was asked for.
        ttl: how long it is true, in seconds.
        reason: why there is no address; `FAILED`: another server may know more.
    """

    addresses: tuple[Address, ...]
    ttl: int
    reason: Reason | None = None


_TIMEOUT: Final = Reply((), FAILED_TTL, Reason.TIMEOUT)
_FAILED: Final = Reply((), FAILED_TTL, Reason.FAILED)
# Of two reasons the first one is told.
_REASONS: Final = (Reason.NOT_FOUND, Reason.TIMEOUT, Reason.FAILED, Reason.NO_ADDRESS)
_FINAL: Final = -1  # the stamp of a deadline that ends a question whatever it waits for


class _Inquiry:
    """One name that was asked for."""

    __slots__ = ("name", "questions")

    def __init__(self, name: str) -> None:
        self.name = name
        self.questions = (Question(self, IPV6), Question(self, IPV4))


class Question:
    """One family of one name. All its attributes belong to `Inquiries`."""

    __slots__ = (
        "failure", "inquiry", "kind", "number", "order", "port", "reply", "server", "stamp", "step",
        "text", "young",
    )  # fmt: skip

    def __init__(self, inquiry: _Inquiry, kind: int) -> None:
        self.inquiry = inquiry
        self.kind = kind
        self.reply: Reply | None = None  # not None: it has ended
        self.failure = _TIMEOUT  # its end if nothing better comes
        self.step = 0  # the number of attempts by UDP that have failed
        self.order: list[int] = []  # the servers that are still to be asked
        self.server = self.port = self.number = -1
        self.text = b""  # the name, type and class, as they were sent last
        self.stamp = 0  # changes with each attempt, so that old deadlines mean nothing
        self.young = False


class Sending(NamedTuple):
    """What must be sent now.

    Attributes:
        question: for the calls that say what came of it.
        server: the place of the name server in the list.
        port: the place of the UDP socket in the list of that server; -1: send it by TCP.
        data: the message, without the length that TCP puts before it.
        last_resort: whether it goes by TCP because no server answers by UDP.
    """

    question: Question
    server: int
    port: int
    data: bytes
    last_resort: bool = False


class Inquiries:
    """All names that are asked for.

    Args:
        by_udp: for each name server, whether it can be asked by UDP.
        ports: how many UDP sockets there are for each server.
        draw: returns an unpredictable number of so many bits.
        read: reads the answer to a question about a family. It must not raise.
    """

    def __init__(
        self,
        *,
        by_udp: Sequence[bool],
        ports: int,
        draw: Callable[[int], int],
        read: Callable[[bytes, int], Reply],
    ) -> None:
        self._servers = range(len(by_udp))
        self._by_udp = [server for server in self._servers if by_udp[server]]
        self._ports = ports
        self._draw = draw
        self._read = read
        self._silent = [0] * len(by_udp)  # attempts by UDP in a row without an answer
        self._inquiries: dict[str, _Inquiry] = {}
        # By server and port: the questions that wait for a datagram, by their numbers.
        self._open: dict[tuple[int, int], dict[int, Question]] = {}
        self._new: deque[Question] = deque()
        self._again: deque[Question] = deque()
        self._tcp: deque[Question] = deque()
        self._last_resort: deque[Question] = deque()
        self._tcp_places = TCP_PLACES
        self._last_places = TCP_PLACES // 2
        self._sent: deque[tuple[float, Question, int]] = deque()
        self._young = 0
        self._deadlines: list[tuple[float, int, Question, int]] = []
        self._pushed = 0
        self._done: deque[Answer] = deque()

    def __len__(self) -> int:
        """Return how many names are asked for."""
        return len(self._inquiries)

    def ask(self, name: str, now: float) -> None:
        """Ask for a name. A name that is being asked for already is not asked for twice.

        Args:
            name: see `mailbell.sender._names.is_name`.
            now: the time in seconds.
        """
        if name in self._inquiries:
            return
        inquiry = self._inquiries[name] = _Inquiry(name)
        if self._by_udp:
            self._new.extend(inquiry.questions)
        else:
            for question in inquiry.questions:
                self._resort_to_tcp(question, now)

    def answers(self) -> Iterator[Answer]:
        """Take what was found since the last call."""
        while self._done:
            yield self._done.popleft()

    def next_due(self, now: float) -> float | None:
        """Return when `take` must be called at the latest; None: not before something happens.

        Args:
            now: the time in seconds.
        """
        times = [self._deadlines[0][0]] if self._deadlines else []
        if self._new or self._again:
            times.append(self._sent[0][0] + YOUNG if self._young >= WINDOW else now)
        return min(times, default=None)

    def take(self, now: float) -> list[Sending]:
        """Return what must be sent now. What waited too long is asked elsewhere, or ends.

        Args:
            now: the time in seconds.
        """
        self._expire(now)
        sendings = []
        while self._young < WINDOW and (question := _first(self._new) or _first(self._again)):
            sendings.append(self._send_datagram(question, now))
        while self._tcp_places and (question := _first(self._tcp)):
            sendings.append(self._send_stream(question))
        while self._tcp_places and self._last_places and (question := _first(self._last_resort)):
            question.server = question.order.pop(0)
            sendings.append(self._send_stream(question, last_resort=True))
        return sendings

    def datagram(self, server: int, port: int, data: bytes, now: float) -> None:
        """Take a datagram. What answers no question is ignored.

        Args:
            server: where it came from.
            port: which socket of that server it arrived at.
            data: the message.
            now: the time in seconds.
        """
        question = self._open.get((server, port), {}).get(int.from_bytes(data[:2], "big"))
        if question is None or not _answers(data, question, exactly=False):
            return
        self._silent[server] = 0
        self._close(question)
        if data[2] & _TRUNCATED or not _answers(data, question, exactly=True):
            self._wait_for_place(self._tcp, question, now)
        else:
            self._hear(question, self._read(data, question.kind), now)

    def refused(self, server: int, port: int, now: float) -> None:
        """Note that the kernel cannot send there, or that nobody listens there.

        Args:
            server: the name server.
            port: which socket of that server has the error.
            now: the time in seconds.
        """
        self._silent[server] = _DEAF
        for question in list(self._open.get((server, port), {}).values()):
            self._close(question)
            self._fail(question, now)

    def stream(self, sending: Sending, data: bytes | None, now: float) -> None:
        """Take what came of an attempt by TCP. Call it once for each attempt.

        Args:
            sending: what was sent.
            data: the answer without its length; None: there was none in time.
            now: the time in seconds.
        """
        question = sending.question
        self._tcp_places += 1
        self._last_places += sending.last_resort
        if question.reply is not None:
            return
        if data is not None:
            is_answer = _answers(data, question, exactly=True)
            reply = self._read(data, question.kind) if is_answer else _FAILED
            if reply.reason is not Reason.FAILED:
                self._end(question, reply, now)
                return
            question.failure = reply
        if sending.last_resort and question.order:
            self._wait_for_place(self._last_resort, question, now)
        else:
            self._end(question, question.failure, now)

    def _send_datagram(self, question: Question, now: float) -> Sending:
        if not question.step:
            question.order = sorted(self._by_udp, key=self._silent.__getitem__)
        server = question.order[question.step % len(question.order)]
        port = self._draw(16) % self._ports
        open_there = self._open.setdefault((server, port), {})
        number = self._draw(16)
        while number in open_there:
            number = self._draw(16)
        open_there[number] = question
        question.server, question.port, question.number = server, port, number
        data = self._compose(question)
        self._push(now + UDP_WAITS[question.step], question)
        self._sent.append((now, question, question.stamp))
        question.young = True
        self._young += 1
        return Sending(question, server, question.port, data)

    def _send_stream(self, question: Question, *, last_resort: bool = False) -> Sending:
        self._tcp_places -= 1
        self._last_places -= last_resort
        question.number = self._draw(16)
        question.stamp += 1  # the caller keeps the time from here
        return Sending(question, question.server, -1, self._compose(question), last_resort)

    def _compose(self, question: Question) -> bytes:
        """Write a query with a new mixture of upper and lower case."""
        name = question.inquiry.name
        mixture = self._draw(len(name))
        mixed = "".join(c.upper() if mixture >> i & 1 else c for i, c in enumerate(name))
        labels = b"".join(bytes([len(each)]) + each for each in mixed.encode("ascii").split(b"."))
        question.text = labels + b"\0" + question.kind.to_bytes(2, "big") + _INTERNET
        return question.number.to_bytes(2, "big") + _QUERY + question.text

    def _push(self, when: float, question: Question, stamp: int | None = None) -> None:
        if stamp is None:
            question.stamp += 1
            stamp = question.stamp
        self._pushed += 1  # equal times are told apart by it
        heappush(self._deadlines, (when, self._pushed, question, stamp))

    def _expire(self, now: float) -> None:
        while self._sent and self._sent[0][0] + YOUNG <= now:
            _, question, stamp = self._sent.popleft()
            if question.stamp == stamp:
                self._grow_old(question)
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, question, stamp = heappop(self._deadlines)
            if question.reply is None and stamp in {_FINAL, question.stamp}:
                self._be_too_late(question, now, is_final=stamp == _FINAL)

    def _be_too_late(self, question: Question, now: float, *, is_final: bool) -> None:
        was_asked = self._close(question)
        if is_final or not was_asked:  # or it waited for a place
            self._end(question, question.failure, now)
        else:
            self._silent[question.server] = min(self._silent[question.server] + 1, _DEAF)
            self._fail(question, now)

    def _fail(self, question: Question, now: float) -> None:
        """Go on with the next attempt after one by UDP that brought nothing."""
        question.step += 1
        if question.step < len(UDP_WAITS):
            self._again.append(question)
        elif question.failure is _TIMEOUT and self._is_deaf():
            self._resort_to_tcp(question, now)
        else:
            self._end(question, question.failure, now)

    def _is_deaf(self) -> bool:
        """Tell whether UDP gets to no server. If one answers, TCP would bring nothing more."""
        return all(self._silent[server] >= _DEAF for server in self._by_udp)

    def _resort_to_tcp(self, question: Question, now: float) -> None:
        question.order = list(self._servers)
        self._wait_for_place(self._last_resort, question, now)

    def _wait_for_place(self, queue: deque[Question], question: Question, now: float) -> None:
        queue.append(question)
        self._push(now + TCP_TURN, question)

    def _hear(self, question: Question, reply: Reply, now: float) -> None:
        if reply.reason is not Reason.FAILED:
            self._end(question, reply, now)
            return
        question.failure = reply
        question.step += 1
        # A server that cannot answer is not asked again.
        if question.step < min(len(question.order), len(UDP_WAITS)):
            self._again.append(question)
        else:
            self._end(question, reply, now)

    def _close(self, question: Question) -> bool:
        """Expect no datagram for a question any more; return whether one was expected."""
        self._grow_old(question)
        open_there = self._open.get((question.server, question.port), {})
        if open_there.get(question.number) is not question:
            return False
        del open_there[question.number]
        return True

    def _grow_old(self, question: Question) -> None:
        self._young -= question.young
        question.young = False

    def _end(self, question: Question, reply: Reply, now: float) -> None:
        question.reply = reply
        ipv6, ipv4 = question.inquiry.questions
        if ipv6.reply and ipv4.reply:
            self._conclude(question.inquiry.name, ipv6.reply, ipv4.reply)
        elif reply.addresses:
            self._push(now + OTHER_FAMILY, ipv4 if question is ipv6 else ipv6, _FINAL)

    def _conclude(self, name: str, *replies: Reply) -> None:
        del self._inquiries[name]
        most = ADDRESSES // 2
        found = tuple(address for reply in replies for address in reply.addresses[:most])
        ttl = min(reply.ttl for reply in replies)
        reason = next(r for r in (*_REASONS, None) if r in {reply.reason for reply in replies})
        self._done.append(Answer(name, found, ttl, None if found else reason))


def _first(questions: deque[Question]) -> Question | None:
    """Take the first question that has not ended."""
    while questions:
        question = questions.popleft()
        if question.reply is None:
            return question
    return None


def _answers(data: bytes, question: Question, *, exactly: bool) -> bool:
    """Tell whether a message is a response that repeats a question, in its very letters or in any.

    Source: RFC 1035, section 4.1.1; RFC 5452, section 9.1.
    """
    is_response = data[:2] == question.number.to_bytes(2, "big") and (
        data[2:3] > b"\x7f" and not data[2] & _OPCODE and data[4:6] == b"\0\1"
    )
    text = data[_HEADER : _HEADER + len(question.text)]
    # No length of a label is the number of a letter: labels have 63 characters at most.
    return is_response and (
        text == question.text if exactly else text.lower() == question.text.lower()
    )
