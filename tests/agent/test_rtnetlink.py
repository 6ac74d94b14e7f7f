"""Hand-made messages of the kernel about addresses, compared with a simple model."""

import socket
import struct
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.agent._rtnetlink import GROUPS, LIST_ADDRESSES, Addresses

NEW, DELETED, LINK, DONE = 20, 21, 16, 3
MULTI = 2
GLOBAL, SITE, LINK_SCOPE, HOST, NOWHERE = 0, 200, 253, 254, 255
OPTIMISTIC, DADFAILED, DEPRECATED, TENTATIVE, PERMANENT = 0x04, 0x08, 0x20, 0x40, 0x80
TEMPORARY, NOPREFIXROUTE = 0x01, 0x200


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


@dataclass(frozen=True)
class Told:
    """A message of the kernel about one address."""

    address: str = "192.0.2.1"
    kind: int = NEW
    scope: int = GLOBAL
    flags: int = PERMANENT
    interface: int = 2
    multi: bool = False
    peer: str = ""

    def message(self) -> bytes:
        ipv6 = ":" in self.address
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        local = packed(self.address)
        body = struct.pack("=BBBBI", family, 24, self.flags & 0xFF, self.scope, self.interface)
        body += attribute(1, packed(self.peer) if self.peer else local)
        if self.peer or not ipv6:
            body += attribute(2, local)
        if not ipv6:
            body += attribute(3, b"eth0\0")
        body += attribute(8, struct.pack("=I", self.flags))
        body += attribute(6, bytes(16))
        return message(self.kind, body, MULTI if self.multi else 0)


def message(kind: int, body: bytes, flags: int = 0) -> bytes:
    header = struct.pack("=IHHII", 16 + len(body), kind, flags, 7, 0)
    return header + body + bytes(-len(body) % 4)


@pytest.mark.parametrize(
    "told",
    [
        Told(),
        Told(flags=0),
        Told("2001:db8::1"),
        Told("2001:db8::1", flags=TEMPORARY | NOPREFIXROUTE),
        Told("10.0.0.1"),
        Told("fd00::1"),
        Told("fec0::1", scope=SITE),
        Told("192.0.2.1", peer="192.0.2.2"),
        Told("192.0.2.1", peer="127.0.0.9"),
    ],
    ids=str,
)
def test_an_address_appears_once(told: Told) -> None:
    addresses = Addresses()
    assert addresses.receive(told.message())
    assert not addresses.receive(told.message()), "a lease was renewed"
    assert addresses.receive(replace(told, interface=3).message())


@pytest.mark.parametrize(
    "told",
    [
        Told("127.0.0.1", scope=HOST),
        Told("127.0.0.2"),
        Told("::1", scope=HOST),
        Told("fe80::1", scope=LINK_SCOPE),
        Told("fe80::1"),
        Told("169.254.3.4", scope=LINK_SCOPE),
        Told("169.254.3.4"),
        Told("192.0.2.1", scope=NOWHERE),
        Told("192.0.2.1", scope=HOST),
        Told("192.0.2.1", scope=LINK_SCOPE),
        Told("127.0.0.9", peer="192.0.2.2"),
        Told("2001:db8::1", flags=TENTATIVE),
        Told("2001:db8::1", flags=TENTATIVE | OPTIMISTIC),
        Told("2001:db8::1", flags=TENTATIVE | DADFAILED | PERMANENT),
        Told("2001:db8::1", flags=DADFAILED),
        Told("2001:db8::1", flags=DEPRECATED),
        Told(kind=DELETED),
        Told(kind=LINK),
        Told(multi=True),
    ],
    ids=str,
)
def test_what_nobody_can_be_reached_by_is_none(told: Told) -> None:
    assert not Addresses().receive(told.message())


def test_a_new_address_is_told_of_whatever_is_told_with_it() -> None:
    nothing = Told("169.254.3.4").message()
    assert Addresses().receive(nothing + Told().message() + nothing)


