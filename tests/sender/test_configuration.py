"""The configuration of mailbell-sender: defaults, every planted mistake, examples, the document."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.errors import ConfigurationError
from mailbell.core.networks import Address, Network
from mailbell.core.notification import Transport
from mailbell.sender import configuration
from mailbell.sender.configuration import (
    AccountSettings,
    Backoff,
    Configuration,
    StoreUrl,
    TargetSetting,
    parse,
)

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "configuration" / "sender.toml"

VALID = """
[listen]
hook = "/tmp/hook"
control = "/tmp/control"
comsat = ["127.0.0.1:5512", "[::1]:5512"]
cyrus = "/tmp/cyrus"
user = "bell"
trusted = ["root", "Debian-exim"]
group = ""
[quiet]
folders = ["Junk", "INBOX.Sent mail"]
[send]
port = 7979
transport = "udp"
deadline = "500ms"
connections = 2
rate = "10/s"
interval = "100ms"
backoff = "1s..24h"
[last_used]
ttl = "7d"
addresses = 16
allow = ["192.0.2.0/24"]
deny = ["192.0.2.1"]
[store]
url = "sqlite:///tmp/state.db"
[default]
targets = ["last-used"]
[[account]]
name = "anna@example.org"
aliases = ["anna", "anna@example.net"]
targets = ["last-used", "192.0.2.7", "[2001:db8::7]:80", "2001:db8::8", "laptop.example.net"]
transport = "tcp"
enabled = true
[[account]]
name = "bert"
"""

# One mistake a row: the line of VALID that it replaces, what stands there, the paths reported.
MISTAKES = [
    ('hook = "/tmp/hook"', 'hook = "hook"', ["listen.hook"]),
    ('control = "/tmp/control"', 'control = ""', ["listen.control"]),
    ('cyrus = "/tmp/cyrus"', 'cyrus = "/tmp/hook"', ["listen.cyrus"]),
    ('"[::1]:5512"]', '"127.0.0.1:5512", "localhost:1"]', ["listen.comsat[2]", "listen.comsat[1]"]),
    ('user = "bell"', 'user = "a b"', ["listen.user"]),
    ('"Debian-exim"]', '"", 5]', ["listen.trusted[1]", "listen.trusted[2]"]),
    ('group = ""', 'group = "-"', ["listen.group"]),
    ('"INBOX.Sent mail"', '""', ["quiet.folders[1]"]),
    ("port = 7979", "port = 65536", ["send.port"]),
    ('transport = "udp"', 'transport = "sctp"', ["send.transport"]),
    ('deadline = "500ms"', "deadline = 2", ["send.deadline"]),
    ("connections = 2", "connections = 0", ["send.connections"]),
    ('rate = "10/s"', 'rate = "0/s"', ["send.rate"]),
    ('interval = "100ms"', 'interval = "9ms"', ["send.interval"]),
    ('backoff = "1s..24h"', 'backoff = "10m..30s"', ["send.backoff"]),
    ('ttl = "7d"', 'ttl = "8d"', ["last_used.ttl"]),
    ("addresses = 16", "addresses = 17", ["last_used.addresses"]),
    ('allow = ["192.0.2.0/24"]', 'allow = ["192.0.2.1/24"]', ["last_used.allow[0]"]),
    ('deny = ["192.0.2.1"]', "deny = [5]", ["last_used.deny[0]"]),
    ('url = "sqlite:///tmp/state.db"', 'url = "redis://anna:secret@localhost"', ["store.url"]),
    ('url = "sqlite:///tmp/state.db"', 'file = "redis://localhost/0"', ["store.file"]),
    ('url = "sqlite:///tmp/state.db"', 'node = "mx1"', ["store.node"]),
    ('url = "sqlite:///tmp/state.db"', 'password_file = "/a"', ["store.password_file"]),
    ('url = "sqlite:///tmp/state.db"', 'url = "unix:///a"\nca_file = "/a"', ["store.ca_file"]),
    ('url = "sqlite:///tmp/state.db"', 'url = "redis://a"\nports = [1]', ["store.ports"]),
    ('url = "sqlite:///tmp/state.db"', 'url = "redis://a"\nnode = "a b"', ["store.node"]),
    (
        'url = "sqlite:///tmp/state.db"',
        'url = "redis://a"\npassword_file = "a"',
        ["store.password_file"],
    ),
    (
        'url = "sqlite:///tmp/state.db"',
        'url = "redis+cluster://a"\nports = [0]',
        ["store.ports[0]"],
    ),
    ('targets = ["last-used"]', 'targets = ["last-used", "last-used"]', ["default.targets[1]"]),
    ('name = "anna@example.org"', 'name = ""', ["account[0].name"]),
    ('"anna@example.net"]', '"Anna", "anna@EXAMPLE.org"]', ["account[0].aliases[2]"]),
    ('"192.0.2.7"', '"192.0.2.700"', ["account[0].targets[1]"]),
    ('"[2001:db8::7]:80"', '"[2001:db8::7]:65536"', ["account[0].targets[2]"]),
    ('"laptop.example.net"', '"192.0.2.7", ""', ["account[0].targets[5]", "account[0].targets[4]"]),
    ('transport = "tcp"', "transport = 5", ["account[0].transport"]),
    ("enabled = true", "enabled = 1", ["account[0].enabled"]),
    ('name = "bert"', 'name = "anna"', ["account[1].name"]),
    ('name = "bert"', 'name = "bert"\ntargets = []', ["account[1].targets"]),
    ('name = "bert"', 'name = "bert"\ncolour = 5', ["account[1].colour"]),
]  # fmt: skip


def problems_of(text: str) -> list[str]:
    """Return the paths of all problems."""
    try:
        parse(text.encode())
    except ConfigurationError as error:
        return [problem.path for problem in error.problems]
    return []


def account_of(targets: str) -> AccountSettings:
    return parse(f'[[account]]\nname = "anna"\ntargets = [{targets}]'.encode()).account[0]


def test_a_node_of_a_cluster_has_a_file_of_its_own() -> None:
    store = parse(b'[store]\nurl = "redis://a"\nfile = "sqlite:///tmp/state.db"').store
    assert (store.key, store.path) == ("store.file", "/tmp/state.db")


def test_every_key_arrives() -> None:
    found = parse(VALID.encode())
    assert (found.listen.hook, found.listen.control) == ("/tmp/hook", "/tmp/control")
    assert list(map(str, found.listen.comsat)) == ["127.0.0.1:5512", "[::1]:5512"]
    assert (found.listen.cyrus, found.listen.user, found.listen.group) == ("/tmp/cyrus", "bell", "")
    assert found.listen.trusted == ("root", "Debian-exim")
    assert found.quiet.folders == ("Junk", "INBOX.Sent mail")
    assert (found.send.port, found.send.transport) == (7979, Transport.UDP)
    assert (found.send.deadline, found.send.connections, found.send.rate) == (0.5, 2, 10.0)
    assert (found.send.interval, found.send.backoff) == (0.1, Backoff(1, 86_400))
    assert (found.last_used.ttl, found.last_used.addresses) == (7 * 86_400.0, 16)
    assert found.last_used.allow == (Network.parse("192.0.2.0/24"),)
    assert found.last_used.deny == (Network.parse("192.0.2.1"),)
    assert found.store.url.path == "/tmp/state.db"
    assert (found.store.key, found.store.path) == ("store.url", "/tmp/state.db")
    assert found.default.targets == (TargetSetting(None, None),)
    anna, bert = found.account
    assert (anna.name, anna.aliases) == ("anna@example.org", ("anna", "anna@example.net"))
    assert anna.targets == (
        TargetSetting(None, None),
        TargetSetting(Address.parse("192.0.2.7"), None),
        TargetSetting(Address.parse("2001:db8::7"), 80),
        TargetSetting(Address.parse("2001:db8::8"), None),
        TargetSetting("laptop.example.net", None),
    )
    assert (anna.transport, anna.enabled) == (Transport.TCP, True)
    assert bert == AccountSettings(name=bert.name)
    assert (bert.targets, bert.transport, bert.enabled) == (
        (TargetSetting(None, None),),
        None,
        True,
    )


def test_no_file_at_all_gives_the_defaults() -> None:
    assert parse(b"") == Configuration()


def test_the_lock_learns_what_the_targets_need() -> None:
    found = parse(VALID.encode())
    assert found.ports == {7979, 80}
    assert found.udp_ports == {7979}
    assert found.has_names
    nothing = parse(b"")
    assert (nothing.ports, nothing.udp_ports, nothing.has_names) == (
        frozenset(),
        frozenset(),
        False,
    )
    default = parse(b'[default]\ntargets = ["last-used", "192.0.2.7:80"]')
    assert (default.ports, default.udp_ports, default.has_names) == (
        frozenset({79, 80}),
        frozenset(),
        False,
    )


def test_the_error_has_every_problem() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(b"a = 1\nb = 2")
    assert caught.value.exit_code == 78
    assert [problem.path for problem in caught.value.problems] == ["a", "b"]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake[1])
def test_one_mistake_is_reported_with_its_path(mistake: tuple[str, str, list[str]]) -> None:
    old, new, paths = mistake
    assert VALID.count(old) == 1
    assert problems_of(VALID.replace(old, new)) == paths


@given(st.lists(st.sampled_from(MISTAKES), unique_by=lambda mistake: mistake[0]))
def test_all_mistakes_are_reported_together(mistakes: list[tuple[str, str, list[str]]]) -> None:
    text = VALID
    for old, new, _ in mistakes:
        text = text.replace(old, new)
    # A value that cannot be read hides a conflict with it.
    found = problems_of(text)
    alone = {path for _, _, paths in mistakes for path in paths}
    assert set(found) <= alone
    assert len(found) >= len(mistakes) - 2


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ('[listen]\nhook = "/a"\ncontrol = "/a"', ["listen.control"]),
        ('[listen]\nhook = 5\ncontrol = "/a"\ncyrus = "/a"', ["listen.hook", "listen.cyrus"]),
        ('[listen]\ncomsat = ["127.0.0.1:0", "127.0.0.1:0"]', []),
        ("listen = 5", ["listen"]),
        ("account = [5, 5]", ["account[0]", "account[1]"]),
        ('[[account]]\nname = "a"\nenabled = false\ntargets = []', []),
        ('[[account]]\nname = "a"\n[[account]]\nname = "A"', []),
        ('[[account]]\nname = "a@B"\n[[account]]\nname = "a@b"', ["account[1].name"]),
        (
            '[[account]]\naliases = ["b"]\n[[account]]\nname = "b"',
            ["account[0].name", "account[1].name"],
        ),
    ],
)
def test_what_lies_between_the_values_is_checked(text: str, paths: list[str]) -> None:
    assert problems_of(text) == paths


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("last-used", None, None),
        ("192.0.2.7", Address.parse("192.0.2.7"), None),
        ("192.0.2.7:80", Address.parse("192.0.2.7"), 80),
        ("2001:db8::7", Address.parse("2001:db8::7"), None),
        ("[2001:db8::7]", Address.parse("2001:db8::7"), None),
        ("[2001:db8::7]:65535", Address.parse("2001:db8::7"), 65_535),
        ("Laptop.Example.NET.", "laptop.example.net", None),
        ("laptop", "laptop", None),
        ("a_b.example:1", "a_b.example", 1),
        ("3com.example", "3com.example", None),
    ],
)
def test_a_target_is_read(text: str, host: Address | str | None, port: int | None) -> None:
    target = TargetSetting.parse(text)
    assert target == (host, port)
    assert TargetSetting.parse(str(target)) == target


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "a..b", "-a.example", "a-.example", "a" * 64, "a." * 127 + "b", "a b",
        "b\u00fccher", "192.0.2", "192.0.2.256", "1", "0x7f000001", "0.0.0.0", "::",
        "::ffff:192.0.2.7", "fe80::1%eth0", "192.0.2.7:0", "192.0.2.7:65536", "192.0.2.7:079",
        "192.0.2.7:", "[2001:db8::7", "[192.0.2.7]", "[2001:db8::7]80", "[a]:80", "http://a",
        "last-used:80:80", "a/b", "Last-used", "last-used.", "last-used:79", "LAST-USED:79",
    ],
)  # fmt: skip
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^write |stands for every address"):
        TargetSetting.parse(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:///var/lib/x.db", "/var/lib/x.db"),
        ("sqlite:////x", "//x"),
        ("sqlite://relative", None),
        ("sqlite:///", None),
        ("sqlite:///a/", None),
        ("sqlite:///a?mode=ro", None),
        ("sqlite:///a\nb", None),
        ("/var/lib/x.db", None),
        ("sqlite:///" + "a" * 4000, None),
    ],
)
def test_the_url_of_the_store(text: str, path: str | None) -> None:
    if path is None:
        with pytest.raises(ValueError, match=r"write sqlite:// and an absolute path"):
            StoreUrl.parse(text)
    else:
        assert StoreUrl.parse(text).path == path


@pytest.mark.parametrize(
    "text", ["", "30s", "30s..", "..10m", "10m..30s", "999ms..1s", "1s..25h", "30s...10m"]
)
def test_what_is_no_backoff_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^write two durations"):
        Backoff.parse(text)


def test_a_backoff_is_written_as_it_is_read() -> None:
    assert str(Configuration().send.backoff) == "30s..10m"
    assert Backoff.parse("30s..10m") == Configuration().send.backoff


def table_keys(structure: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield every key with its annotation and its default; `...`: the key is required."""
    for field in msgspec.structs.fields(structure):
        default = ... if field.required else field.default
        if isinstance(default, msgspec.Struct):
            yield from table_keys(type(default), f"{prefix}{field.name}.")
            continue
        if field.name == "account":
            yield from table_keys(AccountSettings, "account.")
            continue
        yield f"{prefix}{field.name}", field.type, default


