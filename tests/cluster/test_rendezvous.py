"""Each key has one node, whoever asks, and moves only with its node."""

from collections import Counter
from hashlib import blake2b
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.cluster.rendezvous import owner

NAMES = st.text(st.characters(codec="ascii", exclude_characters="\n"), min_size=1, max_size=8)
NODES = st.lists(NAMES, min_size=1, max_size=8, unique=True)


@given(st.binary(max_size=16), NODES, st.randoms())
def test_the_order_of_the_nodes_decides_nothing(
    key: bytes, nodes: list[str], random: Random
) -> None:
    other = list(nodes)
    random.shuffle(other)
    assert owner(key, other) == owner(key, nodes)


@given(st.binary(max_size=16), NODES)
def test_a_key_stays_when_another_node_goes(key: bytes, nodes: list[str]) -> None:
    has = owner(key, nodes)
    for gone in nodes:
        if gone != has:
            assert owner(key, [node for node in nodes if node != gone]) == has


def test_the_keys_are_spread_evenly() -> None:
    found = Counter(owner(b"%d" % n, ("a", "b", "c")) for n in range(3000))
    assert all(900 < found[node] < 1100 for node in "abc")


def test_a_name_and_a_key_are_kept_apart() -> None:
    # Otherwise "a" with the key "bc" and "ab" with the key "c" would weigh the same.
    assert len({owner(b"%dx" % n, ("a", "a" + str(n))) for n in range(9)}) > 1


def test_without_a_node_there_is_no_owner() -> None:
    with pytest.raises(ValueError, match="empty"):
        owner(b"key", ())


@given(st.binary(max_size=16), NODES)
def test_nodes_of_all_versions_weigh_alike(key: bytes, nodes: list[str]) -> None:
    """Two nodes of which each takes another for the owner would both ring, or neither."""

    def weight(node: str) -> tuple[bytes, str]:
        data = str(len(node)).encode() + b":" + node.encode() + key
        return blake2b(data, digest_size=8).digest(), node

    assert owner(key, nodes) == max(nodes, key=weight)


def test_an_owner_by_heart() -> None:
    targets = (f"address 192.0.2.{n} 79 tcp".encode() for n in range(16))
    assert "".join(owner(target, ("a", "b", "c")) for target in targets) == "aacacbabacbbcbac"
