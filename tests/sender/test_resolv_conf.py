"""resolv.conf(5) and hosts(5), as machines have them and as nobody should write them."""

import pytest

from mailbell.core.networks import Address
from mailbell.sender._names import MAX_NAMES
from mailbell.sender._resolv_conf import MAX_BYTES, NameServer, parse_hosts, parse_name_servers

ONE, TWO = Address.parse("192.0.2.1"), Address.parse("192.0.2.2")
LOCAL = NameServer(Address.parse("127.0.0.1"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (LOCAL,)),
        ("# nothing\n;\nsearch example\nnameserver\nnameserver what\n", (LOCAL,)),
        ("nameserver 192.0.2.1 # one\n nameserver\t192.0.2.2\n",
         (NameServer(ONE), NameServer(TWO))),
        ("nameserver fe80::1%eth0", (NameServer(Address.parse("fe80::1"), "eth0"),)),
        ("nameserver 192.0.2.1\n" * 5, (NameServer(ONE),) * 3),
        ("options timeout:1\nnameserver 192.0.2.1;nameserver 192.0.2.2", (NameServer(ONE),)),
    ],
)  # fmt: skip
def test_name_servers(text: str, expected: tuple[NameServer, ...]) -> None:
    assert parse_name_servers(text) == expected


def test_hosts() -> None:
    text = (
        "127.0.0.1 localhost\n\n# 192.0.2.9 no\n192.0.2.1\tAnna.Example anna # laptop\n"
        "192.0.2.2 anna\nwhat anna\n192.0.2.2 b\xfccher a_b -no\n192.0.2.2\n"
    )
    assert parse_hosts(text) == {
        "localhost": (Address.parse("127.0.0.1"),),
        "anna.example": (ONE,),
        "anna": (ONE, TWO),
        "a_b": (TWO,),
    }


def test_hosts_has_bounds() -> None:
    text = "".join(f"192.0.2.{n} many\n" for n in range(100))
    assert len(parse_hosts(text)["many"]) == 16
    names = " ".join(f"n{number}" for number in range(MAX_NAMES + 1))
    found = parse_hosts(f"192.0.2.1 {names}")
    assert (len(found), f"n{MAX_NAMES}" in found) == (MAX_NAMES, False)


def test_of_each_file_a_mebibyte_is_read() -> None:
    assert MAX_BYTES == 1024**2
