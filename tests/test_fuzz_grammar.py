"""The grammars of the fuzz targets: what they make is understood, small, and reaches everything."""

import re
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz import fuzz_agent_config, fuzz_client, fuzz_dbus, fuzz_values
from fuzz.grammar import Chars, Expression, Grammar, Many, Number, Sized, picks
from fuzz.grammars import GRAMMARS, grammar_of
from fuzz.parsers import PARSERS
from fuzz.reading import LONGEST, read
from fuzz.write_dictionaries import FOLDER, dictionary
from mailbell import hook
from mailbell._sys.own_addresses import parse_replies
from mailbell._sys.proof import parse_status
from mailbell._sys.systemd import Notifier
from mailbell.addon.xpi import is_built
from mailbell.agent._session import Session
from mailbell.agent.configuration import from_options
from mailbell.agent.configuration import parse as parse_agent
from mailbell.agent.preset import parse as parse_preset
from mailbell.calling.exchange import Exchange
from mailbell.client._mailbelld import MAILBELLD
from mailbell.cluster import messages
from mailbell.cluster.inbox import read as read_entry
from mailbell.cluster.report import Report
from mailbell.core.outcome import Outcome
from mailbell.core.rfc4146 import LINES, Terminator, parse_datagram
from mailbell.interfaces.listener import SubscribeReply
from mailbell.interfaces.sender import WatchReply
from mailbell.listener.configuration import parse as parse_listener
from mailbell.recipes.recipe import parse as parse_recipe
from mailbell.sender import _comsat, _cyrus_event, _store_file
from mailbell.sender._dns_reply import read_reply
from mailbell.sender._hook_line import parse_line_untrusted
from mailbell.sender._inquiries import IPV4, IPV6
from mailbell.sender._names import decode_answer
from mailbell.sender._requests import Malformed
from mailbell.sender._resolv_conf import parse_hosts, parse_name_servers
from mailbell.sender.configuration import parse as parse_sender
from mailbell.sender_client._sender import SENDER_DAEMON
from mailbell.syscalls.policy_toml import parse as parse_policy
from mailbell.varlink import decode_reply_untrusted, parse_call_untrusted


def reads(parse: Callable[[bytes], object]) -> Callable[[bytes], bool]:
    """Return a function that tells whether a parser returns something, and raises nothing."""

    def is_read(data: bytes) -> bool:
        try:
            return parse(data) is not None
        except Exception:  # parsers have error types of their own, and one may be broken
            return False

    return is_read


def line_from(place: int) -> Callable[[bytes], bool]:
    """Return a function that tells whether a notification begins at a place."""
    every = frozenset(Terminator)
    return lambda data: parse_datagram(data[place:], every) is Outcome.ACCEPTED


def is_event(data: bytes, parse: Callable[[bytes], object]) -> bool:
    return not isinstance(parse(data), Malformed)


def has_line(data: bytes) -> bool:
    lines = data[1:].split(b"\n")
    return any(line and is_event(line, parse_line_untrusted) for line in lines)


def has_server(data: bytes) -> bool:
    text = data[1:].decode(errors="replace")
    if data[:1] == b"h":
        return bool(parse_hosts(text))
    return str(parse_name_servers(text)[0].address) != "127.0.0.1"


def hook_sends(data: bytes) -> bool:
    words = data[1:].partition(b"\0\0")[0].split(b"\0")
    read_line = reads(lambda _: hook._line(hook._options(words[: hook._separator(words)])))
    return data[:1] == b"h" or read_line(data)


def is_usable(data: bytes) -> bool:
    lines = (line.partition("=") for line in data.decode(errors="replace").split("\n"))
    environ = {name: value for name, _, value in lines if name != "NOTIFY_SOCKET"}
    return not Notifier(environ, 4321).unusable


def is_of_proc(data: bytes) -> bool:
    kind, text = data[:1], data[1:]
    if kind == b"s":
        return reads(parse_status)(text)
    return kind != b"n" or Session.read(text) is not None


def is_from_dns(data: bytes) -> bool:
    if data[:1] == b"m":
        return decode_answer(data[1:]) is not None
    return bool(read_reply(data[1:], IPV4 if data[:1] < b"\x80" else IPV6).addresses)


def is_of_cluster(data: bytes) -> bool:
    kind, rest = data[:1], data[1:]
    if kind == b"c":
        return messages.decode_from_companion(rest) is not None
    if kind == b"s":
        return messages.decode_from_sender(rest) is not None
    if kind == b"r":
        return Report.parse(rest.decode(errors="replace")) is not None
    parts = [part.decode(errors="replace") for part in rest.split(b"\0")]
    fields = dict(zip(parts[::2], parts[1::2], strict=False))
    return read_entry(fields, 1_700_000_000.0, 1800.0) is not None


