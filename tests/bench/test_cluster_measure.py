"""How the inputs of the simulation are measured: what is read, chosen, computed and written.

Nothing here starts a node or an engine; the values are made up.
"""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cluster import measure, nodes, page
from bench.cluster.costs import COSTS, Costs, read
from bench.cluster.engine_costs import (
    command,
    cpu_seconds,
    entry,
    parse_benchmark,
    parse_info,
    visit,
)
from bench.cluster.idle_costs import sent_packets
from bench.cluster.record import PARTS, Shared, Throughput
from bench.cluster.tables import throughput_lines
from bench.kernel import Cpu
from bench.processes import Failed
from bench.report import Machine
from bench.ringers import Ringer
from bench.section import Plan
from mailbell.cluster import inbox
from mailbell.cluster.messages import Place, Ring, read_target, write_target
from mailbell.cluster.rendezvous import owner
from mailbell.core.networks import Address
from mailbell.core.notification import Transport
from mailbell.core.target import Target

# --- what the engine says -----------------------------------------------------------------------

INFO = """\
# CPU\r
used_cpu_sys:3.250000\r
used_cpu_user:4.500000\r
used_cpu_sys_children:0.000000\r
used_cpu_user_children:0.000000\r
used_cpu_sys_main_thread:1.250000\r
used_cpu_user_main_thread:2.000000\r
\r
# Commandstats\r
cmdstat_xadd:calls=17,usec=34,usec_per_call=2.00,rejected_calls=0,failed_calls=0\r
"""


def test_info_is_read_without_its_headings() -> None:
    info = parse_info(INFO)
    assert info["used_cpu_sys"] == "3.250000"
    assert info["cmdstat_xadd"].startswith("calls=17,")
    assert len(info) == 7


def test_the_time_is_that_of_the_thread_of_the_commands() -> None:
    info = parse_info(INFO)
    assert cpu_seconds(info) == 3.25
    old = {name: value for name, value in info.items() if "main_thread" not in name}
    assert cpu_seconds(old) == 7.75
    with pytest.raises(Failed, match="no processor time"):
        cpu_seconds({"used_cpu_sys": "1.0"})


NEW_CSV = """\
"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms"
"SET","121951.22","0.230","0.064","0.223","0.303","0.415"
"XADD bench:inbox * since 1790000000.123","310559.00","1.2","0.1","1.1","1.5","2.0"
"""
OLD_CSV = '"SET","121951.22"\n"GET","98039.22"\n'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (NEW_CSV, {"SET": 121951.22, "XADD bench:inbox * since 1790000000.123": 310559.0}),
        (OLD_CSV, {"SET": 121951.22, "GET": 98039.22}),
        ("WARNING: no CONFIG, of course\n" + OLD_CSV, {"SET": 121951.22, "GET": 98039.22}),
    ],
)
def test_the_csv_of_the_benchmark(text: str, found: dict[str, float]) -> None:
    assert parse_benchmark(text) == found


@pytest.mark.parametrize("text", ["", '"test","rps"\n', "Could not connect\n"])
def test_a_benchmark_without_a_test_is_a_failure(text: str) -> None:
    with pytest.raises(Failed):
        parse_benchmark(text)


def test_a_command_has_its_lengths_in_bytes() -> None:
    assert command("XADD", "ä", "") == b"*3\r\n$4\r\nXADD\r\n$2\r\n\xc3\xa4\r\n$0\r\n\r\n"


@given(st.integers(1, 5000))
def test_each_number_is_visited_once(count: int) -> None:
    assert sorted(visit(count)) == list(range(count))


def test_an_entry_is_what_a_node_writes() -> None:
    made = inbox.entries(
        Ring(7, "u0000000@example.org", (), (Place(79, Transport.TCP),)),
        logins=[("192.0.2.7", 1_790_000_000.0)],
        is_new=False,
        prefix="mail1/0123456789abcdef",
        owner=lambda _: "mail1",
        now=1_790_000_100.0,
        ttl=1800.0,
    )
    ((_, fields),) = made
    words = entry(0)
    assert words[::2] == tuple(fields)
    assert read_target(words[3]) is not None
    assert [len(word) for word in words[1:4:2]] == [20, len(words[3])]


# --- which addresses, and what is spent ---------------------------------------------------------


