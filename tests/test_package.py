"""What the package carries is the same from the source tree and from a source distribution.

A source distribution has no symbolic links, and a wheel that is built from it had none of what
they lead to: mailbelld found no policy, and did not start.
"""

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import mailbell

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "mailbell"
LINKS = sorted(path for path in SOURCE.iterdir() if path.is_symlink())
WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
    "wheel"
]


def test_the_version_is_the_one_that_is_installed() -> None:
    assert mailbell.__version__ == version("mailbell")


def test_the_links_are_those_that_the_document_names() -> None:
    assert {path.name for path in LINKS} == {"clients", "examples", "policy"}


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_the_wheel_is_built_without_the_link(link: Path) -> None:
    folder = str(link.resolve().relative_to(ROOT))
    assert folder in WHEEL["only-include"]
    assert f"/src/mailbell/{link.name}" in WHEEL["exclude"]
    assert WHEEL["sources"][folder] == f"mailbell/{link.name}"


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_the_installed_package_has_what_the_link_leads_to(link: Path) -> None:
    installed = Path(mailbell.__file__).parent / link.name
    assert not installed.is_symlink()
    files = [path for path in link.resolve().rglob("*") if path.suffix in {".toml", ".js", ".json"}]
    assert files
    for path in files:
        assert (installed / path.relative_to(link.resolve())).read_bytes() == path.read_bytes()
