"""What is asked of which name server, and when: no name holds back another one."""

from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailbell.core.networks import Address
from mailbell.sender._inquiries import (
    IPV4,
    IPV6,
    MOST_OPEN,
    OTHER_FAMILY,
    TCP_PLACES,
    TCP_TURN,
    TCP_WAIT,
    UDP_WAITS,
    WINDOW,
    YOUNG,
    Inquiries,
    Reply,
    Sending,
)
from mailbell.sender._names import Answer, Reason
from mailbell.sender._resolver_client import PATIENCE

ONE = Address.parse("192.0.2.7")
SIX = Address.parse("2001:db8::7")
GOOD = b"good"
FAILED = Reply((), 0, Reason.FAILED)
NOT_FOUND = Reply((), 90, Reason.NOT_FOUND)
NO_ADDRESS = Reply((), 80, Reason.NO_ADDRESS)
READINGS = {
    b"good": {IPV4: Reply((ONE,), 300), IPV6: Reply((SIX,), 200)},
    b"four": {IPV4: Reply((ONE,), 300), IPV6: NO_ADDRESS},
    b"none": {IPV4: NO_ADDRESS, IPV6: NO_ADDRESS},
    b"deny": {IPV4: NOT_FOUND, IPV6: NOT_FOUND},
    b"fail": {IPV4: FAILED, IPV6: FAILED},
    b"many": {IPV4: Reply((ONE,) * 50, 300), IPV6: Reply((SIX,) * 50, 300)},
}


def read(data: bytes, kind: int) -> Reply:
    return READINGS[data[-4:]][kind]


def made(by_udp: Sequence[bool] = (True,), ports: int = 4) -> Inquiries:
    return Inquiries(by_udp=by_udp, ports=ports, draw=Random(1).getrandbits, read=read)


def response(sending: Sending, says: bytes = GOOD, flags: int = 0x81) -> bytes:
    data = sending.data
    return data[:2] + bytes([flags]) + data[3:] + says


def answer(inquiries: Inquiries, sending: Sending, says: bytes = GOOD, now: float = 0.0) -> None:
    inquiries.datagram(sending.server, sending.port, response(sending, says), now)


def name_of(sending: Sending) -> str:
    """The name of a query, read in the plainest way."""
    labels, at = [], 12
    while size := sending.data[at]:
        labels.append(sending.data[at + 1 : at + 1 + size].decode())
        at += 1 + size
    return ".".join(labels).lower()


def kind_of(sending: Sending) -> int:
    return int.from_bytes(sending.data[-4:-2], "big")


def begun(inquiries: Inquiries, name: str = "laptop.example.net") -> list[Sending]:
    inquiries.ask(name, 0.0)
    return inquiries.take(0.0)


def end(inquiries: Inquiries, now: float, step: float = 0.05, until: float = 60.0) -> float:
    """Let time pass while nothing answers; return when the last name ended."""
    while len(inquiries) and now < until:
        now += step
        for sending in inquiries.take(now):
            if sending.port < 0:
                inquiries.stream(sending, None, now)
    return now


def test_a_query_is_one_question_in_a_mixture_of_letters() -> None:
    first, second = begun(made(), "laptop.example.net")
    assert {kind_of(first), kind_of(second)} == {IPV4, IPV6}
    for sending in (first, second):
        assert not sending.last_resort
        assert name_of(sending) == "laptop.example.net"
        assert sending.data[2:12] == bytes.fromhex("01000001000000000000")
        text = sending.data[12:-4]
        assert text != text.lower() != text.upper() != text
    assert first.data[:2] != second.data[:2]


def test_a_query_has_the_form_of_rfc_1035() -> None:
    numbers = iter([0, 0x0102, 0, 0x0304])
    inquiries = Inquiries(
        by_udp=[True],
        ports=1,
        draw=lambda bits: next(numbers) if bits == 16 else (1 << bits) - 1,
        read=read,
    )
    text = b"\x06LAPTOP\x07EXAMPLE\x03NET\0"
    header = b"\1\0\0\1\0\0\0\0\0\0"
    assert [sending.data for sending in begun(inquiries)] == [
        b"\1\2" + header + text + b"\0\x1c\0\1",
        b"\3\4" + header + text + b"\0\x01\0\1",
    ]