KEYS = {key: (annotation, default) for key, annotation, default in table_keys(Configuration)}


def test_the_full_example_has_every_key_and_is_the_defaults() -> None:
    data = EXAMPLE.read_bytes()
    assert parse(data) == Configuration()
    table = tomllib.loads(data.decode())
    written = {f"{name}.{key}" for name, keys in table.items() for key in keys}
    assert written == {key for key in KEYS if not key.startswith("account.")}
    assert data.startswith(b"# sender.toml: ")


def test_the_account_in_the_comment_of_the_full_example_is_right() -> None:
    text = EXAMPLE.read_text()
    commented = text[text.index("# [[account]]") :].replace("# ", "")
    (account,) = parse((text + commented).encode()).account
    assert account.name == "anna@example.org"
    keys = {key.removeprefix("account.") for key in KEYS if key.startswith("account.")}
    assert keys == set(tomllib.loads(commented)["account"][0])


def documented() -> dict[str, tuple[str, str]]:
    """Return the default and the bounds of each key, from the tables of the document."""
    document = (ROOT / "docs" / "configuration.md").read_text()
    text = document.partition("## Configuration of `mailbell-sender`")[2]
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \| [^|]+ \| ([^|]+) \|([^|]*)\|$", text, re.MULTILINE)
    return {key: (default.strip().strip("`"), bounds.strip()) for key, default, bounds in rows}


