"""Recipes for mail servers: what makes each one ring through mailbell-sender."""

from difflib import get_close_matches
from importlib import resources
from typing import Final

from mailbell.core.errors import ConfigurationError, Problem, UsageError
from mailbell.core.escape import printable
from mailbell.recipes.facts import Facts
from mailbell.recipes.recipe import Recipe, Way, parse
from mailbell.recipes.steps import CommandStep, FileStep

__all__ = ["CommandStep", "Facts", "FileStep", "Recipe", "Way", "load", "names"]

_SUFFIX: Final = ".toml"
_SHIPPED: Final = resources.files("mailbell") / "recipes"


def names() -> tuple[str, ...]:
    """Return the names of all servers with a recipe, in alphabetical order."""
    files = (file.name for file in _SHIPPED.iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in files if name.endswith(_SUFFIX)))


def _near(name: str, known: tuple[str, ...]) -> list[str]:
    """Return the names that may be meant, such as dovecot-2.4 for Dovecot."""
    asked = name.lower()
    begun = [each for each in known if asked and each.startswith(asked)]
    return begun or get_close_matches(asked, known, n=3)


def load(name: str) -> Recipe:
    """Read the recipe for one server.

    Args:
        name: the name of the server, one of `names()`.

    Returns:
        The recipe.

    Raises:
        UsageError: there is no recipe of this name; the remedy suggests others.
        ConfigurationError: the recipe is damaged; each problem begins with the file's name.
    """
    known = names()
    if name not in known:
        what = f"there is no recipe for '{printable(name[:80])}'"
        perhaps = f"perhaps {' or '.join(near)}; all: " if (near := _near(name, known)) else ""
        raise UsageError(what, f"{perhaps}{', '.join(known)}")
    file = f"{name}{_SUFFIX}"
    try:
        recipe = parse((_SHIPPED / file).read_bytes())
    except ConfigurationError as error:
        problems = tuple(Problem(f"{file}: {each.path}", each.message) for each in error.problems)
        raise ConfigurationError(f"{error.what} {file}", error.remedy, problems) from error
    if recipe.name != name:
        raise ConfigurationError(f"{file} has the name {recipe.name!r}", f"write {name!r}")
    return recipe