def test_how_long_a_question_may_take_and_how_many_there_may_be() -> None:
    assert (UDP_WAITS, TCP_TURN, TCP_WAIT) == ((1.0, 2.0, 2.0), 6.0, 3.0)
    assert (OTHER_FAMILY, YOUNG) == (1.5, 0.25)
    assert (TCP_PLACES, WINDOW, MOST_OPEN) == (32, 200, 16_384)


def test_both_families_are_one_answer() -> None:
    inquiries = made()
    for sending in begun(inquiries):
        answer(inquiries, sending)
    assert list(inquiries.answers()) == [Answer("laptop.example.net", (SIX, ONE), 200)]
    assert list(inquiries.answers()) == []
    assert len(inquiries) == 0


def test_a_name_is_asked_for_once_at_a_time() -> None:
    inquiries = made()
    assert len(begun(inquiries)) == 2
    assert begun(inquiries) == []
    assert len(inquiries) == 1


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        (b"four", Answer("a", (ONE,), 80)),
        (b"none", Answer("a", (), 80, Reason.NO_ADDRESS)),
        (b"deny", Answer("a", (), 90, Reason.NOT_FOUND)),
        (b"fail", Answer("a", (), 0, Reason.FAILED)),
    ],
)
def test_what_a_name_server_says(says: bytes, expected: Answer) -> None:
    inquiries = made()
    for sending in begun(inquiries, "a"):
        answer(inquiries, sending, says)
    assert list(inquiries.answers()) == [expected]


def test_of_many_addresses_some_of_each_family_are_kept() -> None:
    inquiries = made()
    for sending in begun(inquiries):
        answer(inquiries, sending, b"many")
    (found,) = inquiries.answers()
    assert found.addresses == (SIX,) * 8 + (ONE,) * 8


def test_one_family_does_not_wait_long_for_the_other() -> None:
    inquiries = made()
    (four,) = [each for each in begun(inquiries) if kind_of(each) == IPV4]
    answer(inquiries, four, now=0.1)
    inquiries.take(OTHER_FAMILY)  # the other one is asked again
    assert list(inquiries.answers()) == []
    inquiries.take(0.1 + OTHER_FAMILY)
    assert list(inquiries.answers()) == [Answer("laptop.example.net", (ONE,), 30)]


def test_the_other_family_may_still_wait_to_be_sent() -> None:
    inquiries = made()
    for number in range(WINDOW):
        inquiries.ask(f"n{number}", 0.0)
    sent = inquiries.take(0.0)
    assert len(sent) == WINDOW
    inquiries.ask("last", 0.0)
    assert inquiries.next_due(0.0) == YOUNG
    later = inquiries.take(YOUNG)
    assert "last" not in {name_of(each) for each in later}  # the window is full again
    assert len(later) == WINDOW


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d[:0],
        lambda d: d[:1],
        lambda d: d[:12],
        lambda d: bytes([d[0] ^ 1]) + d[1:],  # another number
        lambda d: d[:2] + b"\x01" + d[3:],  # a query
        lambda d: d[:2] + b"\x91" + d[3:],  # another operation
        lambda d: d[:4] + b"\0\2" + d[6:],  # two questions
        lambda d: d[:13] + b"q" + d[14:],  # another name
        lambda d: d[:12] + d[12:].replace(b"\0\x01\0\x01", b"\0\x05\0\x01"),
    ],
)  # fmt: skip
def test_what_does_not_repeat_the_question_is_ignored(spoil: Callable[[bytes], bytes]) -> None:
    inquiries = made()
    sendings = begun(inquiries)
    (four,) = [each for each in sendings if kind_of(each) == IPV4]
    inquiries.datagram(four.server, four.port, spoil(response(four)), 0.0)
    assert [four.question.reply, len(inquiries)] == [None, 1]
    answer(inquiries, four)
    assert four.question.reply is not None


def test_an_answer_from_another_server_or_to_another_port_is_ignored() -> None:
    inquiries = made((True, True))
    first, _ = begun(inquiries)
    inquiries.datagram(1 - first.server, first.port, response(first), 0.0)
    inquiries.datagram(first.server, (first.port + 1) % 4, response(first), 0.0)
    assert first.question.reply is None


