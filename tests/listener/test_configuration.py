"""The configuration: defaults, every planted mistake reported, examples, the document."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.configuration.values import Duration, Endpoint, Mode, Rate
from mailbell.core.errors import ConfigurationError
from mailbell.core.networks import Family, Network, NetworkMap
from mailbell.core.rfc4146 import Terminator
from mailbell.listener import configuration
from mailbell.listener._accounts import AccountMap
from mailbell.listener.configuration import (
    AccountSettings,
    Configuration,
    Limits,
    Listen,
    Overrides,
    parse,
)

ROOT = Path(__file__).parents[2]
# These belong to other programs: see tests/agent and tests/sender.
OTHERS = {"agent.toml", "sender.toml"}
SHOWN = ROOT / "examples" / "configuration"
EXAMPLES = sorted(path for path in SHOWN.glob("*.toml") if path.name not in OTHERS)

VALID = """
unmatched = "all"
[listen]
tcp = ["127.0.0.1:79", "[::1]:79"]
udp = ["127.0.0.1:79"]
user = "bell"
freebind = true
[socket]
path = "/tmp/bell.sock"
group = ""
mode = "0600"
subscribers = 1
[protocol]
terminators = ["crlf", "eof"]
deadline = "500ms"
[sources]
allow = ["192.0.2.0/24", "2001:db8::/32"]
deny = ["192.0.2.1"]
[limits]
rate = "30/m"
burst = 1
connections = 2
connections_per_source = 1
sources = 8
total_rate = "10/s"
[coalesce]
interval = "1m"
[[account]]
name = "work"
sources = ["192.0.2.25"]
addresses = ["2001:db8::25"]
[[account]]
name = "home"
sources = ["192.0.2.26"]
addresses = []
"""


def problem_paths(text: str | bytes, overrides: Overrides | None = None) -> list[str]:
    """Return the paths of all problems, in the order of the report."""
    data = text.encode() if isinstance(text, str) else text
    try:
        parse(data, overrides or Overrides())
    except ConfigurationError as error:
        return [problem.path for problem in error.problems]
    return []


def test_the_error_says_how_many_problems_there_are_and_has_them_all() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(b"a = 1\nb = 2")
    assert caught.value.exit_code == 78
    assert str(caught.value) == "2 problems in the configuration; correct it and try again"
    assert [problem.path for problem in caught.value.problems] == ["a", "b"]


def test_every_key_arrives() -> None:
    configuration = parse(VALID.encode())
    assert configuration.unmatched == "all"
    assert configuration.listen == Listen(
        (Endpoint.parse("127.0.0.1:79"), Endpoint.parse("[::1]:79")),
        (Endpoint.parse("127.0.0.1:79"),),
        "bell",
        True,
    )
    assert configuration.socket.path == "/tmp/bell.sock"
    assert configuration.socket.group == ""
    assert configuration.socket.mode == 0o600
    assert configuration.socket.subscribers == 1
    assert configuration.protocol.terminators == {Terminator.CRLF, Terminator.EOF}
    assert configuration.protocol.deadline == 0.5
    assert configuration.sources.allow == (
        Network.parse("192.0.2.0/24"),
        Network.parse("2001:db8::/32"),
    )
    assert configuration.sources.deny == (Network.parse("192.0.2.1"),)
    assert configuration.limits == Limits(Rate(0.5), 1, 2, 1, 8, Rate(10))
    assert configuration.coalesce.interval == 60.0
    assert configuration.account == (
        AccountSettings(
            "work",
            (Network.parse("192.0.2.25"),),
            ((Family.IPV6, 0x20010DB8 << 96 | 0x25),),  # type: ignore[arg-type]  # equal as a tuple
        ),
        AccountSettings("home", (Network.parse("192.0.2.26"),), ()),
    )


def test_no_file_at_all_gives_the_defaults() -> None:
    assert parse(b"") == Configuration()


@pytest.mark.parametrize(
    ("text", "overrides", "is_default"),
    [
        ("", (), True),
        ('[listen]\nuser = "bell"', (), True),
        ('[listen]\ntcp = ["0.0.0.0:79", "[::]:79"]', (), False),
        ("", ("0.0.0.0:79", "[::]:79"), False),
    ],
    ids=["no file", "another key", "the same words", "the same on the command line"],
)
def test_the_default_is_told_from_the_same_words(
    text: str, overrides: tuple[str, ...], is_default: bool
) -> None:
    """A missing family is left out of the default, and refused if the operator wrote it."""
    listen = parse(text.encode(), Overrides(overrides)).listen
    assert listen.is_default is is_default
    assert listen.tcp == Listen().tcp


class Mistake(NamedTuple):
    table: str
    key: str
    value: str
    paths: tuple[str, ...]


MISTAKES = [
    Mistake("", "unmatched", '"some"', ("unmatched",)),
    Mistake("", "colour", "1", ("colour",)),
    Mistake(
        "listen", "tcp", '["127.0.0.1:79", "localhost:79", 5]', ("listen.tcp[1]", "listen.tcp[2]")
    ),
    Mistake("listen", "udp", '["127.0.0.1:80", "0.0.0.0:79"]', ("listen.udp[1]",)),
    Mistake("listen", "user", '"root\\n"', ("listen.user",)),
    Mistake("listen", "freebind", '"yes"', ("listen.freebind",)),
    Mistake("socket", "path", '"@abstract"', ("socket.path",)),
    Mistake("socket", "group", '"a b"', ("socket.group",)),
    Mistake("socket", "mode", "0o660", ("socket.mode",)),
    Mistake("socket", "subscribers", "1025", ("socket.subscribers",)),
    Mistake("protocol", "terminators", '["crlf", "cr"]', ("protocol.terminators[1]",)),
    Mistake("protocol", "deadline", '"99ms"', ("protocol.deadline",)),
    Mistake(
        "sources",
        "allow",
        '["10.0.0.1/8", "::ffff:1.2.3.4"]',
        ("sources.allow[0]", "sources.allow[1]"),
    ),
    Mistake("sources", "deny", "{}", ("sources.deny",)),
    Mistake("limits", "rate", '"0/s"', ("limits.rate",)),
    Mistake("limits", "burst", "1.0", ("limits.burst",)),
    Mistake("limits", "connections", "true", ("limits.connections",)),
    Mistake("limits", "connections_per_source", '"8"', ("limits.connections_per_source",)),
    Mistake("limits", "sources", "7", ("limits.sources",)),
    Mistake("limits", "total_rate", "1000", ("limits.total_rate",)),
    Mistake("coalesce", "interval", '"61m"', ("coalesce.interval",)),
    Mistake("account[0]", "sources", '["192.0.2.25", ""]', ("account[0].sources[1]",)),
    Mistake("account[0]", "adresses", "[]", ("account[0].adresses",)),
    Mistake("account[1]", "name", '"work"', ("account[1].name",)),
    Mistake("account[1]", "sources", "[]", ("account[1]",)),
]


def plant(mistakes: list[Mistake]) -> str:
    """The valid file, with these mistakes in it."""
    lines: dict[str, dict[str, str]] = {"": {}}
    for line in VALID.strip().splitlines():
        if line.startswith("["):
            name = line.strip("[]")
            table = name if name != "account" else f"account[{int('account[0]' in lines)}]"
            lines[table] = {}
        else:
            key, _, value = line.partition(" = ")
            lines[table if len(lines) > 1 else ""][key] = value
    for mistake in mistakes:
        lines[mistake.table][mistake.key] = mistake.value
    text = ""
    for table, entries in lines.items():
        header = "[[account]]" if table.startswith("account") else f"[{table}]"
        text += (header if table else "") + "\n"
        text += "".join(f"{key} = {value}\n" for key, value in entries.items())
    return text


def test_planting_nothing_changes_nothing() -> None:
    assert parse(plant([]).encode()) == parse(VALID.encode())


@given(st.lists(st.sampled_from(MISTAKES), unique=True))
def test_exactly_the_planted_mistakes_are_reported(mistakes: list[Mistake]) -> None:
    expected = [path for mistake in mistakes for path in mistake.paths]
    assert sorted(problem_paths(plant(mistakes))) == sorted(expected)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("[listen]\ntcp = []", ["listen"]),
        ('[listen]\ntcp = []\nudp = ["127.0.0.1:79"]', []),
        # the consequence of another mistake is not reported
        ('[listen]\ntcp = ["x"]', ["listen.tcp[0]"]),
        ("[listen]\ntcp = 5", ["listen.tcp"]),
        ("listen = 5", ["listen"]),
        ('[[account]]\nname = "a"\nsources = ["x"]', ["account[0].sources[0]"]),
        ('[[account]]\nname = "a"\nsources = 5', ["account[0].sources"]),
        ("account = [5, 5]", ["account[0]", "account[1]"]),
        (
            "[[account]]\nsources = ['::/0']\n[[account]]\nsources = ['::/0']",
            ["account[0].name", "account[1].name"],
        ),
        ("broken =\n\n", ["line 1, column 9"]),
        # between several values
        ('[listen]\ntcp = ["[::]:79", "[0::0]:79"]', ["listen.tcp[1]"]),
        ('[listen]\nudp = ["127.0.0.1:79", "127.0.0.1:79"]', ["listen.udp[1]"]),
        ('[listen]\ntcp = ["127.0.0.1:79"]\nudp = ["127.0.0.1:79"]', []),
        ('[listen]\ntcp = ["127.0.0.1:0", "127.0.0.1:0"]', []),
        ('[[account]]\nname = "a"', ["account[0]"]),
        (
            '[listen]\nudp = ["[::]:79"]\n[[account]]\nname = "a"\naddresses = ["::1"]',
            ["listen.udp[0]"],
        ),
        ('[listen]\nudp = ["[::1]:79"]\n[[account]]\nname = "a"\naddresses = ["::1"]', []),
        ('[listen]\nudp = ["[::]:79"]\n[[account]]\nname = "a"\nsources = ["::1"]', []),
    ],
)
def test_what_lies_between_the_values_is_checked(text: str, paths: list[str]) -> None:
    assert problem_paths(text) == paths


def test_the_command_line_replaces_the_file() -> None:
    overrides = Overrides(("127.0.0.1:7979",), ("[::1]:7979",), "nobody", "/tmp/s")
    configuration = parse(VALID.encode(), overrides)
    assert configuration.listen == Listen(
        (Endpoint.parse("127.0.0.1:7979"),), (Endpoint.parse("[::1]:7979"),), "nobody", True
    )
    assert configuration.socket.path == "/tmp/s"
    assert configuration.socket.mode == 0o600
    assert configuration.limits == parse(VALID.encode()).limits


def test_mistakes_on_the_command_line_come_with_those_in_the_file() -> None:
    overrides = Overrides(("x:79", "[::]:79", "[::]:79"), ("[::]:79",), "no body", "relative")
    text = '[limits]\nburst = 0\n[[account]]\nname = "a"\naddresses = ["::1"]'
    assert problem_paths(text, overrides) == [
        "limits.burst",
        "--listen",
        "--user",
        "--socket",
        "--listen",
        "--udp",
    ]


def test_mistakes_on_the_command_line_are_reported_when_the_file_is_unreadable() -> None:
    assert problem_paths(b"\xff", Overrides(listen=("x",))) == ["line 1", "--listen"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_a_shipped_example_is_right(path: Path) -> None:
    configuration = parse(path.read_bytes())
    AccountMap(configuration.account, configuration.unmatched == "all")
    first = path.read_text().partition("\n")[0]
    assert first.startswith(f"# {path.name}: ")


def test_the_examples_are_there() -> None:
    assert {path.name for path in EXAMPLES} >= {
        "mailbelld.toml",
        "home.toml",
        "one-server.toml",
        "several-accounts.toml",
        "ipv6-address-per-account.toml",
        "old-senders.toml",
        "udp.toml",
    }


def table_keys(structure: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield every key with its annotation and its default; `...`: the key is required."""
    for field in msgspec.structs.fields(structure):
        default = ... if field.required else field.default
        inner = get_args(get_args(field.type)[0])[:1] if get_origin(field.type) else ()
        if isinstance(default, msgspec.Struct):
            yield from table_keys(type(default), f"{prefix}{field.name}.")
            continue
        yield f"{prefix}{field.name}", field.type, default
        if inner == (AccountSettings,):
            yield from table_keys(AccountSettings, f"{prefix}{field.name}.")


