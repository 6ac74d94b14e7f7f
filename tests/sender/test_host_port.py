import pytest

from mailbell.core.networks import Address
from mailbell.sender._host_port import read_host_port

FORM = "a host with or without a port"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.7", Address.parse("192.0.2.7"), None),
        ("192.0.2.7:1", Address.parse("192.0.2.7"), 1),
        ("0.0.0.1", Address.parse("0.0.0.1"), None),
        ("2001:db8::7", Address.parse("2001:db8::7"), None),
        ("[2001:db8::7]", Address.parse("2001:db8::7"), None),
        ("[2001:db8::7]:65535", Address.parse("2001:db8::7"), 65_535),
        ("[::1]:9", Address.parse("::1"), 9),
        ("Laptop.Example.NET.:79", "laptop.example.net", 79),
        ("a_b.example", "a_b.example", None),
        ("_a.example", "_a.example", None),
        ("3com.example", "3com.example", None),
        ("example.3com", "example.3com", None),
        ("0xg", "0xg", None),
        ("a0x7f", "a0x7f", None),
        ("a-b.c", "a-b.c", None),
        ("x" * 63, "x" * 63, None),
        ("a." * 126 + "a", "a." * 126 + "a", None),
        ("a." * 126 + "a.", "a." * 126 + "a", None),
    ],
)
def test_a_host_is_read_with_or_without_a_port(
    text: str, host: Address | str, port: int | None
) -> None:
    assert read_host_port(text, FORM) == (host, port)


@pytest.mark.parametrize("text", ["192.0.2.7", "[2001:db8::7]", "laptop"])
@pytest.mark.parametrize(
    "port", ["", "0", "65536", "100000", "079", "7a", "+7", "7]", "7\n", "\u0667"]
)
def test_a_port_has_its_bounds(text: str, port: str) -> None:
    with pytest.raises(ValueError, match=r"^write a port from 1 to 65535 after the colon$"):
        read_host_port(f"{text}:{port}", FORM)


@pytest.mark.parametrize("text", ["0.0.0.0", "0.0.0.0:79", "::", "[::]:79"])
def test_an_address_that_stands_for_all_is_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"^this address stands for every address: write that of one host$"
    ):
        read_host_port(text, FORM)


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "a..b", ".a", "a..", "-a.example", "a-.example", "x" * 64, "a" + "a." * 126 + "a",
        "a b", "a\n", "b\u00fccher", "\u212a.example", "192.0.2", "192.0.2.256", "1", "7f.1",
        "0x", "0x7f",
        "a.0x7f000001", "[2001:db8::7", "[192.0.2.7]", "[a]", "[a]:80", "[2001:db8::7]80",
        "[2001:db8::7]]", "2001:db8::g", "a:b:1", "fe80::1%eth0", "http://a:1", "a/b",
    ],
)  # fmt: skip
def test_what_is_no_host_is_refused_and_the_message_says_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=f"^write {FORM}$"):
        read_host_port(text, FORM)


def test_an_ipv4_address_in_ipv6_form_is_to_be_written_as_such() -> None:
    with pytest.raises(ValueError, match="IPv4"):
        read_host_port("::ffff:192.0.2.7", FORM)