@given(st.sets(st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True), min_size=1, max_size=5), st.data())
def test_all_addresses_belong_to_their_owner(names: set[str], data: st.DataObject) -> None:
    chosen = data.draw(st.sampled_from(sorted(names)))
    port = data.draw(st.integers(1, 65535))
    found = list(islice(nodes.addresses_of(chosen, names, port), 20))
    assert len(set(found)) == 20
    for text in found:
        assert text.startswith("127.")
        target = write_target(Target(Address.parse(text), port, Transport.TCP))
        assert owner(target.encode(), names) == chosen


def test_no_address_is_left_out() -> None:
    names, port = ("mail1", "mail2", "mail3"), 7979
    found = [set(islice(nodes.addresses_of(name, names, port), 400)) for name in names]
    assert not found[0] & found[1] & found[2]
    first = {f"127.16.{n >> 8}.{n & 255}" for n in range(600)}
    assert first <= set.union(*found)


def test_what_is_spent_without_load_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {11: 0, 12: 0}
    clock = [0.0]

    def spend(seconds: float, **nanoseconds: int) -> None:
        clock[0] += seconds
        times[11] += nanoseconds["sender"]
        times[12] += nanoseconds["companion"]

    made_up = SimpleNamespace(
        monotonic=lambda: clock[0], sleep=lambda s: spend(s, sender=10_000, companion=30_000)
    )
    monkeypatch.setattr(nodes, "time", made_up)
    monkeypatch.setattr(
        nodes, "Cpu", SimpleNamespace(of=lambda pid: Cpu(times[pid], 0.0), settled=lambda *_: None)
    )
    node = nodes.Node("mail1", Ringer(11, Path("/nowhere")), 12)
    idle = nodes.spends_idle([node], 10.0)
    assert idle == {("mail1", "sender"): 1000, ("mail1", "companion"): 3000}
    found = nodes.spent([node], idle, lambda: spend(20.0, sender=2_020_000, companion=5_060_000))
    assert found == {("mail1", "sender"): 2000.0, ("mail1", "companion"): 5000.0}


DEVICES = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop
    lo:    1100       3    0    0    0     0          0         0     1100      99    0    0
cable0: 5400000   60000    0    0    0     0          0         0  7700000   81234    0    0
"""


def test_the_packets_that_were_sent_on_the_cable() -> None:
    assert sent_packets(DEVICES) == 81_234
    with pytest.raises(Failed, match="no cable"):
        sent_packets(DEVICES.replace("cable0", "cable9"))


# --- what is written ----------------------------------------------------------------------------


def test_every_input_is_measured_once() -> None:
    names = [name for group in measure.GROUPS.values() for name in group]
    assert sorted(names) == sorted(Costs.__struct_fields__)


def test_what_is_measured_together_is_named_together() -> None:
    assert measure.named([]) == [*measure.named(Costs.__struct_fields__), measure.THROUGHPUT]
    assert measure.named(["idle_sign"]) == ["idle_sign", "idle_sign_hibernated"]
    assert measure.named([measure.THROUGHPUT]) == [measure.THROUGHPUT]


SHARED = (
    Shared(1, 15.0, 45_000, 20_000, 25_000, 0, dict(zip(PARTS, (70, 114, 9, 5, 6), strict=True))),
    Shared(
        2, 15.0, 90_000, 60_000, 20_000, 3, dict(zip(PARTS, (83.5, 126, 9.4, 7.3, 6), strict=True))
    ),
)
THROUGHPUT = Throughput(
    "2 cores, a processor", "2026-01-31", 2, {"SET": 121951.22, "GET": 98039.2}, SHARED
)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Let everything be measured at once: each input is 12.3456."""

    def fixed(group: tuple[str, ...]) -> Any:
        def found(_: Plan) -> Iterator[tuple[str, float]]:
            for name in group:
                yield name, 12.3456

        return found

    groups = {fixed(group): group for group in measure.GROUPS.values()}
    monkeypatch.setattr(measure, "GROUPS", groups)
    monkeypatch.setattr(
        measure, "measure_throughput", lambda _: iter([THROUGHPUT.benchmark, *SHARED])
    )
    monkeypatch.setattr(measure, "engine_version", lambda: "Redis 8.0")
    costs = tmp_path / "costs.json"
    unmeasured = {
        name: msgspec.structs.replace(each, value=None, when=None)
        for name, each in read().inputs.items()
    }
    inputs = msgspec.structs.replace(read(), machine=None, inputs=unmeasured)
    costs.write_bytes(msgspec.json.encode(inputs))
    return {"costs": costs, "throughput": tmp_path / "throughput.json"}


