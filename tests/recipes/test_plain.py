"""A recipe as text for a terminal."""

import pytest

from mailbell.recipes import load, names
from mailbell.recipes.facts import Facts
from mailbell.recipes.plain import (
    WIDTH,
    described,
    order_of,
    paragraphs,
    shown_as_is,
    trusted_line,
    undone,
)
from mailbell.recipes.recipe import Recipe, parse

FACTS = Facts(user="bob", home="/home/bob", cyrus="/run/cyrus")
WHOLE = parse(
    b'''
name = "whole"
title = "Whole"
summary = "It has everything."
verified = "not tried here"
reason = "Nobody has it."
packages = ["whole"]

[[way]]
name = "one"
title = "The first one"
tells = "both"
suits = "all users"
order = "race"
packages = ["more"]
trusted = ["root", "vmail"]
fails = "The mail of @user@ is delivered."
hangs = "The mail waits."
traps = ["Never forget @user@."]
text = """
A first
paragraph.

    as  it
    is @user@
"""

[[way.step]]
why = "Write it."
file = "/etc/x"
text = "new @cyrus@\\n\\n\\ttab"
below = "[x]"
without = "old"
owner = "root"
mode = "0600"

[[way.step]]
why = "Take it out."
file = "/etc/y"
without = "old"

[[way.step]]
why = "Plain."
file = "/etc/z"
text = "z"

[[way.step]]
why = "Set it."
command = ["set", "a b"]
replaces = ["get", "a"]
undo = ["unset", "a"]

[[way.step]]
why = "Read it again."
command = ["reload"]

[[way]]
name = "two"
title = "The second one"
tells = "logins"
suits = "all users"
text = "It is said."
'''
)

TEXT = """\
Whole: --way one

is          The first one
tells       of new mail, in a race with the mailbox, and of logins
suits       all users
packages    whole more
tried with  nothing: see below

Nobody has it.

A first paragraph.

    as  it
    is bob

1. Write it.
   /etc/x must not have:

     old

   /etc/x (owner root, mode 0600) gets right below:

     [x]

   these lines:

     new /run/cyrus

     \ttab

2. Take it out.
   /etc/y must not have:

     old

3. Plain.
   /etc/z gets:

     z

4. Set it.
   This replaces what the first command shows. Note that, to put it back.
     # get a
     # set 'a b'

5. Read it again.
     # reload

6. Let mailbell-sender trust who rings, in /etc/mailbell/sender.toml. Keep the
   names that are there already.

     [listen]
     trusted = ["root", "vmail"]

     # systemctl restart mailbell-sender

If the hook fails
  The mail of bob is delivered.

If the hook hangs
  The mail waits.

Usual mistakes
- Never forget bob.

To undo it
- unset a
- put back what this showed before: get a
- take the lines out of /etc/z; remove it if nothing is left
- put the other lines of /etc/y back
- take the lines out of /etc/x; remove it if nothing is left
- put the other lines of /etc/x back

Other ways
- --way two: The second one
"""


def test_all_that_a_way_says_is_shown() -> None:
    assert described(WHOLE, WHOLE.way("one"), FACTS) == TEXT


def test_what_a_way_does_not_say_is_not_shown() -> None:
    only = Recipe("x", "X", "x", "Debian 12", "", (), (WHOLE.way("two"),))
    assert described(only, only.ways[0], FACTS) == (
        "X: --way two\n\nis          The second one\ntells       of logins\nsuits       all users\n"
        "tried with  Debian 12\n\nIt is said.\n"
    )


def test_the_order_is_told_in_words() -> None:
    one = WHOLE.way("one")
    assert order_of(one).startswith("of new mail, in a race")
    assert trusted_line(WHOLE.way("two")) == ""
    assert list(undone(WHOLE.way("one").steps(FACTS)[4])) == []


def test_paragraphs() -> None:
    assert list(paragraphs("")) == []
    assert list(paragraphs("\na\nb\n \n    c\n")) == [["a", "b"], ["    c"]]
    assert shown_as_is(["    c"])
    assert not shown_as_is(["    c", "d"])


@pytest.mark.parametrize("name", names())
def test_a_shipped_recipe_fits_a_terminal_but_for_its_own_lines(name: str) -> None:
    recipe = load(name)
    for way in recipe.ways:
        text = described(recipe, way, FACTS)
        assert text.isascii()
        # What goes into a file or on a command line is never broken.
        prose = [line for line in text.splitlines() if not line.startswith(("    ", "- "))]
        assert [line for line in prose if len(line) > WIDTH and "/" not in line] == []