@pytest.mark.parametrize("sort", ["other letters", "cut off"])
def test_what_may_be_forged_or_was_cut_off_is_asked_again_by_tcp(sort: str) -> None:
    inquiries = made()
    first, second = begun(inquiries, "abcdefghijklmn.example")
    answer(inquiries, second)
    data = response(first)
    changed = data[:12] + data[12:-4].swapcase() + data[-4:]
    changed = changed if sort == "other letters" else response(first, flags=0x83)
    inquiries.datagram(first.server, first.port, changed, 0.0)
    (by_tcp,) = inquiries.take(0.0)
    assert (by_tcp.port, by_tcp.server, by_tcp.last_resort) == (-1, first.server, False)
    answer(inquiries, first)  # too late by UDP
    inquiries.stream(by_tcp, response(by_tcp), 0.0)
    (found,) = inquiries.answers()
    assert found.addresses == (SIX, ONE)


@pytest.mark.parametrize("data", [None, b"", b"\0" * 40])
def test_nothing_and_nonsense_by_tcp_end_the_question(data: bytes | None) -> None:
    inquiries = made()
    for sending in begun(inquiries):
        inquiries.datagram(0, sending.port, response(sending, flags=0x83), 0.0)
    for sending in inquiries.take(0.0):
        inquiries.stream(sending, data, 0.0)
    (found,) = inquiries.answers()
    assert found.reason is (Reason.TIMEOUT if data is None else Reason.FAILED)


def test_a_silent_server_is_asked_three_times_and_then_by_tcp() -> None:
    inquiries = made()
    assert len(begun(inquiries)) == 2
    now, sent = 0.0, []
    for wait in UDP_WAITS:
        due = inquiries.next_due(now)
        assert due == now + wait
        now = due
        sent.append([each.port >= 0 for each in inquiries.take(now)])
    assert sent == [[True, True], [True, True], [False, False]]
    assert list(inquiries.answers()) == []


def test_the_wait_of_an_earlier_attempt_does_not_end_a_later_one() -> None:
    inquiries = made((True, True))
    for sending in begun(inquiries):
        answer(inquiries, sending, b"fail", now=0.5)
    second = inquiries.take(0.5)
    assert len(second) == 2
    assert inquiries.take(UDP_WAITS[0]) == []
    assert inquiries.take(0.49 + UDP_WAITS[1]) == []
    assert len(inquiries.take(0.5 + UDP_WAITS[1])) == 2


def test_the_wait_of_an_attempt_by_udp_does_not_end_one_by_tcp() -> None:
    inquiries = made()
    for sending in begun(inquiries):
        inquiries.datagram(0, sending.port, response(sending, flags=0x83), 0.5)
    by_tcp = inquiries.take(0.5)
    assert inquiries.take(0.5 + TCP_TURN) == []
    for sending in by_tcp:
        inquiries.stream(sending, response(sending), 0.5 + TCP_TURN)
    assert [each.addresses for each in inquiries.answers()] == [(SIX, ONE)]


def test_what_was_answered_makes_room_in_the_window_at_once() -> None:
    inquiries = made((True, True))
    for number in range(2 * WINDOW):
        inquiries.ask(f"n{number}", 0.0)
    for says in (b"fail", GOOD):
        sent = inquiries.take(0.0)
        assert len(sent) == WINDOW
        for sending in sent:
            answer(inquiries, sending, says)
    assert len(inquiries.take(0.0)) == WINDOW
    assert inquiries.take(0.0) == []


def test_a_name_is_asked_for_at_once_or_when_the_window_lets_it() -> None:
    inquiries = made()
    inquiries.ask("first", 0.0)
    assert inquiries.next_due(0.0) == 0.0
    inquiries.take(0.0)
    inquiries.ask("second", 0.1)
    assert inquiries.next_due(0.1) == 0.1