@pytest.mark.parametrize(
    "words", [["--quick"], ["--divide", "1000"], ["--quick", "idle_sign", "throughput"]]
)
def test_a_quick_run_writes_nothing(
    words: list[str], places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = places["costs"].read_bytes()
    assert measure.main(words, **places) == 0
    assert places["costs"].read_bytes() == before
    assert not places["throughput"].exists()
    assert "idle_sign                       12.35 us" in capsys.readouterr().out


def test_a_whole_run_writes_all_values_with_their_day(places: dict[str, Path]) -> None:
    assert measure.main([], **places) == 0
    found = read(places["costs"])
    assert found.machine is not None
    assert found.machine.endswith(", Redis 8.0")
    for name, each in found.inputs.items():
        assert each.value == 12.35
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", each.when or "")
        assert each.how == read().inputs[name].how
    written = page.read_throughput(places["throughput"])
    assert written is not None
    assert written.shared == SHARED


def test_one_input_is_measured_anew_on_the_same_machine_only(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure.main(["round_trip"], **places) == 0
    assert {name for name, each in read(places["costs"]).inputs.items() if each.value} == {
        "engine_small", "round_trip", "engine_exchange",
    }  # fmt: skip
    assert measure.main([], **places) == 0
    before = places["costs"].read_bytes()
    monkeypatch.setattr(measure, "engine_version", lambda: "Redis 9.0")
    assert measure.main(["round_trip"], **places) == 70
    assert "nothing is written" in capsys.readouterr().err
    assert places["costs"].read_bytes() == before
    assert measure.main([], **places) == 0
    assert str(read(places["costs"]).machine).endswith(", Redis 9.0")


def test_what_fails_keeps_its_old_value(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(_: Plan) -> Iterator[tuple[str, float]]:
        yield "idle_sign", 5.0
        raise Failed("no Dovecot here")

    groups = {
        failing if "idle_sign" in group else each: group for each, group in measure.GROUPS.items()
    }
    monkeypatch.setattr(measure, "GROUPS", groups)
    assert measure.main([], **places) == 70
    assert "not measured: idle_sign_hibernated: " in capsys.readouterr().err
    found = read(places["costs"]).inputs
    assert found["idle_sign"].value == 5.0
    assert found["idle_sign_hibernated"].value is None


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        measure.main(["postman"])
    assert "no such input: postman" in capsys.readouterr().err


def test_the_file_is_as_it_would_be_written() -> None:
    data = COSTS.read_bytes()
    assert msgspec.json.format(msgspec.json.encode(read())) + b"\n" == data


def test_a_machine_is_named_without_what_changes() -> None:
    machine = Machine(2, "6.1.0", "x86_64", "CPython 3.13.1", 1.7, "a processor", "no JIT")
    assert measure.text_of(machine, "Valkey 8.1.1") == (
        "2 cores, a processor, Linux 6.1.0 (x86_64), CPython 3.13.1, no JIT, Valkey 8.1.1"
    )


# --- what is shown ------------------------------------------------------------------------------


def test_the_table_of_the_throughput() -> None:
    text = "\n".join(throughput_lines(THROUGHPUT))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    heading = (
        "nodes", "notifications a second", *PARTS, "all", "cores busy, of 2",
        "rings that joined a call", "not shared",
    )  # fmt: skip
    assert rows == [
        f"| {' | '.join(heading)} |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| 1 | 3,000 | 70 | 114 | 9 | 5 | 6 | 204 | 0.61 | 56 % | 0 |",
        "| 2 | 6,000 | 83.5 | 126 | 9.40 | 7.30 | 6 | 232 | 1.39 | 25 % | 3 |",
        "| commands | a second |",
        "| --- | ---: |",
        "| SET | 122,000 |",
        "| GET | 98,000 |",
    ]
    assert "2 cores, a processor. Measured 2026-01-31." in text
    assert "share these 2 cores" in text


def test_nothing_is_shown_before_it_is_measured(tmp_path: Path) -> None:
    assert page.read_throughput(tmp_path / "throughput.json") is None
