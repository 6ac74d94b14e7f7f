"""The memory of proven sources, against a naive one."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.limits import proven
from mailbell.limits.proven import ProvenSources


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proven, "NETWORKS", 3)
    monkeypatch.setattr(proven, "PER_NETWORK", 2)


# Nine networks of four sources of four addresses each, with the tenths of a second before each.
sources = st.lists(st.tuples(st.integers(0, 143), st.integers(-3, 12)), max_size=80)


@dataclass
class Naive:
    """A memory that keeps everything that it was told in a list, and works out the rest."""

    heard: list[tuple[int, int]] = field(default_factory=list)  # narrow networks, with the tenths

    def add(self, narrow: int, tenths: int) -> None:
        """Put it last, unless it was put last within the last second and is remembered."""
        last = next((at for name, at in reversed(self.heard) if name == narrow), -99)
        is_fresh = narrow in self.known() and 0 <= tenths - last < 10
        if not is_fresh or narrow >> 2 not in self.generations()[-1]:
            self.heard.append((narrow, tenths))

    def generations(self) -> list[dict[int, None]]:
        """Divide the networks into generations of three different ones."""
        found: list[dict[int, None]] = [{}]
        for narrow, _ in self.heard:
            if narrow >> 2 not in found[-1] and len(found[-1]) == 3:
                found.append({})
            found[-1][narrow >> 2] = None
        return found

    def known(self) -> set[int]:
        """Return what is remembered: of the last two generations, two sources of each network."""
        remembered: dict[int, list[int]] = {}
        generations: list[dict[int, None]] = [{}]
        for narrow, _ in self.heard:
            wide = narrow >> 2
            if wide not in generations[-1]:
                if len(generations) == 1 or wide not in generations[-2]:
                    remembered[wide] = []
                if len(generations[-1]) == 3:
                    generations.append({})
                generations[-1][wide] = None
            members = [other for other in remembered[wide] if other != narrow]
            remembered[wide] = [*members, narrow][-2:]
        alive = [wide for generation in generations[-2:] for wide in generation]
        return {narrow for wide in alive for narrow in remembered[wide]}


@pytest.mark.usefixtures("small")
def test_it_remembers_what_a_naive_memory_does() -> None:
    @given(sources)
    def check(added: Sequence[tuple[int, int]]) -> None:
        memory, naive, tenths = ProvenSources(2, 4), Naive(), 0
        for source, wait in added:
            tenths += wait
            memory.add(source, tenths / 10)
            naive.add(source >> 2, tenths)
            known = naive.known()
            assert {s for s in range(144) if s in memory} == {
                s for s in range(144) if s >> 2 in known
            }

    check()


@pytest.mark.usefixtures("small")
@given(sources)
def test_the_last_networks_that_were_heard_are_remembered(added: Sequence[tuple[int, int]]) -> None:
    memory = ProvenSources(2, 4)
    for number, (source, _) in enumerate(added):
        memory.add(source, 2.0 * number)
    last = list(dict.fromkeys(source >> 4 for source, _ in reversed(added)))[:3]
    newest = {source >> 4: source for source, _ in added}
    assert all(newest[wide] in memory for wide in last)


def test_one_network_makes_no_other_forgotten() -> None:
    memory = ProvenSources(64, 80)
    good = 0x20010DB8_00000001 << 64 | 0x25
    memory.add(good, 0.0)
    for i in range(100_000):
        memory.add(0x20010DB8_00020000 << 64 | i << 64, 0.0)
    assert good in memory
    assert good + 1 in memory, "a host has more than one address"
    assert sum((0x20010DB8_00020000 + i) << 64 in memory for i in range(1 << 16)) == 8


def test_its_size_is_bounded() -> None:
    memory = ProvenSources(0, 8)
    for source in range(0, 5000 << 8, 16):
        memory.add(source, 0.0)
    assert len(memory._younger) + len(memory._older) <= 2048
    assert len(memory._older) == 1024
    every = (*memory._younger.values(), *memory._older.values())
    assert {len(members) for members in every} == {8}


@pytest.mark.usefixtures("small")
def test_it_counts_what_it_forgets() -> None:
    memory = ProvenSources(0, 4)
    counts = []
    for source in (0x10, 0x11, 0x12, 0x13, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70):
        memory.add(source, 0.0)
        counts.append(memory.forgotten)
    # A third and a fourth source of a network for two, then the fourth and the seventh network.
    assert counts == [0, 0, 1, 2, 2, 2, 3, 3, 3, 4]


@pytest.mark.usefixtures("small")
def test_a_source_of_a_full_network_that_is_heard_again_takes_no_other_place() -> None:
    memory = ProvenSources(0, 4)
    for now, source in enumerate((0x10, 0x11, 0x10)):
        memory.add(source, 2.0 * now)
    assert (0x10 in memory, 0x11 in memory, memory.forgotten) == (True, True, 0)


@pytest.mark.usefixtures("small")
def test_a_network_that_comes_back_when_a_generation_is_full_has_all_of_its_sources() -> None:
    memory = ProvenSources(0, 4)
    for source in (0x10, 0x11, 0x20, 0x30, 0x40, 0x50, 0x60, 0x10):
        memory.add(source, 0.0)
    assert 0x10 in memory
    assert 0x11 in memory


def test_it_says_until_when_a_source_need_not_be_told_again() -> None:
    memory = ProvenSources(64, 80)
    assert memory.add(1, 0.0) == 1.0
    assert memory.add(2, 0.9) == 1.0, "the same narrow network was put last at the first time"
    assert memory.add(1, 1.5) == 2.5


def test_a_clock_that_stands_still_changes_no_order() -> None:
    memory = ProvenSources(0, 8)
    for source in range(8):
        memory.add(source, 0.0)
    memory.add(0, 0.0)  # it has its place already, and does not become the last
    memory.add(9, 0.0)
    assert 0 not in memory
    assert 1 in memory
