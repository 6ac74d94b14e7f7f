"""The nodes that live."""

from hypothesis import given
from hypothesis import strategies as st

from mailbell.cluster.members import BEAT, LIFE, Members

NAMES = st.sets(st.sampled_from("abcdef"))


@given(st.lists(NAMES))
def test_an_update_tells_who_came_and_who_went(lists: list[set[str]]) -> None:
    members, known = Members("a"), {"a"}
    for alive in lists:
        change = members.update(alive)
        assert change.came == (alive | {"a"}) - known
        assert change.went == known - (alive | {"a"})
        known = alive | {"a"}
        assert members.nodes == tuple(sorted(known))


@given(NAMES, st.text())
def test_every_node_computes_the_same_owner(alive: set[str], target: str) -> None:
    owners = set()
    for own in alive:
        members = Members(own)
        members.update(alive)
        owners.add(members.owner(target))
    assert len(owners) <= 1


def test_a_node_lives_for_itself() -> None:
    members = Members("a")
    members.update(["b"])
    assert members.nodes == ("a", "b")


@given(NAMES, st.text())
def test_a_node_that_retires_has_no_target_unless_it_is_alone(alive: set[str], target: str) -> None:
    members = Members("a")
    members.update(alive)
    members.retire()
    assert (members.owner(target) == "a") == (alive <= {"a"})


def test_a_node_may_miss_some_signs_of_life_but_not_many() -> None:
    assert (BEAT, LIFE) == (1.0, 5.0)