def is_good_store(data: bytes) -> bool:
    if data[:1] == b"r":
        return _store_file._read_report(data[1:])[1] != "reading it ended with nonsense"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "state.db")
        path.write_bytes(data)
        verdict, _, _ = _store_file._judge(str(path))
        _store_file._held.pop().close() if _store_file._held else None
    return verdict == "good"


def any_of(parse: Callable[[bytes], object], start: int) -> Callable[[bytes], bool]:
    """Return a function that tells whether one of the messages of a stream is read."""
    return lambda data: any(map(reads(parse), data[start:].split(b"\0")))


def is_answer(data: bytes) -> bool:
    kinds = [SubscribeReply, WatchReply, *(kind for _, kind in fuzz_client._SINGLE)]
    daemons = [MAILBELLD, SENDER_DAEMON]
    daemons += [daemon for daemon, _ in fuzz_client._SINGLE]
    place = data[0] % len(kinds)
    exchange = Exchange(daemons[place])
    exchange.receive_untrusted(data[2:] + b"\0")
    return reads(lambda _: exchange.take_untrusted(kinds[place]))(data)


def is_agents(data: bytes) -> bool:
    presets = fuzz_agent_config.PRESETS
    if data[:1] == b"o":
        return reads(lambda _: from_options(fuzz_agent_config.options(data[1:]), presets))(data)
    return reads(lambda _: parse_agent(data, presets))(data)


_BOTH: Final = (parse_call_untrusted, decode_reply_untrusted)
# For each target: tells whether its parser takes an input, and the least share that it takes of
# those that its grammar makes. The rest is wrong in some part.
Rate = tuple[Callable[[bytes], bool], float]
ACCEPTED: Final[dict[str, Rate]] = {
    "activation": (is_usable, 0.5),
    "agent_config": (is_agents, 0.05),
    "client": (is_answer, 0.1),
    "cluster": (is_of_cluster, 0.4),
    "comsat": (lambda data: is_event(data, _comsat.parse_datagram_untrusted), 0.4),
    "config": (reads(parse_listener), 0.1),
    "cyrus": (lambda data: is_event(data, _cyrus_event.parse_datagram_untrusted), 0.2),
    "datagram": (line_from(1), 0.2),
    "dbus": (lambda data: bool(fuzz_dbus.read(data[1:], len(data))[0]), 0.3),
    "dns": (is_from_dns, 0.2),
    "grammar_regex": (line_from(3), 0.2),
    "hook": (hook_sends, 0.5),
    "hook_line": (has_line, 0.4),
    "inquiries": (lambda data: len(data) > 1, 0.9),
    "limiter": (lambda data: len(data) > 3, 0.9),
    "lines": (lambda data: len(data) > 2, 0.9),
    "packet_filter": (lambda data: data.endswith((*LINES.values(),)), 0.2),
    "policy": (reads(parse_policy), 0.1),
    "preset": (reads(parse_preset), 0.2),
    "proc": (is_of_proc, 0.3),
    "recipe": (reads(parse_recipe), 0.1),
    "resolv_conf": (has_server, 0.4),
    "rtnetlink": (reads(lambda data: parse_replies(data)[0] or None), 0.1),
    "sender_config": (reads(parse_sender), 0.05),
    "store": (is_good_store, 0.2),
    "stream": (line_from(2), 0.2),
    "values": (
        reads(lambda data: fuzz_values.KINDS[data[0]].parse(data[1:].decode())), 0.3
    ),
    "xpi": (is_built, 0.2),
    "varlink": (any_of(parse_call_untrusted, 1), 0.4),
    "varlink_foreign": (
        lambda data: any(any_of(parse, 0)(data) for parse in _BOTH),
        0.5,
    ),
}  # fmt: skip
MADE: Final = 60


def test_each_target_has_a_grammar_and_a_rate() -> None:
    assert set(GRAMMARS) == set(PARSERS) == set(ACCEPTED)


@pytest.mark.long
@pytest.mark.parametrize("target", sorted(GRAMMARS))
def test_what_a_grammar_makes_is_accepted_at_the_stated_rate(target: str) -> None:
    is_accepted, least = ACCEPTED[target]
    made = [grammar_of(target).make(Random(seed)).text() for seed in range(MADE)]
    share = sum(map(is_accepted, made)) / MADE
    assert least <= share, share


@pytest.mark.long
@pytest.mark.parametrize("target", sorted(GRAMMARS))
def test_every_production_is_reached(target: str) -> None:
    grammar = grammar_of(target)
    missing = set(grammar.productions())
    for seed in range(20_000):
        missing -= picks(grammar.make(Random(seed)))
        if not missing:
            return
    raise AssertionError(f"{len(missing)} productions of {target} were not reached")