def test_the_document_has_every_key_and_no_other() -> None:
    assert set(documented()) == set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_the_document_has_the_default(key: str) -> None:
    default, value = documented()[key][0], KEYS[key][1]
    if key.startswith("account."):
        if value is ... or value is None:
            assert default == {"name": "required", "transport": "`send.transport`"}[key[8:]].strip(
                "`"
            )
            return
        text = f'[[account]]\nname = "a"\n{key.removeprefix("account.")} = {default}'
        assert getattr(parse(text.encode()).account[0], key[8:]) == value
        return
    found: Any = parse(f"{key} = {default}".encode())
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


def bounds_of(annotation: Any) -> str:
    """Return the bounds as the document writes them; empty: the annotation has none."""
    if get_origin(annotation) is not Annotated:
        return ""
    kind, meta = get_args(annotation)
    if meta.max_length is not None:
        return f"at most {meta.max_length}"
    if meta.ge is None:
        return ""
    return f"{kind(meta.ge)!s} to {kind(meta.le)!s}".replace("168h", "7d")


@pytest.mark.parametrize("key", [key for key in KEYS if bounds_of(KEYS[key][0])])
def test_the_document_has_the_bounds(key: str) -> None:
    assert documented()[key][1] == bounds_of(KEYS[key][0])


