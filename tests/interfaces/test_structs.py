"""What every message of a local socket has in common, and the words in it."""

import inspect
from enum import Enum
from types import ModuleType

import msgspec
import pytest

from mailbell.interfaces import listener, local_event, sandbox, sender, sender_status
from mailbell.varlink import _message

MODULES = (listener, local_event, sandbox, sender, sender_status, _message)


def of(module: ModuleType, kind: type) -> list[type]:
    found = [each for each in vars(module).values() if isinstance(each, type)]
    return [each for each in found if issubclass(each, kind) and each.__module__ == module.__name__]


STRUCTS = [struct for module in MODULES for struct in of(module, msgspec.Struct)]
# What has so many members that nobody could keep their order; the others are asked for by place.
RECORDS = {
    "Outcomes", "Account", "Status", "Sandbox", "Step", "RingResult", "TargetState", "Latency",
    "Book", "Store", "ClusterNode", "Cluster",
}  # fmt: skip
# What is left out if it says nothing.
SHORT = {"Subscribe", "Watch", "Call", "Reply", "_Envelope"}


def test_all_are_here() -> None:
    assert len(STRUCTS) > 25
    assert {struct.__name__ for struct in STRUCTS} >= RECORDS | SHORT


@pytest.mark.parametrize(
    "struct", STRUCTS, ids=lambda struct: f"{struct.__module__}.{struct.__name__}"
)
def test_a_message_cannot_be_changed_and_what_is_absent_says_nothing(
    struct: type[msgspec.Struct],
) -> None:
    assert struct.__struct_config__.frozen
    assert struct.__struct_config__.omit_defaults == (struct.__name__ in SHORT)
    kinds = {each.kind for each in inspect.signature(struct).parameters.values()}
    if struct.__name__ in RECORDS:
        assert kinds == {inspect.Parameter.KEYWORD_ONLY}
    else:
        assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    for field in msgspec.structs.fields(struct):
        if field.default is not msgspec.NODEFAULT:
            assert field.default in (None, False, 0, ()), field.name
            assert field.default != "", field.name
            if field.type is bool or field.type is int:
                assert type(field.default) is field.type, field.name
        elif field.default_factory is not msgspec.NODEFAULT:
            assert not field.default_factory(), field.name


@pytest.mark.parametrize("kind", [each for module in MODULES for each in of(module, Enum)])
def test_each_word_is_its_name_in_lower_case(kind: type[Enum]) -> None:
    assert [member.value for member in kind] == [member.name.lower() for member in kind]


def test_so_many_recent_rings_are_told() -> None:
    assert sender_status.RECENT == 32