@pytest.mark.parametrize("target", sorted(GRAMMARS))
def test_what_is_made_is_bounded_and_repeatable_and_can_be_read(target: str) -> None:
    grammar = grammar_of(target)
    read_again = 0
    for seed in range(8):
        made = grammar.make(Random(seed)).text()
        assert len(made) <= grammar.longest <= LONGEST
        assert grammar.make(Random(seed)).text() == made
        tree = read(grammar.rules, made)
        read_again += tree is not None
        assert tree is None or tree.text() == made
    assert read_again >= 4


@pytest.mark.parametrize("target", sorted(GRAMMARS))
def test_a_change_is_another_input_that_the_seed_repeats(target: str) -> None:
    grammar = grammar_of(target)
    made = grammar.make(Random(1)).text()
    found = set()
    for seed in range(4):
        changed = grammar.change(made, Random(seed), 300, bytes.swapcase)
        assert len(changed) <= 300
        assert changed == grammar.change(made, Random(seed), 300, bytes.swapcase)
        found.add(changed)
    assert len(found - {made}) > 1


@pytest.mark.parametrize("target", sorted(GRAMMARS))
def test_the_dictionary_is_in_step_with_the_grammar(target: str) -> None:
    text = (FOLDER / f"{target}.dict").read_text(encoding="ascii")
    assert text == dictionary(target), "run python -m fuzz.write_dictionaries"
    # libFuzzer's form: a word a line, in quotation marks.
    words = text.splitlines()[1:]
    form = re.compile(r'"(?:[ !#-\[\]-~]|\\x[0-9A-F]{2})+"')
    assert [word for word in words if not form.fullmatch(word)] == []


def test_there_is_no_dictionary_without_a_grammar() -> None:
    assert {path.stem for path in FOLDER.glob("*")} == set(GRAMMARS)


TINY: Final[dict[str, Expression]] = {
    "start": (b"<", Many("item", 0, 3), b">"),
    "item": [b"a", "sized", ("start",)],
    "sized": Sized("!H", Chars(b"xyz", 0, 4), 2),
}


def words_of(grammar: Grammar, data: bytes) -> Any:
    tree = read(grammar.rules, data)
    return None if tree is None else tree.text()


class TestGrammar:
    grammar = Grammar(TINY)

    @pytest.mark.parametrize(
        "data", [b"<>", b"<a>", b"<aaa>", b"<\0\5xyz>", b"<<a>>", b"<\0\2a\0\3y>"]
    )
    def test_what_belongs_to_it_is_read(self, data: bytes) -> None:
        assert words_of(self.grammar, data) == data

    @pytest.mark.parametrize(
        "data", [b"", b"<", b"<aaaa>", b"<b>", b"<\0\4xyz>", b"<\0\1>", b"<\xff\xffx>", b"<>a"]
    )
    def test_nothing_else_is_read(self, data: bytes) -> None:
        assert words_of(self.grammar, data) is None

    @given(st.binary(max_size=30))
    def test_reading_never_fails(self, data: bytes) -> None:
        assert words_of(self.grammar, data) in {None, data}

    def test_reading_gives_up_on_what_is_long_or_takes_long(self) -> None:
        assert read({"start": Many(b"a", 0, LONGEST * 2)}, b"a" * (LONGEST + 1)) is None
        endless: dict[str, Expression] = {"start": [("start", "start", b"a"), b"a", b""]}
        assert read(endless, b"a" * LONGEST) is None

    def test_a_length_follows_its_part_and_may_lie(self) -> None:
        tree = read(TINY, b"<\0\5xyz>")
        assert tree is not None
        (sized,) = [node for node in tree.all() if isinstance(node.made_by, Sized)]
        sized.parts[0].data = b"x" * 7
        assert tree.text() == b"<\0\x09xxxxxxx>"
        sized.lie = -3
        assert tree.text() == b"<\0\6xxxxxxx>"
        sized.lie = -100
        assert tree.text() == b"<" + struct.pack("!H", (9 - 100) % 65536) + b"xxxxxxx>"

    def test_changes_stay_near_and_leave_the_grammar_now_and_then(self) -> None:
        found = [
            self.grammar.change(b"<a\0\5xyz>", Random(seed), 40, bytes.upper) for seed in range(300)
        ]
        inside = sum(words_of(self.grammar, each) is not None for each in found)
        assert 100 < inside < 290
        assert any(b"XYZ" in each for each in found), "nothing was left to the fuzzer"
        assert any(each.count(b"a") > 3 for each in found), "no part was repeated beyond its number"

    def test_a_grammar_without_a_small_input_is_a_mistake(self) -> None:
        with pytest.raises(ValueError, match="more than 3 bytes"):
            Grammar({"start": b"abcd"}, longest=3).make(Random(0))

    def test_numbers_are_the_usual_ones_and_others(self) -> None:
        numbers = Grammar({"start": Number("!H", (1, 28))})
        made = {numbers.make(Random(seed)).text() for seed in range(100)}
        assert {b"\0\1", b"\0\x1c"} < made
        assert numbers.words() == {b"\0\1", b"\0\x1c"}
