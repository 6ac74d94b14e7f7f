"""What is known of names: how long, of how many, and which messages are believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.networks import Address, Family
from mailbell.sender._names import (
    ADDRESSES,
    LONGEST,
    MAX_MESSAGE,
    MAX_NAME,
    MAX_NAMES,
    SHORTEST,
    Answer,
    NameCache,
    NameUnknownError,
    Reason,
    by_turns,
    decode_answer,
    encode_answer,
    is_name,
)

ONE = Address.parse("192.0.2.7")
SIX = Address.parse("2001:db8::7")


@pytest.mark.parametrize(
    "text",
    ["laptop.example.net", "a", "1.example", "_srv.example", "xn--bcher-kva.example", "a-b.c",
     "x" * 63, ".".join(["x" * 62] * 4) + ".y"],
)  # fmt: skip
def test_names_that_may_be_asked_for(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize(
    "text",
    ["", ".", "a.", ".a", "a..b", "A.example", "a b", "a\n", "-a", "a-", "x" * 64, "bücher.example",
     "a/b", "a,b", "\0", ".".join(["x" * 62] * 4) + ".yy"],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    assert not is_name(text)


addresses = st.lists(
    st.builds(Address, st.just(Family.IPV4), st.integers(0, (1 << 32) - 1))
    | st.builds(Address, st.just(Family.IPV6), st.integers(1 << 48, (1 << 128) - 1)),
    max_size=ADDRESSES,
).map(tuple)
names = st.from_regex(r"\A[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{1,10}){0,3}\Z")


@given(names, addresses, st.integers(0, 99_999), st.sampled_from(Reason))
def test_an_answer_arrives_as_it_was_sent(
    name: str, found: tuple[Address, ...], ttl: int, reason: Reason
) -> None:
    answer = Answer(name, found, ttl, None if found else reason)
    assert decode_answer(encode_answer(answer)) == answer


def test_the_longest_answer_fits() -> None:
    long = Address.parse("2001:db8:1111:1111:1111:1111:1111:1111")
    name = ".".join(["x" * 61] * 4 + ["xxxxx"])
    assert len(name) == MAX_NAME
    assert len(encode_answer(Answer(name, (long,) * ADDRESSES, 99_999))) <= MAX_MESSAGE


@pytest.mark.parametrize(
    "data",
    [
        b"", b"ready", b"\xff 1 - 192.0.2.7", b"a 1 -", b"a 1 - ", b"a 1 timeout 192.0.2.7",
        b"A 1 - 192.0.2.7", b"a  1 - 192.0.2.7", b"a -1 - 192.0.2.7", b"a 100000 - 192.0.2.7",
        b"a 1 wrong ", b"a 1 - 192.0.2.7,", b"a 1 - 192.0.2.256", b"a 1 - ::ffff:192.0.2.7",
        b"a 1 - " + b",".join([b"192.0.2.7"] * 17), b"a 1 - fe80::1%lo", b"a 1 - 192.0.2.7 x",
    ],
)  # fmt: skip
def test_what_is_no_answer(data: bytes) -> None:
    assert decode_answer(data) is None


@given(st.binary(max_size=100))
def test_any_message_is_an_answer_or_nothing(data: bytes) -> None:
    answer = decode_answer(data)
    assert answer is None or decode_answer(encode_answer(answer)) == answer


def test_both_families_by_turns_and_ipv6_first() -> None:
    two, three = Address.parse("192.0.2.8"), Address.parse("192.0.2.9")
    assert by_turns([ONE, two, SIX, three]) == (SIX, ONE, two, three)
    assert by_turns([]) == ()


@pytest.mark.parametrize(
    ("ttl", "kept"), [(0, SHORTEST), (29, SHORTEST), (100, 100.0), (99_999, LONGEST)]
)
def test_an_answer_is_kept_as_long_as_it_says_within_bounds(ttl: int, kept: float) -> None:
    cache = NameCache()
    cache.keep(Answer("a", (ONE,), ttl), 1000.0)
    assert cache.find("a", 1000.0 + kept - 0.5) == Answer("a", (ONE,), ttl)
    assert cache.find("a", 1000.0 + kept) is None
    assert cache.find("a", 1000.0) is None
    assert len(cache) == 0


def test_that_there_is_no_address_is_kept_too() -> None:
    cache = NameCache()
    cache.keep(Answer("a", (), 0, Reason.NOT_FOUND), 0.0)
    found = cache.find("a", 29.0)
    assert found is not None
    assert found.reason is Reason.NOT_FOUND


def test_of_too_many_the_one_learned_first_gives_way() -> None:
    cache = NameCache(names=2)
    for name in ("a", "b", "a", "c"):
        cache.keep(Answer(name, (ONE,), 60), 0.0)
    assert [cache.find(name, 1.0) is not None for name in "abc"] == [True, False, True]
    assert len(cache) == 2


def test_the_error_says_which_name_and_why() -> None:
    error = NameUnknownError("a.example", Reason.TIMEOUT)
    assert (error.name, error.reason) == ("a.example", "timeout")
    assert error.args == ("a.example", "timeout")  # what a traceback shows


def test_the_words_of_the_reasons() -> None:
    assert list(Reason) == ["not_found", "no_address", "failed", "timeout", "busy", "gone"]


def test_an_answer_has_no_reason_unless_it_says_one() -> None:
    assert Answer("a", (ONE,), 60).reason is None


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer("a.b", (SIX, ONE), 60), b"a.b 60 - 2001:db8::7,192.0.2.7"),
        (Answer("a", (), 0, Reason.NO_ADDRESS), b"a 0 no_address "),
    ],
)
def test_what_the_resolver_writes(answer: Answer, message: bytes) -> None:
    assert encode_answer(answer) == message


def test_a_newer_answer_takes_the_place_of_the_older_one_only() -> None:
    cache = NameCache(names=2)
    for name, ttl in (("a", 60), ("b", 60), ("b", 600)):
        cache.keep(Answer(name, (ONE,), ttl), 0.0)
    assert cache.find("a", 59.0) == Answer("a", (ONE,), 60)
    assert cache.find("b", 599.0) == Answer("b", (ONE,), 600)


def test_the_bounds_of_what_is_known() -> None:
    assert (SHORTEST, LONGEST, ADDRESSES) == (30.0, 3600.0, 16)
    assert (MAX_NAME, MAX_NAMES, MAX_MESSAGE) == (253, 65_536, 2048)
