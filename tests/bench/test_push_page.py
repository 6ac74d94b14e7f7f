"""What the comparison with IDLE and polling says, from results that were made up; and a frame."""

import re
from pathlib import Path

import msgspec
import pytest

from bench.push import page
from bench.push.capture import Packet, bursts, middle, packet
from bench.push.cost import Cost
from bench.push.figures import idle_of, lines
from bench.push.picture import draw
from bench.push.record import FULL, Burst, Latency, Run, Way, Wire
from bench.report import Machine

SERVER, LAPTOP = "192.0.2.1", "192.0.2.10"


def way(name: str, mib: float, processes: int, connections: int) -> Way:
    idle, waiting = Cost(10, 5, 0), Cost(10 + mib, 5 + processes, connections)
    told = Latency.of([0.001 * n for n in range(1, 201)])
    return Way(name, "2.4", 1000, idle, waiting, waiting, told, told, told)


def wire(name: str, interval: float, octets: float, **more: Burst) -> Wire:
    each = Burst(octets, octets / 2, 3) if interval else None
    return Wire(
        name, True, 300, 2, interval, each, more.get("again"), more.get("telling"), {"client": 25}
    )


def run_of(*wires: Wire) -> Run:
    both = [msgspec.structs.replace(each, tls=tls) for each in wires for tls in (False, True)]
    rung = msgspec.structs.replace(wires[0], tls=False)
    return Run(
        FULL, Machine.here(), 1.5, "1.2.3",
        (
            way("mailbell, Dovecot 2.3", 30.4, 1, 0), way("IMAP, a poll each 60 s", 6, 3, 2),
            way("IDLE, Dovecot 2.4", 1234.5, 1001, 1000), way("mailbell, Dovecot 2.4", 20.4, 1, 0),
        ),
        (rung, *both[2:]),
    )  # fmt: skip


RUN = run_of(
    wire("mailbell", 0, 0, telling=Burst(500, 15, 5)),
    wire("IDLE, Dovecot 2.4", 120, 143, again=Burst(363, 100, 3)),
    wire("IMAP, a poll each 60 s", 60, 4000),
)


def test_a_percentile_is_the_time_of_a_mail() -> None:
    found = Latency.of(float(n) for n in range(200, 0, -1))
    assert found == Latency(200, 100.0, 198.0, 200.0)
    assert Latency.of([3.0]) == Latency(1, 3.0, 3.0, 3.0)


def test_who_is_rung_comes_first_and_then_idle() -> None:
    names = [line.way.name for line in lines(RUN)]
    assert [name.partition(",")[0] for name in names] == ["mailbell", "mailbell", "IDLE", "IMAP"]


def test_a_day_of_idle_has_signs_of_life_and_new_idles() -> None:
    calm = idle_of(RUN, lines(RUN)[2].tls, tls=True)
    assert calm.octets == pytest.approx(720 * 143 + 86400 / 1740 * 363)
    assert calm.wakes == pytest.approx(30 + 3600 / 1740)
    assert calm.ran == 300


def test_who_is_rung_looks_each_hour() -> None:
    rung = lines(RUN)[0].plain
    assert idle_of(RUN, rung, tls=True).octets == 24 * 4000
    assert idle_of(RUN, rung, tls=True).wakes == 1
    assert idle_of(RUN, rung, tls=True, hourly=False)[:4] == (0, 0, 0, 0)


def test_the_readme_has_a_line_for_each_way() -> None:
    text = page.readme(RUN)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[2:]] == [
        "| **mailbell**, Dovecot 2.4", "| IDLE, Dovecot 2.4", "| IMAP, a poll each 60 s",
    ]  # fmt: skip
    assert rows[2].split(" | ")[1:6] == ["100 ms, 198 ms", "20 MiB", "1", "0", "96 kB"]
    assert rows[3].split(" | ")[2:5] == ["1,234 MiB", "1,001", "1,000"]
    assert "**IDLE is better**" in text


def test_the_report_has_every_way_and_every_laptop() -> None:
    text = page.report(RUN)
    for name in (*(each.name for each in RUN.ways), "mailbell, no look", "mailbell 1.2.3"):
        assert name in text
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == 4
    for table in tables:
        assert len({row.count("|") for row in table.splitlines()}) == 1


def test_a_document_without_a_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(page.PLACES, "README.md", ("<!-- nowhere -->\n", "<!-- /push -->\n"))
    with pytest.raises(LookupError, match=r"README\.md has no place"):
        page.changed(RUN)


def test_the_documents_are_those_of_the_results() -> None:
    assert page.main([]) == 0


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    file = tmp_path / "results.png"
    draw(RUN, file)
    assert int.from_bytes(file.read_bytes()[16:20]) > 800  # PNG: IHDR, the width


def frame(source: str, target: str, payload: bytes, protocol: int = 6) -> bytes:
    addresses = b"".join(bytes(map(int, each.split("."))) for each in (source, target))
    tcp = bytes(12) + bytes([0x80]) + bytes(19) + payload  # with 12 bytes of options
    head = b"\x45\0" + (20 + len(tcp)).to_bytes(2) + bytes(5) + bytes([protocol, 0, 0]) + addresses
    return bytes(12) + b"\x08\0" + head + tcp


def test_a_packet_is_counted_with_its_headers() -> None:
    arriving = packet(frame(SERVER, LAPTOP, b"* OK"), SERVER, 1.0)
    assert arriving == Packet(1.0, LAPTOP, True, 56, 4)
    assert packet(frame(LAPTOP, SERVER, b""), SERVER, 1.0) == Packet(1.0, LAPTOP, False, 52, 0)


@pytest.mark.parametrize(
    "other", [frame(SERVER, LAPTOP, b"", protocol=17), bytes(12) + b"\x08\x06" + bytes(28)]
)
def test_other_packets_are_none_of_tcp(other: bytes) -> None:
    assert packet(other, SERVER, 1.0) is None


def test_packets_with_a_pause_between_them_are_two_occasions() -> None:
    times = (1.0, 1.04, 1.9, 121.0, 121.04)
    found = bursts(Packet(at, LAPTOP, at != 1.04, 50, 10) for at in times)
    assert [len(burst) for burst in found] == [3, 2]
    assert middle(found) == Burst(125, 25, 2)
    assert middle([]) is None
