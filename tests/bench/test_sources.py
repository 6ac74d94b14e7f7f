"""The workload `sources`: the sources are live, and all datagrams are accounted for."""

import re
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pytest

from bench.flood import Flood, Sent
from bench.namespace import namespace
from bench.processes import Failed
from bench.section import SMOKE, Section
from bench.workloads import sources
from mailbell.core.networks import Family
from mailbell.core.notification import Transport

pytestmark = pytest.mark.long

WAYS = ("UDP over IPv4", "UDP over IPv6", "limiter alone, IPv4", "limiter alone, IPv6")


@pytest.fixture(scope="module")
def ways() -> Sequence[str]:
    """The ways that can be measured here: IPv6 sources need a namespace."""
    with namespace() as through:
        return WAYS if through else (WAYS[0], *WAYS[2:])


@pytest.fixture(scope="module")
def section() -> Section:
    return sources.measure(SMOKE)


def test_each_way_has_few_sources_and_many_in_both_tables(
    section: Section, ways: Sequence[str]
) -> None:
    assert [row.name for row in section.rows] == [
        f"{way}, {rest}"
        for way in ways
        for rest in (
            "200 sources",
            "400 sources, tables as shipped",
            "400 sources, tables for all",
        )
    ]


def test_ratios_are_to_few_sources(section: Section) -> None:
    for few, *many in zip(*[iter(section.rows)] * 3, strict=True):
        assert few.ratio is None
        for row in many:
            assert row.ratio is not None
            assert row.ratio.median == pytest.approx(row.value.median / few.value.median)


def test_the_worse_ratio_of_a_whole_notification_is_held_to_the_promise(
    section: Section, ways: Sequence[str]
) -> None:
    whole = sum(way.startswith("UDP") for way in ways)
    ratios = [row.ratio.median for row in section.rows if row.ratio]
    worse = [max(pair) for pair in zip(ratios[::2], ratios[1::2], strict=True)]
    assert [target.value for target in section.targets] == worse[:whole]
    assert {target.bound for target in section.targets} == {1.3}


def test_what_was_sent_is_accepted_or_lost_and_all_sources_are_known(
    section: Section, ways: Sequence[str]
) -> None:
    families = sum(way.startswith("UDP") for way in ways)
    # The first daemon gets few and many sources, in one round and in one before it that is not
    # counted. The second gets many: those that must be made known, and two rounds.
    for note, rounds, fill in ((section.notes[0], 4, 0), (section.notes[1], 2, 400)):
        numbers = re.search(r"(\d[\d,]*) datagrams: (\d[\d,]*) accepted, (\d[\d,]*) lost", note)
        assert numbers is not None
        sent, accepted, lost = (int(text.replace(",", "")) for text in numbers.groups())
        assert accepted + lost == sent >= families * (rounds * 200 + fill)
        assert accepted > 0
        # The prefixes of IPv4 (two) and, if there is IPv6, of IPv6 (three).
        assert note.count("entries in use") == (2 if families == 1 else 5)


def test_a_source_that_was_heard_still_owes_a_token_at_the_end() -> None:
    alone = sources._Alone(sources._SHIPPED)
    way = sources._WAYS[0]
    alone.admit(way, sources._addresses(way, 20_000, 20_000))
    tables = {table.name: table for table in alone._limiter.statistics().tables}
    for name in ("udp/ipv4/listed/32", "udp/ipv4/listed/24"):
        table = tables[name]
        assert table.entries + table.evicted == 20_000


def test_a_request_that_the_limiter_refuses_is_a_failure() -> None:
    alone = sources._Alone(sources._SHIPPED)
    way = sources._WAYS[0]
    alone._limiter.gate(Transport.UDP, Family.IPV4)._strangers.total.take = lambda *_: False
    with pytest.raises(Failed, match="admitted 0"):
        alone.admit(way, sources._addresses(way, 10, 10))


def test_garbage_that_is_not_there_for_the_daemon_is_a_failure() -> None:
    way = sources._WAYS[0]
    with (
        sources._daemon([way], sources._SHIPPED, ()) as heard,
        pytest.raises(Failed, match="0 accepted, 10 lost"),
    ):
        heard.hear(way, Flood("udp", "garbage", 10))


def test_a_datagram_that_nobody_knows_of_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    way, run = sources._WAYS[0], Flood.run

    def boast(flood: Flood, host: str, port: int, *more: Any) -> Sent:
        sent = run(flood, host, port, *more)
        return sent._replace(sent=sent.sent + 1)

    monkeypatch.setattr(Flood, "run", boast)
    with (
        sources._daemon([way], sources._SHIPPED, ()) as heard,
        pytest.raises(Failed, match="10 accepted, 0 lost"),
    ):
        heard.hear(way, Flood("udp", "line", 10))


def test_without_a_namespace_there_is_no_ipv6_over_udp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "namespace", lambda: nullcontext(None))
    found = sources.measure(SMOKE)
    names = {row.name.partition(", 2")[0].partition(", 4")[0] for row in found.rows}
    assert names == {"UDP over IPv4", "limiter alone, IPv4", "limiter alone, IPv6"}
    assert any(note.startswith("no UDP over IPv6") for note in found.notes)
