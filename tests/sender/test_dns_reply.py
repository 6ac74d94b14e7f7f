"""What answers of name servers say; any bytes are read within bounds."""

import struct
from itertools import pairwise
from random import Random

import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.networks import Address
from mailbell.sender._dns_reply import read_reply
from mailbell.sender._inquiries import IPV4, IPV6, Reply
from mailbell.sender._names import LONGEST, Reason

FAILED = Reply((), 0, Reason.FAILED)
ONE = Address.parse("192.0.2.7")
SIX = Address.parse("2001:db8::7")


def message(
    *answers: str, authority: str = "", code: int = dns.rcode.NOERROR, kind: str = "A"
) -> bytes:
    """An answer about a.example, with records as in a zone file."""
    response = dns.message.make_response(dns.message.make_query("a.example", kind, id=1))
    response.set_rcode(dns.rcode.Rcode.make(code))
    for section, texts in ((response.answer, answers), (response.authority, (authority,))):
        for text in filter(None, texts):
            name, ttl, group, what, data = text.split(maxsplit=4)
            section.append(dns.rrset.from_text(name, int(ttl), group, what, data))
    return response.to_wire()


SOA = "example. 500 IN SOA ns.example. admin.example. 1 2 3 4 90"


@pytest.mark.parametrize(
    ("data", "kind", "expected"),
    [
        (message("a.example. 60 IN A 192.0.2.7"), IPV4, Reply((ONE,), 60)),
        (message("A.EXAMPLE. 60 IN A 192.0.2.7"), IPV4, Reply((ONE,), 60)),
        (
            message("a.example. 99999 IN AAAA 2001:db8::7", kind="AAAA"),
            IPV6,
            Reply((SIX,), int(LONGEST)),
        ),
        (
            message(
                "a.example. 60 IN CNAME b.example.",
                "b.example. 50 IN CNAME c.test.",
                "c.test. 90 IN A 192.0.2.7",
            ),
            IPV4,
            Reply((ONE,), 50),
        ),
        (message("a.example. 60 IN CNAME b.example."), IPV4, Reply((), 60, Reason.NO_ADDRESS)),
        (message("a.example. 60 IN CNAME a.example."), IPV4, FAILED),
        (message("a.example. 60 IN CNAME b.test.", "b.test. 60 IN CNAME a.example."), IPV4, FAILED),
        (message(), IPV4, Reply((), 60, Reason.NO_ADDRESS)),
        (message(authority=SOA), IPV4, Reply((), 90, Reason.NO_ADDRESS)),
        (message(authority=SOA, code=dns.rcode.NXDOMAIN), IPV4, Reply((), 90, Reason.NOT_FOUND)),
        (
            message(authority="example. 60 IN NS ns.example."),
            IPV4,
            Reply((), 60, Reason.NO_ADDRESS),
        ),
        (message("b.example. 60 IN A 192.0.2.7"), IPV4, Reply((), 60, Reason.NO_ADDRESS)),
        (message("a.example. 60 IN AAAA 2001:db8::7"), IPV4, Reply((), 60, Reason.NO_ADDRESS)),
        (
            message("a.example. 60 IN AAAA ::ffff:192.0.2.7", kind="AAAA"),
            IPV6,
            Reply((), 60, Reason.NO_ADDRESS),
        ),
        (message("a.example. 60 CH TXT hello"), IPV4, Reply((), 60, Reason.NO_ADDRESS)),
        (message(code=dns.rcode.SERVFAIL), IPV4, FAILED),
        (message(code=dns.rcode.REFUSED), IPV4, FAILED),
    ],
)
def test_what_an_answer_says(data: bytes, kind: int, expected: Reply) -> None:
    assert read_reply(data, kind) == expected


def test_a_ttl_with_the_highest_bit_means_zero() -> None:
    data = message("a.example. 60 IN A 192.0.2.7")
    changed = data.replace(struct.pack("!IH", 60, 4), struct.pack("!IH", 1 << 31, 4))
    assert changed != data
    assert read_reply(changed, IPV4) == Reply((ONE,), 0)


def test_an_address_of_another_length_is_a_failure() -> None:
    data = message("a.example. 60 IN A 192.0.2.7")
    assert read_reply(data[:-6] + b"\0\3\1\2\3", IPV4) == FAILED


def test_a_record_that_is_longer_than_the_message_is_a_failure() -> None:
    assert read_reply(message("a.example. 60 IN A 192.0.2.7")[:-1], IPV4) == FAILED


def test_of_a_huge_answer_a_part_is_read() -> None:
    records = [f"a.example. 60 IN A 192.0.2.{n}" for n in range(250)]
    found = read_reply(message(*records, authority=SOA), IPV4)
    assert len(found.addresses) == 64


@pytest.mark.parametrize(("aliases", "ttl"), [(64, 90), (65, 60)])
def test_behind_a_huge_answer_nothing_is_read(aliases: int, ttl: int) -> None:
    """None of the aliases is one of the name that was asked for."""
    records = [f"b{n}.example. 600 IN CNAME c.example." for n in range(aliases)]
    found = read_reply(message(*records, authority=SOA), IPV4)
    assert found == Reply((), ttl, Reason.NO_ADDRESS)


def test_an_address_of_another_class_is_none() -> None:
    data = message("a.example. 60 IN A 192.0.2.7")
    changed = data.replace(struct.pack("!HHI", IPV4, 1, 60), struct.pack("!HHI", IPV4, 3, 60))
    assert changed != data
    assert read_reply(changed, IPV4) == Reply((), 60, Reason.NO_ADDRESS)


@given(st.binary(max_size=200), st.sampled_from([IPV4, IPV6]))
def test_any_bytes_are_a_reply(data: bytes, kind: int) -> None:
    reply = read_reply(data, kind)
    assert (reply.reason is None) == bool(reply.addresses)
    assert 0 <= reply.ttl <= LONGEST


def test_a_good_answer_with_some_bytes_changed_is_a_reply() -> None:
    random = Random(4)
    good = message("a.example. 60 IN CNAME b.test.", "b.test. 50 IN A 192.0.2.7", authority=SOA)
    for _ in range(3_000):
        data = bytearray(good)
        for _ in range(random.randrange(1, 4)):
            data[random.randrange(len(data))] = random.randrange(256)
        reply = read_reply(bytes(data), IPV4)
        assert (reply.reason is None) == bool(reply.addresses)


def test_names_that_point_in_circles_end() -> None:
    head = b"\0\0\x81\x80\0\1\xff\xff\xff\xff\0\0"
    assert read_reply(head + b"\xc0\x0c" + b"\0\1\0\1" + b"\xc0\x0c" * 8000, IPV4) == FAILED


@pytest.mark.parametrize(("aliases", "found"), [(15, True), (16, False)])
def test_so_many_aliases_are_followed(aliases: int, found: bool) -> None:
    names = ["a", *(f"b{number}" for number in range(aliases))]
    chain = [f"{one}.example. 60 IN CNAME {two}.example." for one, two in pairwise(names)]
    data = message(*chain, f"{names[-1]}.example. 60 IN A 192.0.2.7")
    assert read_reply(data, IPV4) == (Reply((ONE,), 60) if found else FAILED)


def test_a_record_that_ends_behind_the_message_is_none() -> None:
    data = message("a.example. 60 IN A 192.0.2.7", "a.example. 60 IN TXT hello")
    whole = read_reply(data, IPV4)
    assert whole == Reply((ONE,), 60)
    assert [read_reply(data[:size], IPV4) for size in (len(data) - 1, len(data) - 3)] == [
        FAILED
    ] * 2
