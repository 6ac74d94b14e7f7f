"""The pages of docs/servers/."""

from msgspec import structs
from recipes.test_plain import WHOLE

from mailbell.recipes.page import overview, page
from mailbell.recipes.recipe import Recipe, parse

TRIED = parse(
    b"""
name = "tried"
title = "Tried"
summary = "It rings well."
verified = "Debian 12"
[[way]]
name = "one"
title = "One | two"
tells = "mail"
suits = "all users"
order = "after"
fails = "*Delivered* by a_b _c_ [x](y) `z` <w> &amp; && \\\\anna."
hangs = "The mail waits."
[[way.step]]
why = "It does."
command = ["true"]
[[way]]
name = "two"
title = "Second"
tells = "logins"
suits = "all users"
fails = "The login goes on."
hangs = "The login waits."
[[way.step]]
why = "It does."
command = ["true"]
"""
)


def test_a_page_has_all_that_the_recipe_says() -> None:
    text = page(WHOLE)
    for part in (
        "# Whole\n\nIt has everything.\n\nNot tried here.\nNobody has it.\n",
        "Packages of Debian: `whole`.\n",
        "| [one](#one) | The first one | of new mail, in a race with the mailbox, and of logins |",
        "\n## one\n\nThe first one. Suits all users. Tells of new mail, in a race",
        "It also needs `more`.\n",
        "\nA first paragraph.\n\n    as  it\n    is alice\n",
        "1. Write it.\n\n`/etc/x` must not have:\n\n```text\nold\n```\n",
        "`/etc/x` (owner `root`, mode `0600`) gets, right below `[x]`:\n\n```text\nnew /run/",
        "\n`/etc/z` gets:\n\n```text\nz\n```\n",
        "\n6. Let `mailbell-sender` trust who rings, in\n`/etc/mailbell/sender.toml`. Keep the",
        " names that are there already.\n\n```toml\n",
        "4. Set it.\n\nThis replaces what the first command shows. Note that, to put it back.\n",
        "\n```console\n# get a\n# set 'a b'\n```\n",
        '```toml\n[listen]\ntrusted = ["root", "vmail"]\n```\n',
        "**If the hook fails.** The mail of alice is delivered.\n",
        "Usual mistakes:\n\n- Never forget alice.\n",
        "To undo it:\n\n```text\nunset a\nput back what this showed before: get a\ntake the",
        "\n## two\n\nThe second one. Suits all users. Tells of logins.\n\nIt is said.\n",
    ):
        assert part in text


def test_nothing_means_anything_to_markdown_by_accident() -> None:
    text = page(TRIED)
    assert r"\*Delivered\* by a_b \_c\_ \[x\](y) \`z\` \<w\> \&amp; && \\anna." in text
    assert r"| [one](#one) | One \| two |" in text


def test_a_page_says_what_it_is_made_from() -> None:
    how = "change that, and run it with --write. -->\n\n# "
    for text, source in (
        (page(TRIED), "src/mailbell/recipes/tried.toml"),
        (overview([TRIED], []), "src/mailbell/recipes/ and docs/servers/results.json"),
    ):
        assert text.startswith(f"<!-- Made by scripts/server_pages.py from {source}: {how}")


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| [")]


def test_without_results_the_table_says_so() -> None:
    text = overview([TRIED], [])
    assert rows(text) == [
        "| [Tried](tried.md) | not run yet | [one](tried.md#one) | mail | not run yet | after |  |",
        "| [Tried](tried.md) | not run yet | [two](tried.md#two) | logins |  |  |  |",
    ]
    assert "Not run, and why" not in text
    assert "Also measured:" not in text


def test_results_of_one_way_are_one_row() -> None:
    text = overview(
        [TRIED, WHOLE],
        [
            {"server": "Tried", "version": "1.2", "way": "one", "milliseconds": 12.345},
            {"server": "tried", "version": "1.2", "way": "one", "order": "race", "mails": 1000,
             "slower_by": 1.04567},
            {"server": "tried", "version": "1.2|3", "way": "two", "milliseconds": "soon"},
            {"server": "other", "way": "one", "took": "x|y"},
        ],
    )  # fmt: skip
    more = "mails 1000, slower by 1.05"
    assert rows(text) == [
        f"| [Tried](tried.md) | 1.2 | [one](tried.md#one) | mail | 12.3 ms | race | {more} |",
        "| [Tried](tried.md) | 1.2\\|3 | [two](tried.md#two) | logins |  |  |  |",
    ]
    assert "|\n\nAlso measured:\n\n- server other, way one, took x\\|y\n" in text
    assert "\nNot run, and why:\n\n- [Whole](whole.md): Nobody has it.\n" in text


def test_whom_to_trust_is_the_first_step_where_there_is_no_other() -> None:
    way = structs.replace(TRIED.ways[0], step=(), trusted=("root",), text="It is said.")
    bare = Recipe("x", "X", "It is.", "Debian 12", "", (), (way,))
    assert "\nIt is said.\n\n1. Let `mailbell-sender` trust who rings" in page(bare)


def test_a_recipe_without_packages_and_reason_names_none() -> None:
    bare = Recipe("x", "X", "It is.", "Debian 12", "", (), TRIED.ways)
    assert "Packages" not in page(bare)
