"""Which changes are made: the operators of mutmut, and three of our own.

The operators come from mutmut, so nobody here decides which faults are looked for. What runs them
is our own: see docs/mutants.md. mutmut has none that negates a condition without a comparison, and
none that leaves a call, a `raise` or a bare `return` out; they are added. A case of a `match` is
not left out but made one that never applies.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

try:
    import libcst as cst
    from libcst.metadata import MetadataWrapper, WhitespaceInclusivePositionProvider
    from mutmut.mutation.mutators import mutation_operators
except ImportError as missing:  # the only part that needs more than the tests do
    raise SystemExit(
        f"torture.mutants: {missing.name} is missing: pip install 'mutmut>=3.8.1'"
    ) from missing

from torture.mutants.mutant import Change, Mutant, named

__all__ = ["mutants_of", "named_changes"]

# What is no code of ours to test: words for the type checker, and names for `import *`. A
# decorator that is left out or changed is no code any more that Python accepts, mostly.
NOT_RUN: Final = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom, cst.TypeAlias)
FOR_THE_TYPE_CHECKER: Final = {"TypeVar", "ParamSpec", "NewType", "cast", "assert_never"}


def mutants_of(source: str) -> list[Mutant]:
    """Return all mutants of a file, in its order.

    Args:
        source: of the file.
    """
    return [each for each in named_changes(source) if _is_python(each, source)]


def named_changes(source: str) -> list[Mutant]:
    """Return all mutants of a file, and a few that are no Python: much quicker.

    Args:
        source: of the file.
    """
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    visitor = _Visitor(source)
    wrapper.visit(visitor)
    return list(named(source, visitor.changes))


def _is_python(mutant: Mutant, source: str) -> bool:
    """Leave out what Python refuses, like a `return` in a class."""
    try:
        compile(mutant.applied(source), "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


class _Visitor(cst.CSTVisitor):
    """Collects the changes of a file."""

    METADATA_DEPENDENCIES = (WhitespaceInclusivePositionProvider,)

    def __init__(self, source: str) -> None:
        super().__init__()
        self.changes: list[Change] = []
        self._lines = [0]
        for line in source.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        self._source = source
        self._scope: list[str] = []
        self._functions = 0  # how many enclose the place
        self._bodies = 0  # how many of them with their body

    def on_visit(self, node: cst.CSTNode) -> bool:
        """Change a node, and say whether its children are to be changed too."""
        if isinstance(node, NOT_RUN) or _is_left_out(node):
            return False
        for replaced, text in _replacements(node):
            self._add(replaced, text)
        if isinstance(node, cst.ClassDef | cst.FunctionDef) and not self._functions:
            self._scope.append(node.name.value)
        self._functions += isinstance(node, cst.FunctionDef)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        """Forget the scope that ends."""
        if isinstance(original_node, NOT_RUN) or _is_left_out(original_node):
            return
        self._functions -= isinstance(original_node, cst.FunctionDef)
        if isinstance(original_node, cst.ClassDef | cst.FunctionDef) and not self._functions:
            self._scope.pop()

    def visit_FunctionDef_body(self, _: cst.FunctionDef) -> None:  # noqa: N802  libcst's name
        """From here on the place is in the body of a function."""
        self._bodies += 1

    def leave_FunctionDef_body(self, _: cst.FunctionDef) -> None:  # noqa: N802  libcst's name
        """From here on it is not."""
        self._bodies -= 1

    def _add(self, replaced: cst.CSTNode, text: str) -> None:
        place = self.get_metadata(WhitespaceInclusivePositionProvider, replaced)
        start = self._lines[place.start.line - 1] + place.start.column
        end = self._lines[place.end.line - 1] + place.end.column
        self.changes.append(Change(start, end, text, ".".join(self._scope), self._bodies > 0))


def _replacements(node: cst.CSTNode) -> Iterator[tuple[cst.CSTNode, str]]:
    """Return what may be replaced in a node, and by which text."""
    for kind, operator in mutation_operators:
        if not isinstance(node, kind) or isinstance(node, cst.Match):
            continue
        changed = operator(node)
        # A text gets other letters; that it gets capitals too would count each text three times.
        for each in islice(changed, 1) if isinstance(node, cst.SimpleString) else changed:
            yield node, _text(each)
    if isinstance(node, cst.If | cst.While) and _is_plain(node.test):
        yield node.test, f"not {_text(node.test)}"
    if isinstance(node, cst.Expr | cst.Raise | cst.Return) and _does_something(node):
        yield node, "pass"
    if isinstance(node, cst.MatchCase):
        yield from _never(node)


def _never(case: cst.MatchCase) -> Iterator[tuple[cst.CSTNode, str]]:
    """Make a case of a `match` one that never applies.

    mutmut leaves it out, which would have to know the indentation.
    """
    if case.guard is None:
        yield case.pattern, f"{_text(case.pattern)} if False"


def _is_plain(condition: cst.BaseExpression) -> bool:
    """Tell whether a condition is none that mutmut changes itself."""
    return not isinstance(
        condition, cst.Comparison | cst.UnaryOperation | cst.BooleanOperation | cst.NamedExpr
    )


def _does_something(statement: cst.Expr | cst.Raise | cst.Return) -> bool:
    """Tell whether it is no text that only describes, and no `return` at the end of all."""
    if isinstance(statement, cst.Expr):
        return isinstance(statement.value, cst.Call | cst.Await | cst.Yield)
    return isinstance(statement, cst.Raise) or statement.value is None


def _text(node: cst.CSTNode) -> str:
    return cst.Module([]).code_for_node(node)


def _is_left_out(node: cst.CSTNode) -> bool:
    """Tell whether a node is for the type checker, or only says what the file offers."""
    match node:
        case cst.SimpleStatementLine(body=[cst.Expr(value=cst.SimpleString())]):
            return True  # a docstring
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value="__all__"))]):
            return True
        case cst.If(test=cst.Name(value="TYPE_CHECKING")):
            return True
        case (
            cst.Call(func=cst.Name(value=name))
            | cst.Assign(value=cst.Call(func=cst.Name(value=name)))
        ):
            return name in FOR_THE_TYPE_CHECKER
    return False