@pytest.mark.uncounted
def test_ten_thousand_accounts_are_read_and_one_more_is_refused() -> None:
    row = '[[account]]\nname = "a{0}@example.org"\n'
    most = "".join(row.format(number) for number in range(10_000))
    assert len(parse(most.encode()).account) == 10_000
    assert problems_of(most + row.format(10_000)) == ["account"]


def test_users_matter_who_are_trusted_or_have_the_name_of_an_account_without_a_domain() -> None:
    configuration = parse(VALID.encode())
    assert list(configuration.possible_users) == ["root", "Debian-exim", "anna", "bert"]


# Every value is of a kind that no key takes.
WRONG = """
[listen]
hook = 1.5
control = 1.5
comsat = 1.5
cyrus = 1.5
user = 1.5
trusted = 1.5
group = 1.5
[quiet]
folders = 1.5
[send]
port = 1.5
transport = 1.5
deadline = 1.5
connections = 1.5
rate = 1.5
interval = 1.5
backoff = 1.5
[last_used]
ttl = 1.5
addresses = 1.5
allow = 1.5
deny = 1.5
[store]
url = 1.5
file = 1.5
node = 1.5
password_file = 1.5
ca_file = 1.5
ports = 1.5
[default]
targets = 1.5
[[account]]
name = 1.5
aliases = 1.5
targets = 1.5
transport = 1.5
enabled = 1.5
"""
WRONG_PARTS = """
account = 1.5
[listen]
trusted = [1.5]
[quiet]
folders = [1.5]
[last_used]
allow = [1.5]
[store]
ports = [1.5]
[default]
targets = [1.5]
"""
FORMS = {
    "listen.hook": "an absolute path of at most 107 bytes such as /run/mailbell/mailbell.sock",
    "listen.control": "an absolute path of at most 107 bytes such as /run/mailbell/mailbell.sock",
    "listen.comsat": 'an array of at most 16 values, such as ["127.0.0.1:5512"]',
    "listen.cyrus": (
        'an absolute path of at most 107 bytes such as /run/mailbell/mailbell.sock, or ""'
    ),
    "listen.user": 'the name of a user, such as "mailbell-sender"',
    "listen.trusted": 'an array of at most 64 values, such as ["root", "vmail"]',
    "listen.group": 'the name of a group, such as "mailbell-sender", or "" for the daemon\'s own',
    "quiet.folders": 'an array of at most 64 values, such as ["Junk", "Spam", "Trash"]',
    "send.port": "a whole number from 1 to 65535, such as 79",
    "send.transport": '"tcp" or "udp"',
    "send.deadline": 'a duration from "100ms" to "1m", such as "2s"',
    "send.connections": "a whole number from 1 to 4096, such as 256",
    "send.rate": 'a rate from "1/h" to "1000000/s", such as "1000/s"',
    "send.interval": 'a duration from "10ms" to "1h", such as "2s"',
    "send.backoff": 'two durations from "1s" to "24h", the shorter one first, such as "30s..10m"',
    "last_used.ttl": 'a duration from "1m" to "7d", such as "30m"',
    "last_used.addresses": "a whole number from 1 to 16, such as 4",
    "last_used.allow": 'an array of at most 256 values, such as ["192.0.2.0/24", "2001:db8::/32"]',
    "last_used.deny": 'an array of at most 256 values, such as ["192.0.2.0/24", "2001:db8::/32"]',
    "store.url": (
        "sqlite:// and an absolute path, such as sqlite:///var/lib/mailbell-sender/state.db, "
        "or the engine of a cluster, such as redis://redis.example.net"
    ),
    "store.file": (
        "sqlite:// and an absolute path, such as sqlite:///var/lib/mailbell-sender/state.db"
    ),
    "store.node": (
        "the name of this machine in the cluster, 1 to 64 letters, digits, dots, hyphens or "
        'underscores, or "" for the host\'s name'
    ),
    "store.password_file": 'the absolute path of a file, or ""',
    "store.ca_file": 'the absolute path of a file, or ""',
    "store.ports": "an array of at most 64 values, such as [6379, 6380]",
    "account[0].name": (
        "a name of 1 to 254 printable characters without spaces, such as anna@example.org"
    ),
    "account[0].aliases": 'an array of at most 64 values, such as ["anna"]',
    "account[0].targets": (
        'an array of at most 16 values, such as ["last-used", "192.0.2.7", "laptop.example.net"]'
    ),
    "account[0].transport": '"tcp" or "udp"',
    "account[0].enabled": "true or false",
    "default.targets": (
        'an array of at most 16 values, such as ["last-used", "192.0.2.7", "laptop.example.net"]'
    ),
    "listen.trusted[0]": 'the name of a user, such as "mailbell-sender"',
    "quiet.folders[0]": 'the name of a folder, 1 to 255 characters, such as "Junk"',
    "last_used.allow[0]": (
        "a numeric address or network such as 192.0.2.25, 192.0.2.0/24 or 2001:db8::/32"
    ),
    "store.ports[0]": "a whole number from 1 to 65535, such as 6379",
    "account": (
        'an array of at most 10000 values, such as [[account]] with name = "anna@example.org"'
    ),
    "default.targets[0]": (
        '"last-used", an address or a name, and a port if it is another, such as "192.0.2.7",'
        ' "[2001:db8::7]:79" or "laptop.example.net"'
    ),
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
hook = "/a"
control = "/a"
cyrus = "/a"
comsat = ["127.0.0.1:5", "127.0.0.1:5"]
[store]
url = "sqlite:///a"
node = "a"
[[account]]
name = "a"
targets = []
[[account]]
name = "a"
targets = ["192.0.2.7", "192.0.2.7"]
"""
    assert messages_of(text) == [
        'listen.control: "/a" is listen.hook too: choose another',
        'listen.cyrus: "/a" is listen.hook too: choose another',
        'listen.comsat[1]: "127.0.0.1:5" is there twice: remove one',
        "account[0].targets: would ring nobody: write a target or enabled = false",
        'account[1].name: "a" is account[0].name too: choose another',
        'account[1].targets[1]: "192.0.2.7" is there twice: remove one',
        'store.node: has no use with "sqlite:///a": remove it',
    ]


@pytest.mark.parametrize(
    "table",
    [each for each in vars(configuration).values() if is_table(each)],
)
def test_a_configuration_cannot_be_changed(table: type[msgspec.Struct]) -> None:
    assert table.__struct_config__.frozen
