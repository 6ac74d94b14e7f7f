"""Makes the folder that the site is built from: the documents, and copies of what they lead to."""

import re
import shutil
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scripts.dist import tracked
from scripts.site.links import HOME, Links, page_of, shown_at

__all__ = ["DocumentsError", "documents", "navigation", "stage"]

_DOCUMENTS: Final = re.compile(r"[^/]+\.md|docs/(?:.+/)?[^/]+\.md|[^/.][^/]*/README\.md")
# The colours of a file by the end of its name; of all others: none.
_LANGUAGES: Final = {
    "py": "python", "toml": "toml", "sh": "sh", "json": "json", "lua": "lua", "c": "c", "js": "js",
    "yml": "yaml", "yaml": "yaml",
}  # fmt: skip
# A page with more than this is no help to a reader: the link leads to the file itself. In bytes.
_MOST: Final = 200_000
_NOTE: Final = "mailbell's source, as it was when this site was built."


class DocumentsError(Exception):
    """The documents make no site: a line for each reason."""


@dataclass(frozen=True, slots=True)
class Project:
    """What a site can be made of.

    Attributes:
        root: the project's folder.
        names: every file of it, relative to the folder.
    """

    root: Path
    names: frozenset[str]

    @classmethod
    def at(cls, root: Path) -> "Project":
        """Find the files of a project: those that git tracks, or all where there is no git."""
        names = tracked(root)
        if names is None:
            # Environments, caches and what was built are in hidden folders, and in dist.
            tops = (top for top in root.iterdir() if top.name[0] != "." and top.name != "dist")
            found = (path for top in tops for path in [top, *top.rglob("*")])
            names = [str(path.relative_to(root)) for path in found]
        return cls(root, frozenset(name for name in names if (root / name).is_file()))

    def exists(self, place: str) -> bool:
        """Tell whether a file or a folder belongs to the project."""
        return place in self.names or any(self.below(place))

    def below(self, place: str) -> Iterator[str]:
        """Yield the files below a folder, in the order of their names."""
        return (name for name in sorted(self.names) if name.startswith(f"{place}/"))

    def is_shown(self, place: str) -> bool:
        """Tell whether a page of the site can show it: a folder, or a text of some length."""
        if place not in self.names:
            return True
        data = (self.root / place).read_bytes()
        return len(data) <= _MOST and b"\0" not in data and Path(place).suffix != ".svg"


def documents(names: Iterable[str]) -> list[str]:
    """Return the documents among the files of a project.

    Args:
        names: the files, relative to the project's folder.
    """
    return sorted(name for name in names if _DOCUMENTS.fullmatch(name))


def navigation(data: dict[str, Any], found: Iterable[str]) -> str:
    """Write the navigation for the first page.

    Args:
        data: the content of navigation.toml.
        found: the documents that there are.

    Returns:
        The lines, in MyST's language.

    Raises:
        DocumentsError: a document is not in the navigation, or is there twice, or does not exist.
    """
    named = [HOME, *(page for section in data["section"] for page in section["pages"])]
    wanted = set(found)
    problems = [f"{each}: it is not in navigation.toml" for each in sorted(wanted - set(named))]
    problems += [
        f"navigation.toml: {each}: no such document" for each in sorted(set(named) - wanted)
    ]
    problems += [
        f"navigation.toml: {each}: it is there twice"
        for each in sorted({each for each in named if named.count(each) > 1})
    ]
    if problems:
        raise DocumentsError("\n".join(problems))
    return "".join(
        f"\n```{{toctree}}\n:hidden:\n:caption: {section['title']}\n\n"
        + "".join(f"{page.removesuffix('.md')}\n" for page in section["pages"])
        + "```\n"
        for section in data["section"]
    )


def stage(root: Path, target: Path, data: dict[str, Any]) -> None:
    """Write the folder that the site is built from.

    Args:
        root: the project's folder.
        target: a folder; what is in it is removed.
        data: the content of navigation.toml.

    Raises:
        DocumentsError: as in `navigation`, or a link leads nowhere.
        OSError, subprocess.CalledProcessError: a file cannot be read, or git refuses.
    """
    project = Project.at(root)
    found = frozenset(documents(project.names))
    contents = navigation(data, found)
    shutil.rmtree(target, ignore_errors=True)
    copied: set[str] = set()
    problems: list[str] = []
    for document in sorted(found):
        links = Links(document, found, project.is_shown, project.exists)
        text, more, dead = links.changed((root / document).read_text(encoding="utf-8"))
        copied |= more
        problems += [f"{document}: {link}: it leads nowhere" for link in dead]
        _write(target / page_of(document), text + (contents if document == HOME else ""))
    if problems:
        raise DocumentsError("\n".join(problems))
    _copy(project, target, copied)


def _copy(project: Project, target: Path, places: set[str]) -> None:
    for place in sorted(places | {one for each in places for one in project.below(each)}):
        if not project.is_shown(place):
            path = target / place
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(project.root / place, path)
        elif place in project.names:
            text = (project.root / place).read_text(encoding="utf-8")
            _write(target / shown_at(place), _file(place, text))
        else:
            _write(target / shown_at(place), _folder(place, project))


def _file(place: str, text: str) -> str:
    """Write the page of a file."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`+", text)), 3)
    language = _LANGUAGES.get(place.rpartition(".")[2], "text")
    return f"{_head(place)}A file of {_NOTE}\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def _folder(place: str, project: Project) -> str:
    """Write the page of a folder: links to all files below it."""
    depth = "../" * place.count("/")
    lines = [
        f"- [`{name}`]({depth}{name if project.is_shown(name) is False else f'{name}.md'})\n"
        for name in project.below(place)
    ]
    return f"{_head(place)}A folder of {_NOTE}\n\n{''.join(lines)}"


def _head(place: str) -> str:
    # Only links of documents lead to these pages, and they are not in the navigation.
    return f"---\norphan: true\n---\n\n# `{place}`\n\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def load(path: Path) -> dict[str, Any]:
    """Read navigation.toml.

    Args:
        path: of the file.
    """
    return tomllib.loads(path.read_text(encoding="utf-8"))