KEYS = {key: (annotation, default) for key, annotation, default in table_keys(Configuration)}


def test_the_full_example_has_every_key_and_is_the_defaults() -> None:
    data = (SHOWN / "mailbelld.toml").read_bytes()
    assert parse(data) == Configuration()
    table = tomllib.loads(data.decode())
    written = {"unmatched"} | {
        f"{name}.{key}" for name, keys in table.items() if isinstance(keys, dict) for key in keys
    }
    assert written == {key for key in KEYS if not key.startswith("account")}


def test_the_account_in_the_comment_of_the_full_example_is_right() -> None:
    text = (SHOWN / "mailbelld.toml").read_text()
    commented = text[text.index("# [[account]]") :].replace("# ", "")
    assert [account.name for account in parse((text + commented).encode()).account] == ["work"]


def documented() -> dict[str, tuple[str, str]]:
    """Return the default and the bounds of each key, from the tables of the document."""
    document = (ROOT / "docs" / "configuration.md").read_text()
    text = document.partition("## Configuration of `mailbell-sender`")[0]
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \| [^|]+ \| ([^|]+) \|([^|]*)\|$", text, re.MULTILINE)
    return {key: (default.strip().strip("`"), bounds.strip()) for key, default, bounds in rows}


def test_the_document_has_every_key_and_no_other() -> None:
    assert list(documented()) == list(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_the_document_has_the_default(key: str) -> None:
    default = documented()[key][0]
    if KEYS[key][1] is ...:
        assert default == "required"
        return
    if key.startswith("account."):  # no default without an account
        assert (default, KEYS[key][1]) == ("[]", ())
        return
    value: Any = parse(f"{key} = {default}".encode())
    for part in key.split("."):
        value = getattr(value, part)
    assert value == KEYS[key][1]


def bounds_of(annotation: Any) -> str:
    """Return the bounds as the document writes them; empty: the annotation has none."""
    if get_origin(annotation) is not Annotated:
        return ""
    kind, meta = get_args(annotation)
    if meta.max_length is not None:
        return (
            f"{meta.min_length} to {meta.max_length}"
            if meta.min_length
            else f"at most {meta.max_length}"
        )
    if meta.ge is None:
        return ""
    return f"{kind(meta.ge)!s} to {kind(meta.le)!s}"


@pytest.mark.parametrize("key", [key for key in KEYS if bounds_of(KEYS[key][0])])
def test_the_document_has_the_bounds(key: str) -> None:
    assert documented()[key][1] == bounds_of(KEYS[key][0])


@pytest.mark.parametrize(
    ("key", "inside", "outside"),
    [
        ("listen.user", '"' + "u" * 32 + '"', '"' + "u" * 33 + '"'),
        ("socket.group", '"' + "u" * 32 + '"', '"' + "u" * 33 + '"'),
        ("socket.path", '"/' + "p" * 106 + '"', '"/' + "p" * 107 + '"'),
        ("socket.mode", '"0777"', '"1777"'),
        ("socket.mode", '"0600"', '"0577"'),
        ("limits.rate", '"1/h"', '"0/h"'),
        ("limits.rate", '"1000000/s"', '"1000001/s"'),
        ("protocol.deadline", '"100ms"', '"99ms"'),
        ("protocol.deadline", '"1m"', '"61s"'),
        ("coalesce.interval", '"10ms"', '"9ms"'),
        ("coalesce.interval", '"1h"', '"3601s"'),
        ("limits.burst", "1000000", "1000001"),
        ("limits.sources", "8", "7"),
        ("protocol.terminators", '["crlf", "lf", "eof"]', "[]"),
        (
            "sources.allow",
            str(["::1"] * 256).replace(" ", "\n"),
            str(["::1"] * 257).replace(" ", "\n"),
        ),
        (
            "listen.udp",
            str([f"[::1]:{n}" for n in range(64)]),
            str([f"[::1]:{n}" for n in range(65)]),
        ),
    ],
)
def test_a_bound_is_where_it_is_said_to_be(key: str, inside: str, outside: str) -> None:
    assert problem_paths(f"{key} = {inside}") == []
    assert problem_paths(f"{key} = {outside}") == [key]


@pytest.mark.parametrize("name", ["a", "A.b_c@d+e-9", "x" * 64])
def test_an_account_name_is_taken(name: str) -> None:
    text = f'account = [{{name = "{name}", sources = ["::1"]}}]'
    assert parse(text.encode()).account[0].name == name


@pytest.mark.parametrize("name", ["", ".a", "-a", "a b", "a/b", "a\\n", "\u00fc", "x" * 65])
def test_an_account_name_is_refused(name: str) -> None:
    text = f'account = [{{name = "{name}", sources = ["::1"]}}]'
    assert problem_paths(text) == ["account[0].name"]


def test_the_messages_of_the_document_are_the_real_ones() -> None:
    text = (
        '[limits]\nrate = "5"\n[[account]]\nname = "a"\nsources = ["::1"]\n'
        '[[account]]\nname = "b"\nsources = ["10.0.0.1/8"]'
    )
    with pytest.raises(ConfigurationError) as caught:
        parse(text.encode())
    document = (ROOT / "docs" / "configuration.md").read_text()
    for problem in caught.value.problems:
        assert f"    {problem}\n" in document


def test_the_values_are_the_numbers_and_strings_they_stand_for() -> None:
    configuration = Configuration()
    assert isinstance(configuration.protocol.deadline, float)
    assert isinstance(configuration.limits.rate, float)
    assert isinstance(configuration.socket.mode, int)
    assert isinstance(configuration.socket.path, str)
    assert (Duration(5), Rate(1), Mode(0o660)) == (5.0, 1.0, 0o660)


@pytest.mark.uncounted
def test_a_file_with_ten_thousand_accounts_is_read_and_one_more_is_refused() -> None:
    row = '[[account]]\nname = "a{0}"\nsources = ["2001:db8::{0:x}"]\n'
    most = "".join(row.format(number) for number in range(10_000))
    assert len(parse(most.encode()).account) == 10_000
    assert problem_paths(most + row.format(10_000)) == ["account"]


def test_combinations_of_sources_and_addresses_are_bounded() -> None:
    def account(name: str, sources: int, addresses: int) -> str:
        networks = ",\n".join(f'"10.{i // 256}.{i % 256}.1"' for i in range(sources))
        called = ",\n".join(f'"2001:db8::{i:x}"' for i in range(1, addresses + 1))
        return f'[[account]]\nname = "{name}"\nsources = [{networks}]\naddresses = [{called}]\n'

    parse(account("a", 256, 256).encode())
    parse(
        (
            account("a", 256, 256) * 1
            + account("b", 256, 256)
            + account("c", 256, 256)
            + account("d", 256, 13)
        ).encode()
    )
    with pytest.raises(ConfigurationError) as caught:
        parse(
            (
                account("a", 256, 256)
                + account("b", 256, 256)
                + account("c", 256, 256)
                + account("d", 256, 14)
            ).encode()
        )
    (problem,) = caught.value.problems
    assert problem.path == "account"
    assert problem.message.startswith("200192 combinations of sources and addresses, at")


# Every value is of a kind that no key takes.
WRONG = """
unmatched = 1.5
[listen]
tcp = 1.5
udp = [1.5]
user = 1.5
freebind = 1.5
[socket]
path = 1.5
group = 1.5
mode = 1.5
subscribers = 1.5
[protocol]
terminators = [1.5]
deadline = 1.5
[sources]
allow = 1.5
deny = [1.5]
nat64 = 1.5
[limits]
rate = 1.5
burst = 1.5
connections = 1.5
connections_per_source = 1.5
sources = 1.5
total_rate = 1.5
[coalesce]
interval = 1.5
[[account]]
name = 1.5
sources = 1.5
addresses = 1.5
[[account]]
addresses = [1.5]
"""
WRONG_PARTS = """
account = 1.5
[protocol]
terminators = []
"""
FORMS = {
    "unmatched": '"none" or "all"',
    "listen.tcp": 'an array of at most 64 values, such as ["0.0.0.0:79", "[::]:79"]',
    "listen.udp[0]": 'a numeric address and a port such as "0.0.0.0:79" or "[::]:79"',
    "listen.user": 'the name of a user, such as "mailbell"',
    "listen.freebind": "true or false",
    "socket.path": "an absolute path of at most 107 bytes such as /run/mailbell/mailbell.sock",
    "socket.group": 'the name of a group, such as "mailbell", or "" for the daemon\'s own',
    "socket.mode": (
        'an octal mode in quotes that lets the owner read and write such as "0660" or "0600"'
    ),
    "socket.subscribers": "a whole number from 1 to 1024, such as 64",
    "protocol.terminators[0]": '"crlf", "lf" or "eof"',
    "protocol.deadline": 'a duration from "100ms" to "1m", such as "5s"',
    "sources.allow": 'an array of at most 256 values, such as ["192.0.2.0/24", "2001:db8::/32"]',
    "sources.deny[0]": (
        "a numeric address or network such as 192.0.2.25, 192.0.2.0/24 or 2001:db8::/32"
    ),
    "sources.nat64": 'an array of at most 8 values, such as ["2001:db8:64::/96"]',
    "limits.rate": 'a rate from "1/h" to "1000000/s", such as "1/s"',
    "limits.burst": "a whole number from 1 to 1000000, such as 10",
    "limits.connections": "a whole number from 1 to 16384, such as 256",
    "limits.connections_per_source": "a whole number from 1 to 16384, such as 8",
    "limits.sources": "a whole number from 8 to 1048576, such as 8192",
    "limits.total_rate": 'a rate from "1/h" to "1000000/s", such as "1/s"',
    "coalesce.interval": 'a duration from "10ms" to "1h", such as "1s"',
    "account[0].name": 'a name of 1 to 64 letters, digits and any of "._@+-", such as "work"',
    "account[0].sources": 'an array of at most 256 values, such as ["192.0.2.25"]',
    "account[0].addresses": 'an array of at most 256 values, such as ["2001:db8::25"]',
    "account[1].addresses[0]": "a numeric address such as 192.0.2.25 or 2001:db8::25",
    "account": 'an array of at most 10000 values, such as [[account]] with name = "work"',
}


def messages_of(text: str) -> list[str]:
    """Return all problems in words."""
    with pytest.raises(ConfigurationError) as caught:
        parse(text.encode())
    return [str(problem) for problem in caught.value.problems]


def is_table(value: object) -> bool:
    if not isinstance(value, type) or value is msgspec.Struct:
        return False
    return issubclass(value, msgspec.Struct)


def test_each_value_of_another_kind_is_told_the_form() -> None:
    said = [message for text in (WRONG, WRONG_PARTS) for message in messages_of(text)]
    written = [f"{path}: 1.5 is not accepted: write {form}" for path, form in FORMS.items()]
    assert [message for message in said if "1.5" in message] == written


def test_values_that_do_not_fit_together_are_told_what_to_do() -> None:
    text = """
[listen]
tcp = ["127.0.0.1:5", "127.0.0.1:5"]
udp = ["0.0.0.0:5"]
[[account]]
name = "a"
addresses = ["192.0.2.7"]
[[account]]
name = "a"
"""
    assert messages_of(text) == [
        'listen.tcp[1]: "127.0.0.1:5" is there twice: remove one',
        'account[1].name: "a" is the name of account[0] too: choose another',
        (
            "account[1]: would match nothing: write sources or addresses, such as "
            'sources = ["0.0.0.0/0", "::/0"] for any source'
        ),
        (
            'listen.udp[0]: "0.0.0.0:5" is every address, but an account has addresses, and a '
            "datagram does not tell which it was sent to: write one address, "
            'such as "192.0.2.25:79"'
        ),
    ]
    assert messages_of("[listen]\ntcp = []") == [
        'listen: no listener at all: write tcp = ["0.0.0.0:79", "[::]:79"]'
    ]


@pytest.mark.parametrize(
    "table",
    [each for each in vars(configuration).values() if is_table(each)],
)
def test_a_configuration_cannot_be_changed(table: type[msgspec.Struct]) -> None:
    assert table.__struct_config__.frozen


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (Overrides(udp=("x",)), f'--udp: "x" is not accepted: write {Endpoint.form}'),
        (Overrides(listen=("x",)), f'--listen: "x" is not accepted: write {Endpoint.form}'),
        (
            Overrides(udp=("127.0.0.1:5", "127.0.0.1:5")),
            '--udp: "127.0.0.1:5" is there twice: remove one',
        ),
        (
            Overrides(listen=("127.0.0.1:5", "127.0.0.1:5")),
            '--listen: "127.0.0.1:5" is there twice: remove one',
        ),
    ],
)
def test_a_mistake_of_the_command_line_names_the_option(overrides: Overrides, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(b"", overrides)
    assert [str(each) for each in caught.value.problems] == [problem]


def test_a_start_may_have_so_many_combinations(monkeypatch: pytest.MonkeyPatch) -> None:
    assert configuration.MAX_COMBINATIONS == 200_000
    monkeypatch.setattr(configuration, "MAX_COMBINATIONS", 2)
    account = '[[account]]\nname = "a"\nsources = '
    assert problem_paths(account + '["192.0.2.1", "192.0.2.2"]') == []
    assert problem_paths(account + '["192.0.2.1", "192.0.2.2", "192.0.2.3"]') == ["account"]


def test_the_sources_that_are_listed_are_those_of_all_tables() -> None:
    listed = ("192.0.2.0/24", "2001:db8::/32", "192.0.2.25", "192.0.2.26")
    assert list(parse(VALID.encode()).listed) == [Network.parse(text) for text in listed]


def test_the_own_translators_are_among_all() -> None:
    sources = parse(b'[sources]\nnat64 = ["2001:db8:64::/96"]').sources
    networks = NetworkMap([(Network.parse("192.0.2.25"), True)])
    behind = 0x20010DB8_00640000 << 64 | 0xC0000219
    assert sources.translation.lookup(networks, Family.IPV6, behind)
    assert not parse(b"").sources.translation.lookup(networks, Family.IPV6, behind)