def test_the_window_opens_when_its_oldest_question_is_no_longer_young() -> None:
    inquiries = made()
    for number in range(WINDOW // 2):
        inquiries.ask(f"n{number}", 0.0)
    answer(inquiries, inquiries.take(0.0)[0])
    for number in range(WINDOW):
        inquiries.ask(f"later{number}", 0.1)
    assert len(inquiries.take(0.1)) == 1
    assert len(inquiries.take(YOUNG)) == WINDOW - 1
    assert inquiries.next_due(YOUNG) == 0.1 + YOUNG
    assert len(inquiries.take(0.1 + YOUNG)) == 1


def test_a_server_that_answers_others_is_not_asked_by_tcp() -> None:
    inquiries = made()
    begun(inquiries, "dead.example")
    now, ports = 0.0, []
    while len(inquiries):
        now = inquiries.next_due(now) or 99.0
        ports += [each.port for each in inquiries.take(now) if name_of(each) == "dead.example"]
        if now < sum(UDP_WAITS):
            inquiries.ask("good.example", now)
            for sending in inquiries.take(now):
                answer(inquiries, sending, now=now)
    assert [port >= 0 for port in ports] == [True] * 4
    assert now == sum(UDP_WAITS)
    assert [a.reason for a in inquiries.answers() if not a.addresses] == [Reason.TIMEOUT]


def test_each_attempt_goes_to_the_next_server_and_the_silent_one_is_asked_last() -> None:
    inquiries = made((True, True))
    first = begun(inquiries, "a")
    assert {each.server for each in first} == {0}
    second = inquiries.take(UDP_WAITS[0])
    assert {each.server for each in second} == {1}
    for sending in second:
        answer(inquiries, sending, now=1.1)
    assert [each.addresses for each in inquiries.answers()] == [(SIX, ONE)]
    assert {each.server for each in begun(inquiries, "b")} == {1}


def test_an_error_of_a_server_is_the_next_ones_turn_at_once() -> None:
    inquiries = made((True, True))
    for sending in begun(inquiries):
        answer(inquiries, sending, b"fail")
    second = inquiries.take(0.0)
    assert {each.server for each in second} == {1}
    for sending in second:
        answer(inquiries, sending)
    assert [each.addresses for each in inquiries.answers()] == [(SIX, ONE)]


def test_servers_that_all_have_an_error_are_asked_once_each() -> None:
    inquiries = made((True, True, True))
    sent, asked = begun(inquiries), list[set[int]]()
    while sent and len(asked) < 9:
        asked.append({each.server for each in sent})
        for sending in sent:
            answer(inquiries, sending, b"fail")
        sent = inquiries.take(0.0)
    assert asked == [{0}, {1}, {2}]
    assert [each.reason for each in inquiries.answers()] == [Reason.FAILED]


def test_three_attempts_without_an_answer_show_that_udp_does_not_get_there() -> None:
    inquiries = made()
    answer(inquiries, begun(inquiries)[0], b"none")
    ports = [[each.port >= 0 for each in inquiries.take(now)] for now in (1.0, 3.0, 5.0)]
    assert ports == [[True], [True], [False]]


def test_a_question_that_ends_before_it_is_sent_takes_no_room() -> None:
    inquiries = made()
    for number in range(WINDOW // 2):
        inquiries.ask(f"n{number}", 0.0)
    answer(inquiries, inquiries.take(0.0)[0])
    inquiries.ask("half", 0.0)
    (sending,) = inquiries.take(0.0)
    answer(inquiries, sending)
    for number in range(WINDOW):
        inquiries.ask(f"later{number}", 0.0)
    assert len(inquiries.take(OTHER_FAMILY)) == WINDOW


def test_where_nobody_listens_nothing_is_waited_for() -> None:
    inquiries = made()
    begun(inquiries)
    sendings: list[Sending] = []
    for _ in range(9):
        for port in range(4):
            inquiries.refused(0, port, 0.0)
        sendings = inquiries.take(0.0)
        if any(each.last_resort for each in sendings):
            break
    assert len(sendings) == 2
    for sending in sendings:
        inquiries.stream(sending, response(sending), 0.0)
    assert [each.addresses for each in inquiries.answers()] == [(SIX, ONE)]


def test_servers_that_only_tcp_reaches_are_asked_one_after_another() -> None:
    inquiries = made((False, False))
    first = begun(inquiries)
    assert [(each.server, each.port, each.last_resort) for each in first] == [(0, -1, True)] * 2
    inquiries.stream(first[0], None, 0.0)
    inquiries.stream(first[1], response(first[1], b"fail"), 0.0)
    second = inquiries.take(0.0)
    assert [each.server for each in second] == [1, 1]
    inquiries.stream(second[0], None, 0.0)
    inquiries.stream(second[1], None, 0.0)
    assert [each.reason for each in inquiries.answers()] == [Reason.TIMEOUT]


def test_last_resorts_leave_half_of_the_places_to_others() -> None:
    inquiries = made((False,))
    for number in range(TCP_PLACES):
        inquiries.ask(f"n{number}", 0.0)
    sendings = inquiries.take(0.0)
    assert len(sendings) == TCP_PLACES // 2
    assert inquiries.take(0.0) == []
    inquiries.stream(sendings[0], None, 0.0)
    assert len(inquiries.take(0.0)) == 1
    inquiries.take(TCP_TURN)  # those without a place end
    # Eight names are being asked for, and of one more the second question.
    assert len(list(inquiries.answers())) == TCP_PLACES - 9


def test_what_comes_after_the_end_frees_its_place_only() -> None:
    inquiries = made()
    first, second = begun(inquiries)
    inquiries.datagram(0, first.port, response(first, flags=0x83), 0.0)
    (by_tcp,) = inquiries.take(0.0)
    answer(inquiries, second)
    inquiries.take(OTHER_FAMILY)
    assert len(list(inquiries.answers())) == 1
    inquiries.stream(by_tcp, response(by_tcp), 1.0)
    assert list(inquiries.answers()) == []
    assert inquiries.next_due(9.0) is not None  # an old deadline, which means nothing
    assert inquiries.take(9.0) == []
    assert inquiries.next_due(9.0) is None


def test_a_question_that_has_ended_does_not_go_out_again() -> None:
    inquiries = made((True, True))
    six, four = begun(inquiries)
    answer(inquiries, four)
    inquiries.refused(six.server, six.port, OTHER_FAMILY)  # its turn would come now
    assert inquiries.take(OTHER_FAMILY) == []
    assert six.question.reply is not None


def test_numbers_of_open_questions_are_not_used_again() -> None:
    drawn = iter([0, 7, 0, 0, 7, 9, 0] + [1] * 50)
    inquiries = Inquiries(by_udp=[True], ports=1, draw=lambda _: next(drawn), read=read)
    first, second = begun(inquiries, "a")
    assert [first.data[:2], second.data[:2]] == [b"\0\7", b"\0\x09"]


@pytest.mark.uncounted
def test_ten_thousand_names_that_are_dead_hold_back_none_that_answers() -> None:
    inquiries = made(ports=32)
    for number in range(10_000):
        inquiries.ask(f"dead{number}.example", 0.0)
    inquiries.ask("good.example", 0.0)
    now, found = 0.0, 0.0
    while not found:
        for sending in inquiries.take(now):
            if name_of(sending) == "good.example":
                answer(inquiries, sending, now=now)
        found = now if any(each.addresses for each in inquiries.answers()) else 0.0
        now = inquiries.next_due(now) or now
    # WINDOW first attempts go out in each YOUNG seconds: 25 s, within the patience of the sender.
    assert found < PATIENCE


def test_however_names_end_nothing_is_left() -> None:
    inquiries = made(ports=32)
    for number in range(1_000):
        inquiries.ask(f"dead{number}.example", 0.0)
    assert end(inquiries, 0.0) < 30
    assert {each.reason for each in inquiries.answers()} == {Reason.TIMEOUT}
    assert (inquiries.take(100.0), inquiries.next_due(100.0)) == ([], None)
    assert not any(inquiries._open.values())
    assert (inquiries._young, inquiries._tcp_places) == (0, TCP_PLACES)


@pytest.mark.uncounted
@settings(max_examples=25)
@given(st.randoms(use_true_random=False), st.lists(st.booleans(), min_size=1, max_size=3))
def test_every_name_is_answered_once_and_in_time(random: Random, by_udp: list[bool]) -> None:
    inquiries = made(by_udp, ports=2)
    now, last = 0.0, 0.0
    found: list[str] = []
    asked: list[str] = []
    for number in range(40):
        if random.random() < 0.5:
            asked.append(f"n{number}")
            inquiries.ask(asked[-1], now)
            last = now
        for sending in inquiries.take(now):
            chance = random.random()
            says = random.choice([GOOD, b"four", b"deny", b"fail"])
            data = response(sending, says, random.choice([0x81, 0x81, 0x83]))
            if sending.port < 0:
                inquiries.stream(sending, data if chance < 0.5 else None, now)
            elif chance < 0.1:
                inquiries.refused(sending.server, sending.port, now)
            elif chance < 0.6:
                inquiries.datagram(sending.server, sending.port, data, now)
        found += [each.name for each in inquiries.answers()]
        now += random.random()
    now = end(inquiries, now, step=0.5, until=now + 60)
    found += [each.name for each in inquiries.answers()]
    assert sorted(found) == sorted(asked)
    assert now - last <= 40
    assert inquiries._tcp_places == TCP_PLACES
