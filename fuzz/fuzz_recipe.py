"""Any bytes give a Recipe that can be shown in every way, or a ConfigurationError with problems.

A recipe is shown as a page, as plain text, and as steps on a machine whose facts are given.
"""

from fuzz.fuzz_config import check_problems
from mailbell.core.errors import ConfigurationError
from mailbell.recipes.facts import Facts
from mailbell.recipes.page import page
from mailbell.recipes.plain import described
from mailbell.recipes.recipe import Recipe, parse
from mailbell.recipes.state import File, Printed, in_force, judge_check, judge_command, judge_file
from mailbell.recipes.steps import FileStep


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    try:
        recipe = parse(data)
    except ConfigurationError as error:
        check_problems(error)
    else:
        check_recipe(recipe, data.decode())


def check_recipe(recipe: Recipe, text: str) -> None:
    """Shows the recipe, and judges a machine on which each file and command says the same."""
    assert page(recipe)
    facts = Facts()
    for way in recipe.ways:
        plain = described(recipe, way, facts)
        assert plain.isascii()
        assert plain.endswith("\n")
        verdicts = []
        for step in way.steps(facts):
            if isinstance(step, FileStep):
                verdicts.append(judge_file(step, File(text, owner="root", mode=0o644)))
            elif (found := judge_command(step, Printed(text))) is not None:
                verdicts.append(found)
        verdicts += [judge_check(each, Printed(text)) for each in way.checks(facts)]
        assert all(verdict.what for verdict in verdicts)
        in_force(verdicts)
