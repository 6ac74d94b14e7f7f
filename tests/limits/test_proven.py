"""The memory of proven sources, against a naive one."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.limits import proven
from mailbell.limits.proven import ProvenSources


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proven, "NETWORKS", 3)
    monkeypatch.setattr(proven, "PER_NETWORK", 2)


# Five networks of four sources of four addresses each.
sources = st.lists(st.integers(0, 79), max_size=60)


@pytest.mark.usefixtures("small")
def test_it_remembers_what_a_naive_memory_does() -> None:
    @given(sources)
    def check(added: Sequence[int]) -> None:
        memory, naive = ProvenSources(2, 4), list[int]()
        for source in added:
            memory.add(source)
            narrow = source >> 2
            naive = [other for other in naive if other != narrow] + [narrow]
            of_network = [other for other in naive if other >> 2 == narrow >> 2]
            if len(of_network) > 2:
                naive.remove(of_network[0])
            newest_first = list(dict.fromkeys(other >> 2 for other in reversed(naive)))
            naive = [other for other in naive if other >> 2 in newest_first[:3]]
            assert {source for source in range(80) if source in memory} == {
                source for source in range(80) if source >> 2 in naive
            }

    check()


def test_one_network_makes_no_other_forgotten() -> None:
    memory = ProvenSources(64, 80)
    good = 0x20010DB8_00000001 << 64 | 0x25
    memory.add(good)
    for i in range(100_000):
        memory.add(0x20010DB8_00020000 << 64 | i << 64)
    assert good in memory
    assert good + 1 in memory, "a host has more than one address"
    assert sum((0x20010DB8_00020000 + i) << 64 in memory for i in range(1 << 16)) == 8


def test_its_size_is_bounded() -> None:
    memory = ProvenSources(0, 8)
    for source in range(0, 5000 << 8, 16):
        memory.add(source)
    assert len(memory._networks) == 1024
    assert {len(members) for members in memory._networks.values()} == {8}
