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


@pytest.mark.parametrize("name", names())
def test_what_a_shipped_recipe_replaces_can_be_put_back(name: str) -> None:
    """`postconf -#` gives Postfix's own value, and not the one that the administrator had."""
    for way in load(name).ways:
        for step in way.steps(FACTS):
            if isinstance(step, CommandStep) and step.command[:2] == ("postconf", "-e"):
                setting = step.command[2].split()[0]
                if not setting.startswith("mailbell"):
                    assert step.replaces == ("postconf", "-n", setting)
