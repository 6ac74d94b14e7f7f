"""The pure part of `make docs`: links, copies, navigation. Nothing is built here."""

from pathlib import Path

import pytest

from scripts.site import stage
from scripts.site.links import Links

ROOT = Path(__file__).resolve().parents[2]
PROJECT = stage.Project.at(ROOT)
DOCUMENTS = frozenset({"README.md", "docs/a.md", "docs/deep/b.md"})
FILES = {"policy/x.toml", "docs/picture.png"}


def changed(text: str, document: str = "docs/a.md") -> tuple[str, set[str], list[str]]:
    links = Links(document, DOCUMENTS, lambda place: not place.endswith(".png"), FILES.__contains__)
    return links.changed(text)


@pytest.mark.parametrize(
    ("document", "written", "on_the_site"),
    [
        ("docs/a.md", "[b](deep/b.md#c)", "[b](deep/b.md#c)"),
        ("docs/deep/b.md", "[a](../a.md)", "[a](../a.md)"),
        ("README.md", "[a](docs/a.md)", "[a](docs/a.md)"),
        ("docs/deep/b.md", "[home](../../README.md#try-it)", "[home](../../index.md#try-it)"),
        ("docs/a.md", "[here](#there)", "[here](#there)"),
        ("docs/a.md", "[RFC](https://www.rfc-editor.org/rfc/rfc4146)", None),
        ("docs/a.md", "[x](../policy/x.toml)", "[x](../source/policy/x.toml.md)"),
        ("docs/a.md", "![p](picture.png)", "![p](picture.png)"),
        ("docs/a.md", "[![p](picture.png)](deep/b.md)", None),
        ("docs/deep/b.md", "[a]: ../a.md", "[a]: ../a.md"),
        ("docs/deep/b.md", "[r]: ../../README.md", "[r]: ../../index.md"),
    ],
)
def test_a_link_leads_to_the_page(document: str, written: str, on_the_site: str | None) -> None:
    assert changed(f"see {written}.\n\n{written}\n", document)[2] == []
    assert changed(f"{written}\n", document)[0] == f"{on_the_site or written}\n"


def test_what_a_document_leads_to_is_copied() -> None:
    text = "[x](../policy/x.toml) and ![p](picture.png) and [home](../README.md)\n"
    assert changed(text)[1] == {"policy/x.toml", "docs/picture.png"}


@pytest.mark.parametrize("link", ["gone.md", "deep/gone.md#a", "../policy/gone.toml", "b.md"])
def test_a_link_that_leads_nowhere_is_named(link: str) -> None:
    assert changed(f"[a](deep/b.md) [gone]({link})\n")[2] == [link]


@pytest.mark.parametrize(
    "literal",
    [
        "```\n[x](gone.md)\n```\n",
        "~~~~\n```\n[x](gone.md)\n~~~~\n",
        "`[x](gone.md)`\n",
        "``[`x`](gone.md)``\n",
        "text\n\n    [x](gone.md)\n\nmore\n",
        "- item\n\n  ```console\n  $ a [x](gone.md)\n  ```\n",
    ],
)
def test_what_is_shown_as_it_is_has_no_links(literal: str) -> None:
    assert changed(literal) == (literal, set(), [])
    assert changed(f"{literal}\n[y](gone.md)\n")[2] == ["gone.md"]


def test_the_navigation_has_every_document_of_the_project() -> None:
    """A new document needs a line in scripts/site/navigation.toml."""
    data = stage.load(ROOT / "scripts" / "site" / "navigation.toml")
    found = stage.documents(PROJECT.names)
    assert len(found) > 30
    assert "docs/install\n" in stage.navigation(data, found)


@pytest.mark.parametrize(
    ("pages", "complaint"),
    [
        (["docs/a.md"], "docs/deep/b.md: it is not in navigation.toml"),
        (["docs/a.md", "docs/deep/b.md", "c.md"], "navigation.toml: c.md: no such document"),
        (["docs/a.md", "docs/deep/b.md", "docs/a.md"], "docs/a.md: it is there twice"),
    ],
)
def test_a_wrong_navigation_is_refused(pages: list[str], complaint: str) -> None:
    data = {"section": [{"title": "All", "pages": pages}]}
    with pytest.raises(stage.DocumentsError, match=complaint):
        stage.navigation(data, DOCUMENTS)


def test_a_dead_link_ends_the_build(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "docs").mkdir(parents=True)
    (project / "README.md").write_text("# A\n\n[b](docs/b.md)\n")
    (project / "docs" / "b.md").write_text("# B\n\n[a](../README.md) [code](../x.py)\n")
    (project / "x.py").write_text("x = '````'\n")
    data = {"section": [{"title": "All", "pages": ["docs/b.md"]}]}
    stage.stage(project, tmp_path / "site", data)
    shown = (tmp_path / "site" / "source" / "x.py.md").read_text()
    assert "\n`````python\nx = '````'\n`````\n" in shown
    (project / "x.py").unlink()
    with pytest.raises(stage.DocumentsError, match=r"docs/b\.md: \.\./x\.py: it leads nowhere"):
        stage.stage(project, tmp_path / "site", data)


def test_every_link_of_the_project_leads_somewhere(tmp_path: Path) -> None:
    stage.stage(ROOT, tmp_path, stage.load(ROOT / "scripts" / "site" / "navigation.toml"))
    assert (tmp_path / "index.md").exists()
