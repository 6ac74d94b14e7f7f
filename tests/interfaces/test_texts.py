"""The parser of another project reads the texts, and they are compared with our types."""

import importlib
import subprocess
import sys
from typing import Any

import msgspec
import pytest

import mailbell
from mailbell.core.notification import Cursor, Notification
from mailbell.core.sender_outcome import InputOutcome
from mailbell.interfaces import listener, sender, sender_status
from mailbell.interfaces.listener import (
    LISTENER,
    LISTENER_INTERFACE,
    LISTENER_SERVICE,
    Account,
    Limited,
    Outcomes,
    Sandbox,
    Status,
    Subscribe,
    Table,
)
from mailbell.interfaces.sender import SENDER, SENDER_INTERFACE, SENDER_SERVICE
from mailbell.varlink import (
    SERVICE,
    SERVICE_INTERFACE,
    GetInfo,
    GetInfoReply,
    GetInterfaceDescription,
    GetInterfaceDescriptionReply,
    Interface,
    Service,
    ServiceError,
    _errors,
    service,
)

# Imported by name, because for the type checker `varlink` is this folder.
varlink: Any = importlib.import_module("varlink")
scanner: Any = importlib.import_module("varlink.scanner")
SERVICE_PARSED = varlink.Interface(SERVICE_INTERFACE.text)
LISTENER_PARSED = varlink.Interface(LISTENER_INTERFACE.text)
SENDER_PARSED = varlink.Interface(SENDER_INTERFACE.text)
BASIC = {str: "string", int: "int", bool: "bool", float: "float"}
BASIC_INSPECTED: dict[type, str] = {
    msgspec.inspect.StrType: "string",
    msgspec.inspect.IntType: "int",
    msgspec.inspect.BoolType: "bool",
    msgspec.inspect.FloatType: "float",
}


def written(kind: Any) -> object:
    """Return a type of the text, in simple words."""
    match kind:
        case scanner._Maybe():
            return ("maybe", written(kind.element_type))
        case scanner._Array():
            return ("array", written(kind.element_type))
        case scanner._Dict():
            return ("dict", written(kind.element_type))
        case scanner._CustomType():
            return ("type", kind.name)
        case scanner._Enum():
            return ("enum", tuple(sorted(kind.fields)))
    return BASIC[type(kind)]


def typed(kind: msgspec.inspect.Type) -> object:
    """Return a type of ours, in the same words."""
    match kind:
        case msgspec.inspect.UnionType(types=kinds):
            (one,) = [k for k in kinds if not isinstance(k, msgspec.inspect.NoneType)]
            return ("maybe", typed(one))
        case msgspec.inspect.VarTupleType(item_type=item):
            return ("array", typed(item))
        case msgspec.inspect.DictType(value_type=value):
            return ("dict", typed(value))
        case msgspec.inspect.StructType(cls=cls) | msgspec.inspect.DataclassType(cls=cls):
            return ("type", cls.__name__)
        case msgspec.inspect.EnumType(cls=cls):
            return ("enum", tuple(sorted(member.value for member in cls)))
    return BASIC_INSPECTED[type(kind)]


def fields_written(struct: Any) -> dict[str, object]:
    return {name: written(kind) for name, kind in struct.fields.items()}


def fields_typed(cls: type) -> dict[str, object]:
    info = msgspec.inspect.type_info(cls)
    assert isinstance(info, msgspec.inspect.StructType | msgspec.inspect.DataclassType)
    found = {field.name: typed(field.type) for field in info.fields}
    if cls is Subscribe:  # no names and null are one and the same
        found["accounts"] = ("maybe", found["accounts"])
    return found


LISTENER_TYPES = [Cursor, Notification, Outcomes, Table, Limited, Account, Sandbox, Status]
SENDER_TYPES = [
    sender.Step,
    sender.RingResult,
    sender_status.Account,
    sender_status.TargetState,
    sender_status.Latency,
    sender_status.Book,
    sender_status.Store,
    sender_status.ClusterNode,
    sender_status.Cluster,
    Sandbox,
    sender_status.Status,
]


@pytest.mark.parametrize(
    ("parsed", "cls"),
    [(LISTENER_PARSED, cls) for cls in LISTENER_TYPES]
    + [(SENDER_PARSED, cls) for cls in SENDER_TYPES],
)
def test_types_match_the_text(parsed: Any, cls: type) -> None:
    declared = parsed.members[cls.__name__]
    assert isinstance(declared, scanner._Alias)
    assert fields_written(declared.type) == fields_typed(cls)


@pytest.mark.parametrize(
    ("parsed", "types", "method"),
    [
        (SERVICE_PARSED, service, "GetInfo"),
        (SERVICE_PARSED, service, "GetInterfaceDescription"),
        (LISTENER_PARSED, listener, "Subscribe"),
        (LISTENER_PARSED, listener, "Notify"),
        (LISTENER_PARSED, listener, "GetStatus"),
        (SENDER_PARSED, sender, "Ring"),
        (SENDER_PARSED, sender, "Seen"),
        (SENDER_PARSED, sender, "Explain"),
        (SENDER_PARSED, sender, "GetStatus"),
        (SENDER_PARSED, sender, "Watch"),
    ],
)
def test_methods_match_the_text(parsed: Any, types: Any, method: str) -> None:
    declared = parsed.get_method(method)
    assert fields_written(declared.in_type) == fields_typed(getattr(types, method))
    assert fields_written(declared.out_type) == fields_typed(getattr(types, f"{method}Reply"))


