"""The models, the generators and the bounds, without a daemon."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from mailbell.interfaces.listener import LISTENER_SERVICE
from mailbell.limits import gcra
from mailbell.listener import configuration as listener_configuration
from mailbell.sender import configuration as sender_configuration
from torture.inputs import limited, listener, sender_plan
from torture.inputs.buckets import Bucket, admitted
from torture.inputs.call_model import ByInterface
from torture.inputs.call_words import ByTable
from torture.inputs.calls import LISTENER, make_talk
from torture.inputs.counting import Expected
from torture.inputs.line_model import ByGrammar, ByPattern
from torture.inputs.lines import cut, make_bytes, make_connection
from torture.inputs.speaking import Ends, Input

TERMINATORS = [("crlf",), ("lf",), ("eof",), ("crlf", "lf"), ("crlf", "eof"), ("crlf", "lf", "eof")]
LINE = b"nm_notifyuser\r\n"


@pytest.mark.parametrize("terminators", TERMINATORS)
def test_the_grammar_and_the_pattern_agree(terminators: Sequence[str]) -> None:
    rng = Random(4146)
    grammar, pattern = ByGrammar(terminators), ByPattern(terminators)
    seen = set()
    for _ in range(5000):
        said = make_connection(rng, grammar.is_decided, 0)
        for each in (said, said._replace(ends=Ends.STAYS)):
            verdict = grammar.stream(each)
            assert verdict == pattern.stream(each), each
            seen.add(verdict)
        assert grammar.datagram(said.data) == pattern.datagram(said.data), said
    # The generator reaches every outcome that bytes and their end can have.
    names = {name for verdict in seen for name in verdict}
    assert names >= {
        "accepted", "mismatch", "bad_terminator", "truncated", "finger_query", "deadline",
        "reset", "empty",
    }  # fmt: skip
    if terminators != ("eof",):
        assert "trailing_data" in names
    assert () in seen


@pytest.mark.parametrize(
    ("pieces", "ends", "verdict"),
    [
        ((LINE,), Ends.FINISHES, ("accepted",)),
        ((LINE[:3], LINE[3:]), Ends.LEAVES, ("accepted",)),
        ((LINE + b"x",), Ends.FINISHES, ("trailing_data",)),
        ((LINE, b"x"), Ends.FINISHES, ("accepted", "trailing_data")),
        ((LINE[:9],), Ends.FINISHES, ("truncated",)),
        ((LINE[:9],), Ends.LEAVES, ("reset",)),
        ((LINE[:9],), Ends.STAYS, ("deadline",)),
        ((), Ends.FINISHES, ("empty",)),
        ((), Ends.LEAVES, ()),
        ((b"root\r\n",), Ends.STAYS, ("finger_query",)),
    ],
)
def test_what_a_connection_counts_as(
    pieces: tuple[bytes, ...], ends: Ends, verdict: tuple[str, ...]
) -> None:
    said = Input(pieces, ends)
    assert set(ByGrammar(["crlf"]).stream(said)) == set(verdict)
    assert set(ByPattern(["crlf"]).stream(said)) == set(verdict)


def test_a_cut_loses_nothing() -> None:
    rng = Random(1)
    for _ in range(2000):
        data = make_bytes(rng)
        pieces = cut(rng, data)
        assert b"".join(pieces) == data
        assert all(pieces)


def test_an_input_is_shown_shortly() -> None:
    long = Input((b"x" * 5000, b"\n"), Ends.STAYS, 0x7F010203)
    assert "(5000 bytes) | b'\\n' (stays, from 127.1.2.3)" in str(long)
    assert len(str(long)) < 600
    assert str(Input(())) == "nothing (finishes, from any)"


def test_the_documents_and_the_parts_of_the_sender_agree(tmp_path: Path) -> None:
    rng = Random(7)
    for plan in (
        sender_plan.Plan(),
        sender_plan.Plan(is_trusted=False, has_default=True, quiet=("JUNK",)),
    ):
        models = sender_plan.Models(plan, tmp_path)
        for make, first, second in (
            (models.make_hook, models.parts.hook, models.words.hook),
            (models.make_comsat, models.parts.comsat, models.words.comsat),
            (models.make_cyrus, models.parts.cyrus, models.words.cyrus),
        ):
            found = set()
            for _ in range(1500):
                said = make(rng)
                verdicts = list(first(said))
                assert verdicts == list(second(said)), said
                found.update(verdicts)
            assert len(found) >= 4, found


def test_the_interface_and_the_table_agree() -> None:
    rng = Random(3)
    interface = ByInterface(LISTENER_SERVICE, accounts=("one", "two"))
    table = ByTable(LISTENER, ("one", "two").__contains__)
    ends = set()
    for _ in range(3000):
        said = make_talk(LISTENER, rng)
        found = interface.talk(said)
        assert found == table.talk(said), said
        ends.add(found.end)
    ends.discard(("bad_call", "disconnected"))  # a beginning of a call after a stream began
    assert ends == {"disconnected", "garbage", "bad_call", "too_long", "too_fast"}


def test_sums_have_a_least_and_a_greatest_number() -> None:
    expected = Expected()
    for outcomes in (("a",), ("a", "b"), (), ("c", "")):
        expected.add(outcomes)
    assert (expected.inputs, expected.least, expected.most, expected.unsure) == (4, 2, 3, 2)
    assert expected.lacks({"b": 2})
    assert not expected.lacks({"a": 2})
    assert expected.differences({"a": 1, "b": 1}) == []
    assert expected.differences({"a": 2, "c": 1}) == []
    assert expected.differences({"b": 2}) == ["a 0 instead of 1 to 2", "b 2 instead of 0 to 1"]
    assert expected.differences({"a": 1}) == ["all 1 instead of 2 to 3"]


@pytest.mark.parametrize("rate", [1 / 3600, 2.0, 50.0])
def test_a_bucket_between_bounds_is_never_wrong_and_mostly_sure(rate: float) -> None:
    """The bucket of the daemon is asked at times that the other one knows between bounds only."""
    rng = Random(5)
    table = gcra.BucketTable(0, 8, 1, rate, 10)
    bounds = Bucket(rate, 10)
    now, sure = 0.0, 0
    for _ in range(4000):
        now += rng.random() * 0.05
        since, until = now - rng.random() * 0.002, now + rng.random() * 0.002
        granted = admitted([bounds], since, until)
        real = table.test(1, now)
        assert granted in (None, real)
        sure += granted is not None
        if real:
            table.commit(now)
        if real and rng.random() < 0.1:
            table.penalize(1, now, 4.0)
            bounds.take(since, until, 4.0, surely=granted is True)
        elif not real and granted is None and rng.random() < 0.1:
            bounds.take(since, until, 4.0, surely=False)
    assert sure > 2000 if rate < 1 else sure > 0


def test_none_of_several_buckets_pays_if_another_one_is_empty() -> None:
    own, network = Bucket(1 / 3600, 1), Bucket(1 / 3600, 3)
    others = [Bucket(1 / 3600, 9) for _ in range(3)]
    assert admitted([own, network], 0.0, 0.001) is True
    assert admitted([own, network], 0.1, 0.101) is False
    assert [admitted([each, network], 0.2, 0.201) for each in others] == [True, True, False]


def test_plans_are_valid_and_differ(tmp_path: Path) -> None:
    rng = Random(9)
    plans = [
        (listener.Plan.draw(rng), limited.Plan.draw(rng), sender_plan.Plan.draw(rng))
        for _ in range(60)
    ]
    assert len({each for drawn in plans for each in drawn}) > 20
    for first, second, third in plans:
        listener_configuration.parse(first.toml(tmp_path).encode())
        listener_configuration.parse(second.toml(tmp_path).encode())
        sender_configuration.parse(third.toml(tmp_path).encode())
