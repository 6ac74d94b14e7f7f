"""How the blocks of documents are found, and compared with what is printed."""

import pytest
from documents.blocks import Step, block, documents, is_printed, of, steps

PAGE = """\
# Page

Text.

    indented

      more
    of it

Text
    that goes on.

```console
# first
printed
```

## Second

1. An item.

   Its text.

       its block

2. Another:

   ~~~
   fenced
   ~~~

- one

    text of the item

## Page

````md
```sh
inner
```
````
    at the end
"""


def test_blocks_are_fenced_or_indented() -> None:
    found = [(one.heading, one.ordinal, one.line, one.language, one.text) for one in of("x", PAGE)]
    assert found == [
        ("Page", 0, 5, "", "indented\n\n  more\nof it\n"),
        ("Page", 1, 13, "console", "# first\nprinted\n"),
        ("Second", 0, 24, "", "its block\n"),
        ("Second", 1, 28, "", "   fenced\n"),
        ("Page", 2, 38, "md", "```sh\ninner\n```\n"),
    ]


def test_a_block_is_found_by_its_place() -> None:
    assert block("docs/install.md", "Debian packages", 1).text.startswith("# apt-get purge")
    with pytest.raises(LookupError):
        block("docs/install.md", "Debian packages", 2)


def test_all_documents_are_looked_at() -> None:
    assert {"README.md", "SECURITY.md", "docs/install.md", "docs/servers/exim.md",
            "bench/README.md", "fuzz/README.md"} <= set(documents())  # fmt: skip


def test_commands_are_read_with_what_they_print() -> None:
    assert steps("# first --option\n$ second \\\n  more\nprinted\n\nmore\n") == [
        Step("first --option", True, ()),
        Step("second \\\n  more", False, ("printed", "", "more")),
    ]


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ([], ""),
        (["a"], "a"),
        (["version 0.1.0 in 12 s"], "version 3.13.5 in 7 s\n"),
        (["a", "...", "z"], "a\nb\nc\nz\n"),
        (["a", "...", "z"], "a\nz\n"),
        (["are now ... available"], "are now globally available\n"),
        (["..."], ""),
        (["a (b) [c]*"], "a (b) [c]*  \n"),
    ],
)
def test_what_is_printed_is_found(shown: list[str], printed: str) -> None:
    assert is_printed(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ([], "a\n"),
        (["a"], ""),
        (["a"], "b\n"),
        (["a"], "a\nb\n"),
        (["a", "...", "z"], "a\nb\n"),
        (["x 1"], "x y\n"),
        (["a.c"], "abc\n"),
    ],
)
def test_what_is_printed_otherwise_is_found_out(shown: list[str], printed: str) -> None:
    assert not is_printed(shown, printed)
