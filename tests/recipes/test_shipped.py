"""Each shipped recipe can be read, and its steps can be made for a machine."""

import pytest

from mailbell.recipes import CommandStep, Facts, FileStep, load, names

FACTS = Facts(
    hook="/opt/bin/mailbell-hook",
    socket="/run/s",
    cyrus="/run/c",
    files="/opt/servers",
    user="bob",
    home="/srv/bob",
)


@pytest.mark.parametrize("name", names())
def test_a_shipped_recipe_is_read_and_has_its_steps(name: str) -> None:
    for way in load(name).ways:
        for step in way.steps(FACTS):
            assert isinstance(step, CommandStep | FileStep)
            assert not {"alice", "/home/alice"} & set(repr(step).split("'")), "write @user@, @home@"