def test_it_appears_when_it_is_known_that_nobody_else_has_it() -> None:
    addresses, told = Addresses(), Told("2001:db8::1", flags=TENTATIVE)
    assert not addresses.receive(told.message())
    assert addresses.receive(replace(told, flags=0).message())


def test_one_that_went_can_come_again() -> None:
    addresses, told = Addresses(), Told()
    for kind in (DELETED, NEW):
        addresses.receive(told.message())
        assert not addresses.receive(replace(told, kind=DELETED).message())
        assert addresses.receive(replace(told, kind=kind).message()) == (kind == NEW)


def test_what_was_in_the_list_does_not_appear() -> None:
    addresses = Addresses()
    there = [Told(f"192.0.2.{n}", multi=True).message() for n in range(1, 4)]
    assert not addresses.receive(b"".join(there) + message(DONE, bytes(4), MULTI))
    assert not addresses.receive(Told("192.0.2.2").message())
    assert addresses.receive(Told("192.0.2.4").message())


def test_after_a_loss_all_is_new_but_what_the_list_says() -> None:
    addresses = Addresses()
    addresses.receive(Told("192.0.2.1").message() + Told("192.0.2.2").message())
    addresses.forget()
    addresses.receive(Told("192.0.2.2", multi=True).message())
    assert not addresses.receive(Told("192.0.2.2").message())
    assert addresses.receive(Told("192.0.2.1").message())


def test_all_of_a_datagram_is_noted_wherever_something_appears_in_it() -> None:
    addresses = Addresses()
    both = Told("192.0.2.1").message() + Told("192.0.2.2").message()
    assert addresses.receive(both)
    assert not addresses.receive(both)
    assert addresses.receive(Told("fe80::1").message() + Told("192.0.2.3").message())


def test_all_flags_count_and_not_only_the_first_eight() -> None:
    body = struct.pack("=BBBBI", socket.AF_INET, 24, TENTATIVE, GLOBAL, 2)
    body += attribute(2, packed("192.0.2.1"))
    assert not Addresses().receive(message(NEW, body))
    assert not Addresses().receive(message(NEW, body + attribute(8, b"\0")))
    assert Addresses().receive(message(NEW, body + attribute(8, struct.pack("=I", PERMANENT))))
    # linux/netlink.h: a bit of the attribute's type may mean that the value is nested.
    nested = attribute(8 | 0x8000, struct.pack("=I", 0))
    assert Addresses().receive(message(NEW, body + nested))


def test_the_question_is_one_that_the_kernel_knows() -> None:
    length, kind, flags, _, port = struct.unpack_from("=IHHII", LIST_ADDRESSES)
    assert (length, kind, flags, port) == (len(LIST_ADDRESSES), 22, 0x301, 0)


def test_only_messages_about_addresses_are_subscribed_to() -> None:
    """linux/rtnetlink.h: RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR."""
    assert GROUPS == 0x110


def test_only_one_flag_marks_an_answer_to_the_question() -> None:
    body = struct.pack("=BBBBI", 2, 24, 0, 0, 2) + attribute(2, packed("192.0.2.1"))
    assert not Addresses().receive(message(NEW, body, MULTI))
    assert Addresses().receive(message(NEW, body, 0xFFFF ^ MULTI))


# --- anything else --------------------------------------------------------------


@given(st.binary(max_size=200))
def test_bytes_that_make_no_sense_are_nothing(data: bytes) -> None:
    assert Addresses().receive(data) in {True, False}


@given(st.integers(0, 200), st.integers(0, 255), st.integers(0, 200))
def test_a_message_that_is_damaged_or_cut_is_read_without_harm(
    place: int, value: int, length: int
) -> None:
    data = bytearray(Told("2001:db8::1").message() + Told().message())
    data[place % len(data)] = value
    Addresses().receive(bytes(data))
    Addresses().receive(bytes(data[:length]))


