import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.cli._options import Options, read
from mailbell.core.errors import UsageError
from mailbell.listener.configuration import Overrides

VALUES = st.text(min_size=1)
GIVEN = st.lists(
    st.tuples(st.sampled_from(["config", "listen", "udp", "user", "socket"]), VALUES, st.booleans())
)


@given(GIVEN)
def test_every_option_is_read_in_either_form(words: list[tuple[str, str, bool]]) -> None:
    line: list[str] = []
    for name, value, joined in words:
        line += [f"--{name}={value}"] if joined else [f"--{name}", value]
    options = read(line)
    last = {name: value for name, value, _ in words}
    assert options.config == last.get("config")
    assert options.overrides() == Overrides(
        listen=tuple(v for n, v, _ in words if n == "listen"),
        udp=tuple(v for n, v, _ in words if n == "udp"),
        user=last.get("user"),
        socket=last.get("socket"),
    )


def test_no_word_no_option() -> None:
    assert read([]) == Options()


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help(word: str) -> None:
    assert read([word]).help


def test_version() -> None:
    assert read(["--version"]).version


@pytest.mark.parametrize(
    "words", [["--loud"], ["x"], ["--conf", "x"], ["--udp"], ["--help=1"], ["--"], ["-l", "x"]]
)
def test_anything_else_is_a_usage_error(words: list[str]) -> None:
    with pytest.raises(UsageError, match=r"see 'mailbelld --help'"):
        read(words)