@pytest.mark.parametrize(
    ("parsed", "interface"),
    [
        (SERVICE_PARSED, SERVICE_INTERFACE),
        (LISTENER_PARSED, LISTENER_INTERFACE),
        (SENDER_PARSED, SENDER_INTERFACE),
    ],
)
def test_every_method_of_the_text_is_served_and_no_other(parsed: Any, interface: Any) -> None:
    declared = {
        name for name, member in parsed.members.items() if isinstance(member, scanner._Method)
    }
    assert set(interface.methods) == declared
    assert parsed.name == interface.name


def type_of(value: object) -> object:
    """Return the type of an error's parameter, in the words of the text."""
    return typed(msgspec.inspect.type_info(type(value)))


def test_errors_match_the_text() -> None:
    made = [
        _errors.interface_not_found("a"),
        _errors.method_not_found("a"),
        _errors.method_not_implemented("a"),
        _errors.invalid_parameter("a"),
        ServiceError("org.varlink.service.PermissionDenied"),  # declared, and not needed here
        _errors.expected_more(),
        listener.unknown_account("a"),
        listener.too_many_subscribers(1),
        listener.too_fast(),
        sender.unknown_account("a"),
        sender.not_accepted(InputOutcome.DISABLED),
        sender.too_many_watchers(1),
        sender.too_fast(),
    ]
    ours = {
        error.name: {name: type_of(value) for name, value in error.parameters.items()}
        for error in made
    }
    assert ours == {
        f"{interface.name}.{name}": fields_written(member.type)
        for interface in (SERVICE_PARSED, LISTENER_PARSED, SENDER_PARSED)
        for name, member in interface.members.items()
        if isinstance(member, scanner._Error)
    }


@pytest.mark.parametrize(
    ("parsed", "counts"),
    [(LISTENER_PARSED, (len(LISTENER_TYPES), 3, 3)), (SENDER_PARSED, (len(SENDER_TYPES), 5, 4))],
)
def test_nothing_else_is_declared(parsed: Any, counts: tuple[int, int, int]) -> None:
    kinds = [type(member).__name__ for member in parsed.members.values()]
    assert (kinds.count("_Alias"), kinds.count("_Method"), kinds.count("_Error")) == counts


@pytest.mark.parametrize("parsed", [SERVICE_PARSED, LISTENER_PARSED, SENDER_PARSED])
def test_every_member_is_explained(parsed: Any) -> None:
    text = parsed.get_description()
    for name, member in parsed.members.items():
        keyword = {"_Alias": "type", "_Method": "method", "_Error": "error"}[type(member).__name__]
        before = text.partition(f"\n{keyword} {name} ")[0] or text
        before = before if before != text else text.partition(f"\n{keyword} {name}(")[0]
        assert before.rpartition("\n")[2].startswith("# ")


def test_the_texts_are_plain() -> None:
    for text in (SERVICE_INTERFACE.text, LISTENER_INTERFACE.text, SENDER_INTERFACE.text):
        assert text.isascii()
        assert text.endswith("\n")
        # The parser of earlier systemd releases accepts a comment only between members.
        assert all("#" not in line[1:] for line in text.splitlines())


SERVICES = [
    (LISTENER_SERVICE, LISTENER, "mailbelld", LISTENER_INTERFACE),
    (SENDER_SERVICE, SENDER, "mailbell-sender", SENDER_INTERFACE),
]


@pytest.mark.parametrize(("served", "name", "product", "interface"), SERVICES)
def test_information(served: Service, name: str, product: str, interface: Interface) -> None:
    information = served.answer(GetInfo())
    assert isinstance(information, GetInfoReply)
    assert information.interfaces == (SERVICE, name)
    assert (information.product, information.version) == (product, mailbell.__version__)
    assert interface.name == name


@pytest.mark.parametrize(("served", "name", "product", "interface"), SERVICES)
def test_description(served: Service, name: str, product: str, interface: Interface) -> None:
    for one in (SERVICE_INTERFACE, interface):
        answer = served.answer(GetInterfaceDescription(one.name))
        assert answer == GetInterfaceDescriptionReply(one.text)
    with pytest.raises(ServiceError) as caught:
        served.answer(GetInterfaceDescription("org.example"))
    assert caught.value.name == "org.varlink.service.InterfaceNotFound"
    assert caught.value.parameters == {"interface": "org.example"}


@pytest.mark.parametrize("module", ["mailbell.varlink", "mailbell.client"])
def test_imports_no_trio(module: str) -> None:
    program = f"import sys, {module}; sys.exit('trio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
