"""How the blocks of docs/install.md are read."""

import pytest
from documents.blocks import Step
from packages.page import PAGE as PAGE_FILE
from packages.page import blocks, parse
from packages.roots import SUITES

# From a bare machine to the first ring, from there to an agent, and on a mail server.
COMMANDS = {"first ring": 3, "agent": 2, "mail server": 4}
TOOL = ("install", "upgrade", "removal")

PAGE = """\
text

<!-- run: a way on trixie forky -->
```console
# first --option
$ second
printed

more
```

```console
# not run
```

<!-- run: another on trixie -->
```console
# third
```
"""


def test_a_block_is_what_stands_below_its_comment() -> None:
    first, second = parse(PAGE)
    assert (first.name, first.suites) == ("a way", ("trixie", "forky"))
    assert first.steps == (
        Step("first --option", True, ()),
        Step("second", False, ("printed", "", "more")),
    )
    assert (second.name, second.steps) == ("another", (Step("third", True, ()),))


def test_each_block_of_the_page_is_run() -> None:
    text = PAGE_FILE.read_text()
    found = parse(text)
    assert len(found) == text.count("```console\n")
    ways = {f"{way} {what}" for way in ("pip", "pipx", "uv") for what in TOOL}
    others = {"pipx sender", "source install", "deb install", "deb removal"}
    others |= {"home install", "home refused"}
    assert {block.name for block in found} == ways | others | set(COMMANDS)
    assert {suite for block in found for suite in block.suites} == set(SUITES)


@pytest.mark.parametrize("name", COMMANDS)
def test_it_takes_so_many_commands(name: str) -> None:
    (block,) = blocks(name, "trixie")
    assert len(block.steps) == COMMANDS[name]
    assert not [step for step in block.steps if "&&" in step.command or ";" in step.command]
