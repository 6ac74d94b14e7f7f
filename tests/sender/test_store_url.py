"""The URL of a store: a file, or the engine of a cluster."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.networks import Address
from mailbell.sender._store_url import EngineUrl, FileUrl, Kind, StoreUrl

TEN = Address.parse("10.0.0.1")


@pytest.mark.parametrize(
    ("text", "engine"),
    [
        ("redis://redis", EngineUrl(Kind.TCP, hosts=(("redis", 6379),))),
        ("redis://Redis.Example./", EngineUrl(Kind.TCP, hosts=(("redis.example", 6379),))),
        (
            "rediss://bell@10.0.0.1:7000/3",
            EngineUrl(Kind.TCP, True, "bell", ((TEN, 7000),), database=3),
        ),
        ("unix:///run/redis/s", EngineUrl(Kind.UNIX, path="/run/redis/s")),
        ("unix://bell@/run/s", EngineUrl(Kind.UNIX, user="bell", path="/run/s")),
        (
            "redis+sentinel://a,[::1]:5/mail/2",
            EngineUrl(
                Kind.SENTINEL,
                hosts=(("a", 26379), (Address.parse("::1"), 5)),
                service="mail",
                database=2,
            ),
        ),
        (
            "rediss+cluster://a:1,b",
            EngineUrl(Kind.CLUSTER, True, hosts=(("a", 1), ("b", 6379))),
        ),
    ],
)
def test_an_engine(text: str, engine: EngineUrl) -> None:
    url = StoreUrl.parse(text)
    assert url == text
    assert url.engine == engine
    assert engine.announces == (engine.kind in {Kind.SENTINEL, Kind.CLUSTER})


def test_a_file() -> None:
    url = StoreUrl.parse("sqlite:///var/lib/a b.db")
    assert (url.engine, url.path) == (None, "/var/lib/a b.db")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("redis://bell:secret@a", "store.password_file"),
        ("unix://bell:secret@/a", "store.password_file"),
        ("redis://a b@c", "user's name"),
        ("redis://", "write sqlite://"),
        ("redis://a:0", "a port from 1 to 65535"),
        ("redis://a,b", "1 hosts at most"),
        ("redis+cluster://" + ",".join("abcdefghijklmnopq"), "16 hosts at most"),
        ("redis://a/x", "write sqlite://"),
        ("redis://a/1/2", "write sqlite://"),
        ("redis+cluster://a/1", "write sqlite://"),
        ("redis+sentinel://a", "the name that the sentinels"),
        ("redis+sentinel://a/b c", "the name that the sentinels"),
        ("unix://run/redis", "absolute path"),
        ("http://a", "write sqlite://"),
        ("redisss://a", "write sqlite://"),
        ("redis", "write sqlite://"),
        ("sqlite://a", "write sqlite://"),
    ],
)
def test_what_is_none(text: str, words: str) -> None:
    with pytest.raises(ValueError, match="write") as caught:
        StoreUrl.parse(text)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


@given(
    st.text(max_size=40)
    | st.lists(
        st.sampled_from(["redis", "s", "+sentinel", "://", "a", ":", "1", "@", ",", "/", "[::1]"])
    ).map("".join)
)
def test_no_text_does_harm(text: str) -> None:
    with suppress(ValueError):
        url = StoreUrl.parse(text)
        assert (url.engine is None) == url.startswith("sqlite://")


def test_a_file_alone() -> None:
    with pytest.raises(ValueError, match="write sqlite://"):
        FileUrl.parse("redis://a")
