"""The values of a configuration: read, written, read back, and refused."""

from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from mailbell.configuration.values import (
    ACCOUNT_NAME,
    Duration,
    Endpoint,
    Mode,
    Rate,
    SocketPath,
    array,
    between,
    whole,
)
from mailbell.core.account_name import ACCOUNT_NAME_FORM
from mailbell.core.networks import Family

NUMBERS = st.integers(0, 999_999_999)


@given(NUMBERS, st.sampled_from([("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600)]))
def test_a_duration_is_its_seconds_and_is_read_back(number: int, unit: tuple[str, float]) -> None:
    duration = Duration.parse(f"{number}{unit[0]}")
    assert duration == pytest.approx(number * unit[1], rel=1e-12)
    assert Duration.parse(str(duration)) == duration


def test_days_are_read_and_written_in_hours() -> None:
    assert Duration.parse("7d") == 7 * 86_400.0
    assert str(Duration.parse("7d")) == "168h"


@given(NUMBERS, st.sampled_from([("s", 1), ("m", 60), ("h", 3600)]))
def test_a_rate_is_its_number_per_second_and_is_read_back(
    number: int, unit: tuple[str, int]
) -> None:
    rate = Rate.parse(f"{number}/{unit[0]}")
    assert rate == number / unit[1]
    assert Rate.parse(str(rate)) == rate


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (5, "5s"),
        (0.5, "500ms"),
        (60, "1m"),
        (90, "90s"),
        (3600, "1h"),
        (1.001, "1001ms"),
        (0, "0s"),
    ],
)
def test_a_duration_is_written_in_its_largest_whole_unit(duration: float, text: str) -> None:
    assert str(Duration(duration)) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(1, "1/s"), (0.5, "30/m"), (1 / 3600, "1/h"), (1.5, "90/m"), (0.3333, "1200/h")],
)
def test_a_rate_is_written_in_its_shortest_whole_unit(rate: float, text: str) -> None:
    assert str(Rate(rate)) == text


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "-5s", "+5s", "1.5s", "5 s", "5S", "5s\n", "5w", "1_0s", "\u0665s", "1e3s"],
)
def test_what_is_no_duration_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match=r'^write a duration such as "500ms"'):
        Duration.parse(text)


@pytest.mark.parametrize(
    "text", ["", "5", "5/", "/s", "5s", "5/ms", "5/d", "-1/s", "1/s\n", "1//s"]
)
def test_what_is_no_rate_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match=r'^write a rate such as "1/s"'):
        Rate.parse(text)


@given(st.integers(0, 0o777))
def test_a_mode_is_read_back_if_the_owner_can_connect(bits: int) -> None:
    if bits & 0o600 == 0o600:
        assert Mode.parse(f"{bits:04o}") == Mode.parse(f"{bits:03o}") == bits
        assert str(Mode(bits)) == f"{bits:04o}"
    else:
        with pytest.raises(ValueError, match="owner"):
            Mode.parse(f"{bits:04o}")


@pytest.mark.parametrize(
    "text", ["", "66", "00660", "4660", "0o660", "rw-rw----", "0680", "0660\n"]
)
def test_what_is_no_mode_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"^write an octal mode in quotes"):
        Mode.parse(text)


@pytest.mark.parametrize("text", ["/run/mailbell.sock", "/a b", "/\u00fc", "/" + "x" * 106])
def test_a_path_is_taken_as_it_is(text: str) -> None:
    assert SocketPath.parse(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "run/mailbell.sock",
        "@mailbell",
        "\0mailbell",
        "/run/\0",
        "/run/\n",
        "/run/\x1b[0m",
        "/run/\udc80",
        "/run/mailbell/",
        "/" + "x" * 107,
        "/" + "\u00fc" * 54,
    ],
)
def test_what_is_no_path_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"^write an absolute path of at most 107 bytes"):
        SocketPath.parse(text)


def endpoints(family: Family) -> st.SearchStrategy[Endpoint]:
    last = (1 << family.bits) - 1
    plain = st.integers(0, last).filter(
        lambda value: family is Family.IPV4 or value >> 32 != 0xFFFF
    )
    return st.builds(Endpoint, st.just(family), plain, st.integers(0, 65_535))


@given(endpoints(Family.IPV4) | endpoints(Family.IPV6))
def test_an_endpoint_is_read_back_from_what_it_is_written_as(endpoint: Endpoint) -> None:
    assert Endpoint.parse(str(endpoint)) == endpoint
    assert endpoint.host in str(endpoint)


def test_an_endpoint_has_its_parts() -> None:
    endpoint = Endpoint.parse("[2001:DB8:0::1]:79")
    assert endpoint == Endpoint(Family.IPV6, (0x20010DB8 << 96) + 1, 79)
    assert (endpoint.host, endpoint.wildcard) == ("2001:db8::1", False)
    assert str(endpoint) == "[2001:db8::1]:79"
    assert Endpoint.parse("0.0.0.0:79").wildcard
    assert Endpoint.parse("[::]:0").wildcard
    assert Endpoint.parse("192.0.2.1:65535").port == 65_535


@pytest.mark.parametrize(
    "text",
    [
        "",
        "79",
        ":79",
        "localhost:79",
        "192.0.2.1",
        "192.0.2.1:",
        "192.0.2.1:079",
        "192.0.2.1:+79",
        "192.0.2.1:65536",
        "192.0.2.1:http",
        "192.0.2.1:\u0667",
        "[192.0.2.1]:79",
        "::1:79",
        "[::1:79",
        "::1]:79",
        "[::1]79",
        "[]:79",
        "[fe80::1%lo]:79",
        "*:79",
    ],
)
def test_what_is_no_endpoint_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"^write a numeric address and a port such as"):
        Endpoint.parse(text)


def test_an_ipv4_endpoint_in_ipv6_form_is_told_what_to_write() -> None:
    with pytest.raises(ValueError, match=r"write it as IPv4: 192\.0\.2\.1"):
        Endpoint.parse("[::ffff:192.0.2.1]:79")


def test_the_name_of_an_account_is_held_against_its_pattern() -> None:
    assert ACCOUNT_NAME.description == ACCOUNT_NAME_FORM
    for name in ("work", "a" * 64):
        assert msgspec.convert(name, Annotated[str, ACCOUNT_NAME]) == name
    for name in ("", "a b", "work\n", "a" * 65):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(name, Annotated[str, ACCOUNT_NAME])


def test_annotations_say_their_bounds_in_words() -> None:
    assert whole(1, 9, 5) == Meta(ge=1, le=9, description="a whole number from 1 to 9, such as 5")
    assert between(Rate, "1/h", "2/s", "1/s") == Meta(
        ge=1 / 3600, le=2.0, description='a rate from "1/h" to "2/s", such as "1/s"'
    )
    assert array(3, "[]") == Meta(
        min_length=0, max_length=3, description="an array of at most 3 values, such as []"
    )
    assert array(3, "[1]", least=1) == Meta(
        min_length=1, max_length=3, description="an array of 1 to 3 values, such as [1]"
    )
