"""What the values of a recipe may be: the longest, what is too long, and the words for it."""

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from mailbell.recipes import _values
from mailbell.recipes._values import maybe, sentence

CASES: list[tuple[Meta, list[str], list[str]]] = [
    (
        _values.SERVER,
        ["a", "postfix", "z9.-", "a" * 32],
        ["", "a" * 33, "9a", ".a", "-a", "A", "aB", "a_", "a\n", " a", "\u00e4", "a/"],
    ),
    (
        _values.NAME,
        ["a", "forward", "z9-", "a" * 32],
        ["", "a" * 33, "9a", "-a", "A", "aB", "a_", "a.", "a\n", " a", "\u00e4"],
    ),
    (
        _values.USER,
        ["a", "_", "Z", "root", "A9_.-", "a" * 32],
        ["", "a" * 33, "9a", ".a", "-a", "a b", "a\n", " a", "\u00e4", "a@"],
    ),
    (
        _values.PACKAGE,
        ["a", "9", "lua-socket", "libstdc++6", "a9.+-", "a" * 64],
        ["", "a" * 65, ".a", "+a", "-a", "A", "aB", "a_", "a\n", " a", "\u00e4"],
    ),
    (_values.WORD, ["", " ~", "-e", "x" * 1000], ["x" * 1001, "a\n", "\t", "\x7f", "\u00e4"]),
    (_values.LINE, ["", " ~\t", "x" * 1000], ["x" * 1001, "a\n", "\r", "\x7f", "\u00e4"]),
    (_values.TEXT, ["", " ~\t\n", "x" * 8000], ["x" * 8001, "\r", "\x7f", "\u00e4", "\0"]),
    (
        _values.PATH,
        ["", "/x", "@home@/.forward", "@files@/!~", "/" + "x" * 200],
        ["/", "x", "@home@", "@home@/", "@user@/x", "/a b", "/x\n", "/" + "x" * 201, "/\u00e4"],
    ),
    (_values.MODE, ["", "0644", "0700", "0777"], ["644", "0648", "1644", "06444", "0644\n", "x"]),
    (
        _values.OWNER,
        ["", "@user@", "root", "_", "Z9_.-", "a" * 32],
        ["@home@", "@user@x", "9a", "-a", "a b", "a" * 33, "root\n", "\u00e4"],
    ),
    (sentence(2, 5), ["ab", " ~", "abcde"], ["a", "abcdef", "ab\n", "a\tb", "\u00e4b", ""]),
    (maybe(5), ["", " ~", "abcde"], ["abcdef", "\n", "ab\n", "\t", "\u00e4"]),
]


@pytest.mark.parametrize(("meta", "good", "bad"), CASES, ids=lambda case: str(case)[:30])
def test_exactly_what_fits_is_accepted(meta: Meta, good: list[str], bad: list[str]) -> None:
    kind: Any = Annotated[str, meta]
    for text in good:
        assert msgspec.convert(text, kind) == text
    for text in bad:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(text, kind)


@pytest.mark.parametrize(
    ("meta", "most", "entry"), [(_values.WORDS, 100, "-e"), (_values.PACKAGES, 16, "lua-socket")]
)
def test_a_list_has_its_most_entries(meta: Meta, most: int, entry: str) -> None:
    kind: Any = Annotated[tuple[str, ...], meta]
    for entries in (0, most):
        assert len(msgspec.convert([entry] * entries, kind)) == entries
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert([entry] * (most + 1), kind)


def test_the_entries_of_a_list_have_their_forms() -> None:
    words: Any = Annotated[_values.Words, _values.WORDS]
    packages: Any = Annotated[_values.Packages, _values.PACKAGES]
    assert msgspec.convert(["a B", ""], words) == ("a B", "")
    assert msgspec.convert(["lua-socket"], packages) == ("lua-socket",)
    for kind, text in ((words, "a\n"), (packages, "")):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert([text], kind)


def test_what_a_value_may_be_is_told_in_words() -> None:
    said = {
        name: getattr(_values, name).description
        for name in _values.__all__
        if isinstance(getattr(_values, name), Meta)
    }
    assert said == {
        "SERVER": 'the file\'s name: 1 to 32 small letters, digits, "-" and ".", such as "postfix"',
        "NAME": 'a name of 1 to 32 small letters, digits and "-", such as "forward"',
        "USER": 'the name of a user, such as "root"',
        "PACKAGE": 'the name of a package, such as "lua-socket"',
        "WORD": 'a word of at most 1000 printable ASCII characters, such as "-e"',
        "LINE": "at most 1000 printable ASCII characters on one line",
        "TEXT": "at most 8000 printable ASCII characters in lines",
        "PATH": 'an absolute path, such as "/etc/aliases" or "@home@/.forward"',
        "MODE": 'permissions, such as "0644"',
        "OWNER": 'the name of a user, such as "root" or "@user@"',
        "TELLS": '"mail", "logins" or "both"',
        "ORDER": '"after", "before" or "race"',
        "WORDS": 'an array of at most 100 values, such as ["postconf", "-h", "home_mailbox"]',
        "PACKAGES": 'an array of at most 16 values, such as ["lua-socket"]',
    }
    assert sentence(2, 5).description == "2 to 5 printable ASCII characters on one line"
    assert maybe(5).description == "at most 5 printable ASCII characters on one line"
