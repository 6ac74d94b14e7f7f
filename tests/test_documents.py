"""Documents stay true: everything they name exists."""

import ast
import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from scripts import file_index

ROOT = Path(__file__).parent.parent

IGNORED = tuple(
    line[1:] for line in (ROOT / ".gitignore").read_text().splitlines() if line[:1] == "/"
)


@cache
def functions(path: Path) -> frozenset[str]:
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


CLAIMED = sorted(set(re.findall(r"tests/[\w/]+\.py::\w+", (ROOT / "SECURITY.md").read_text())))


def test_security_claims_name_their_tests() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    claims = [line for line in text.splitlines() if line.startswith("| ") and line.count("|") == 4]
    unproven = [c for c in claims if " then ..." not in c and "---" not in c and "::" not in c]
    assert len(CLAIMED) > 30
    assert unproven == []


@pytest.mark.parametrize("test", CLAIMED)
def test_a_test_that_proves_a_claim_exists(test: str) -> None:
    file, _, name = test.partition("::")
    assert name in functions(ROOT / file)


@pytest.mark.parametrize(
    "document", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")], ids=str
)
def test_files_that_a_document_names_exist(document: Path) -> None:
    text = document.read_text()
    places = re.findall(
        r"`((?:src|tests|policy|fuzz|bench|docs|scripts|examples|servers|clients)/[\w./-]*)`", text
    )
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    # Files that git ignores exist on some machines only.
    missing = [p for p in places if not (ROOT / p).exists() or p.startswith(IGNORED)]
    missing += [link for link in links if not (document.parent / link).exists()]
    assert missing == []


# Places that offer packages. A document names a package only. The reader chooses where it comes
# from: a distribution, a mirror, a registry.
REGISTRIES = tuple(
    f"{name}.{end}"
    for name, ends in {
        "pypi": ("org", "io"), "pythonhosted": ("",), "anaconda": ("org", "com"), "npmjs": ("",),
        "crates": ("io",), "rubygems": ("",), "pkg.go": ("dev",), "proxy.golang": ("",),
        "docker": ("io", "com"), "ghcr": ("io",), "quay": ("io",), "packagist": ("",),
        "mvnrepository": ("",), "packages.debian": ("",), "flathub": ("org",), "snapcraft": ("io",),
    }.items()
    for end in ends
)  # fmt: skip


def files() -> Iterator[Path]:
    """Yield every file of the project, without ignored files and without symbolic links."""
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    for top in ROOT.iterdir():
        if top.name != ".git" and not any(fnmatch(top.name, pattern) for pattern in ignored):
            for path in [top, *top.rglob("*")]:
                name = str(path.relative_to(ROOT))
                if path.is_file() and not path.is_symlink() and not name.startswith(IGNORED):
                    yield path


def test_nothing_links_to_a_package_registry() -> None:
    texts = {
        str(path.relative_to(ROOT)): path.read_bytes().decode(errors="replace")
        for path in files()
        if path.suffix != ".pyc"
    }
    assert {"README.md", ".ci/run", "src/mailbell/__init__.py", "pyproject.toml"} < set(texts)
    found = [f"{name}: {place}" for name, text in texts.items() for place in registries(text)]
    assert found == []


def registries(text: str) -> list[str]:
    text = text.lower()
    return [place for place in REGISTRIES if place in text]


def test_what_is_looked_for_would_be_found() -> None:
    for address in ("https://pypi" + ".org/project/varlink/", "https://CRATES" + ".io"):
        assert registries(address)


def test_every_dependency_has_its_reason() -> None:
    file = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = file["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    groups += [file["build-system"]["requires"], *file["dependency-groups"].values()]
    names = {re.split(r"[><=~[]", entry)[0] for group in groups for entry in group}
    reasons = (ROOT / "docs" / "architecture.md").read_text().partition("## Dependencies")[2]
    assert {name for name in names if name not in reasons} == set()


def test_the_changelog_knows_this_version_or_what_comes_next() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_page_of_files_is_that_of_their_docstrings() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    shown = text.partition(file_index.BEGIN)[2].partition(file_index.END)[0]
    assert shown == "".join(file_index.section()), "run: python scripts/file_index.py --write"


def test_every_file_says_what_it_is_for() -> None:
    silent = [
        path
        for folder in file_index.FOLDERS
        for path in (ROOT / folder).glob("*.py")
        if path.stem != "__init__" and len(file_index.sentence(path)) < 10
    ]
    assert silent == []