@pytest.mark.parametrize("cut", range(1, 33))
def test_what_is_cut_off_does_not_appear(cut: int) -> None:
    whole = message(NEW, struct.pack("=BBBBI", 2, 24, 0, 0, 2) + attribute(2, packed("192.0.2.1")))
    assert Addresses().receive(whole)
    assert not Addresses().receive(whole[:-cut])


def test_a_message_that_claims_more_than_there_is_says_nothing() -> None:
    whole = Told().message()
    more = struct.pack("=I", len(whole) + 4) + whole[4:]
    assert not Addresses().receive(more)
    header = struct.pack("=BBBBI", 10, 64, 0, 0, 2)
    ipv6_by_its_length = struct.pack("=HH", 20, 2) + bytes([192, 0, 2, 1])
    assert not Addresses().receive(message(NEW, header + ipv6_by_its_length))


def test_what_comes_next_begins_at_a_multiple_of_four() -> None:
    header = struct.pack("=BBBBI", 2, 24, 0, 0, 2)
    label = attribute(3, b"e\0")
    address, tentative = attribute(2, packed("192.0.2.1")), attribute(8, b"\x40\0\0\0")
    assert Addresses().receive(message(NEW, header + label + address))
    assert not Addresses().receive(message(NEW, header + address + label + tentative))
    for body in (b"odd", b""):
        assert Addresses().receive(message(LINK, body) + Told().message())


def test_an_attribute_without_a_value_is_one() -> None:
    header = struct.pack("=BBBBI", 2, 24, 0, 0, 2)
    address, empty = attribute(1, packed("192.0.2.1")), attribute(3, b"")
    assert Addresses().receive(message(NEW, header + empty + address + empty))
    assert not Addresses().receive(message(NEW, header + address + attribute(2, b"")))


def test_an_attribute_or_message_of_no_length_does_not_stop_us() -> None:
    assert not Addresses().receive(struct.pack("=IHHII", 0, NEW, 0, 0, 0) * 3)
    body = struct.pack("=BBBBI", 2, 24, 0, 0, 2)
    assert not Addresses().receive(message(NEW, body + struct.pack("=HH", 0, 2) * 3))
    assert not Addresses().receive(message(NEW, body[:-1]))


def test_an_address_of_another_family_is_left_out() -> None:
    body = struct.pack("=BBBBI", 28, 24, 0, 0, 2) + attribute(2, b"twelve bytes")
    assert not Addresses().receive(message(NEW, body))


# --- against a model ------------------------------------------------------------

GOOD = ("192.0.2.1", "192.0.2.2", "2001:db8::1")
BAD = ("127.0.0.1", "169.254.0.1", "fe80::1", "::1")

events = st.one_of(
    st.none(),  # messages were lost
    st.builds(
        Told,
        address=st.sampled_from(GOOD + BAD),
        kind=st.sampled_from([NEW, NEW, NEW, DELETED, LINK]),
        scope=st.sampled_from([GLOBAL, GLOBAL, GLOBAL, SITE, LINK_SCOPE, HOST]),
        flags=st.sampled_from([0, PERMANENT, TEMPORARY, TENTATIVE, DEPRECATED, DADFAILED, 0x200]),
        interface=st.sampled_from([1, 2]),
        multi=st.booleans(),
    ),
)


@given(st.lists(st.lists(events, max_size=5)))
def test_the_model_sees_the_same_appear(datagrams: list[list[Told | None]]) -> None:
    addresses = Addresses()
    there: list[tuple[str, int]] = []
    for datagram in datagrams:
        appeared, data = False, b""
        if None in datagram:
            addresses.forget()
            there = []
        for told in filter(None, datagram):
            data += told.message()
            key = told.address, told.interface
            good = (
                told.kind == NEW
                and told.address in GOOD
                and told.scope in {GLOBAL, SITE}
                and told.flags not in {TENTATIVE, DEPRECATED, DADFAILED}
            )
            appeared = appeared or (good and key not in there and not told.multi)
            if told.kind != LINK:
                there = [other for other in there if other != key] + [key] * good
        assert addresses.receive(data) == appeared
