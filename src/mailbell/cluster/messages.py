"""What the sender and its companion for the cluster say to each other. Pure.

A message is a datagram. An intruder may be in the companion: it reads what an engine on the
network answers. So each message is bounded, has a type, and is checked here before any other code
of the sender sees it. The sender checks the address of each target again, as it does for every
login.
"""

from typing import Annotated, Final

import msgspec

from mailbell.core.mailbox import MAX_MAILBOX
from mailbell.core.networks import Address
from mailbell.core.notification import Transport
from mailbell.core.target import Target

__all__ = [
    "MAX_MESSAGE", "MOST_LOGINS", "MOST_NODES", "MOST_NUMBERS", "MOST_SWEPT", "MOST_TARGETS",
    "Answered", "Call", "CaughtUp", "Forgot", "FromCompanion", "FromSender", "Leave", "Left",
    "Login", "Lost", "Nobody", "NodeState", "Place", "Retire", "Retired", "Ring", "State",
    "Sweep", "Swept", "Welcome", "decode_from_companion", "decode_from_sender", "encode",
    "is_account", "read_target", "write_target",
]  # fmt: skip

MAX_MESSAGE: Final = 16 * 1024
"""Bytes of a message. A ring has an account and 16 targets at most."""
MOST_TARGETS: Final = 16
"""Targets of an account: as many as the configuration may have."""
MOST_LOGINS: Final = 16
"""Addresses of an account: as many as the configuration may have."""
MOST_NUMBERS: Final = 512
"""Messages that are answered in one."""
MOST_NODES: Final = 64
"""Nodes that a state names."""
MOST_SWEPT: Final = 32
"""Accounts in one message of a sweep."""

_MAX_TARGET: Final = 253 + 16  # a name, a port and a transport

_Account = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_MAILBOX)]
_Address = Annotated[str, msgspec.Meta(min_length=2, max_length=45)]
_Port = Annotated[int, msgspec.Meta(ge=1, le=0xFFFF)]
_Text = Annotated[str, msgspec.Meta(min_length=3, max_length=_MAX_TARGET)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=7 * 86_400)]
_Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
_Words = Annotated[str, msgspec.Meta(max_length=500)]


class Place(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One `last-used` of an account: where the addresses of its logins are rung.

    Attributes:
        port: the port there.
        transport: TCP or UDP.
    """

    port: _Port
    transport: Transport


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True, forbid_unknown_fields=True):
    pass


class Ring(_Message, frozen=True):
    """From the sender: an account has new mail.

    Attributes:
        number: of this message; `Answered` and `Lost` name it.
        account: who has new mail.
        targets: the configured ones.
        places: where its logins are rung.
        rung: addresses that the sender has rung alone.
    """

    number: _Number
    account: _Account
    targets: Annotated[tuple[_Text, ...], msgspec.Meta(max_length=MOST_TARGETS)] = ()
    places: Annotated[tuple[Place, ...], msgspec.Meta(max_length=MOST_TARGETS)] = ()
    rung: Annotated[tuple[_Address, ...], msgspec.Meta(max_length=MOST_LOGINS)] = ()


class Login(_Message, frozen=True):
    """From the sender: an account was used from an address.

    Attributes:
        number: of this message.
        account: who logged in.
        address: from where.
        age: seconds since then.
        is_late: whether the engine was to know it long ago. If it does not, there may have been
            mail meanwhile, so the address is rung.
        targets: the configured ones at that address.
        places: where its logins are rung.
    """

    number: _Number
    account: _Account
    address: _Address
    age: _Seconds = 0.0
    is_late: bool = False
    targets: Annotated[tuple[_Text, ...], msgspec.Meta(max_length=MOST_TARGETS)] = ()
    places: Annotated[tuple[Place, ...], msgspec.Meta(max_length=MOST_TARGETS)] = ()


class Retire(_Message, frozen=True):
    """From the sender: it ends. What follows goes to other nodes, if there are any."""


class CaughtUp(_Message, frozen=True):
    """From the sender: the engine has learnt again what it had not got or may have lost."""


class Leave(_Message, frozen=True):
    """From the sender: it has said everything, and the engine has it."""


class Swept(_Message, frozen=True):
    """From the sender: the accounts of a `Sweep` are rung, so the next ones may follow.

    Attributes:
        number: of the `Sweep`.
    """

    number: _Number = 0


class Answered(_Message, frozen=True):
    """From the companion: the engine has these messages.

    Attributes:
        numbers: of the messages.
    """

    numbers: Annotated[tuple[_Number, ...], msgspec.Meta(max_length=MOST_NUMBERS)]


class Lost(_Message, frozen=True):
    """From the companion: the engine may not have these messages.

    Attributes:
        numbers: of the messages.
    """

    numbers: Annotated[tuple[_Number, ...], msgspec.Meta(max_length=MOST_NUMBERS)]


class Call(_Message, frozen=True):
    """From the companion: this node is to ring a target.

    Attributes:
        account: who has new mail.
        target: the target.
        left: seconds for which the address is still the account's; None: it is configured.
    """

    account: _Account
    target: _Text
    left: _Seconds | None = None


class Nobody(_Message, frozen=True):
    """From the companion: an account has no configured target, and no login that counts.

    Attributes:
        account: who has new mail.
    """

    account: _Account


class Welcome(_Message, frozen=True):
    """From the companion: a login came from a target of this node, which ends its back-off.

    Attributes:
        target: the target.
    """

    target: _Text


class Sweep(_Message, frozen=True):
    """From the companion: a notification may be lost, so the logins of each account are rung once.

    The next message of this kind comes when the sender has answered with `Swept`.

    Attributes:
        accounts: some of those that have a login.
        is_last: whether these are the last; the configured targets are rung then too.
        number: of this message.
    """

    accounts: Annotated[tuple[_Account, ...], msgspec.Meta(max_length=MOST_SWEPT)] = ()
    is_last: bool = False
    number: _Number = 0


class Forgot(_Message, frozen=True):
    """From the companion: the engine may have lost what was said to it lately.

    Attributes:
        since: seconds; what was said in them is to be said again. None: everything.
    """

    since: _Seconds | None = None


class Retired(_Message, frozen=True):
    """From the companion: no call follows any more."""


class Left(_Message, frozen=True):
    """From the companion: this node is no longer one of the cluster."""


class NodeState(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One node, as it said itself.

    Attributes:
        name: its name.
        lives: whether it gave a sign of life in time.
        taken: rings that it has taken from its inbox since it started.
        pending: entries that wait in its inbox.
        lag: seconds that its latest entry had waited.
    """

    name: _Words
    lives: bool
    taken: _Number
    pending: _Number
    lag: Annotated[float, msgspec.Meta(ge=0)]


class State(_Message, frozen=True):
    """From the companion, once a second: what the cluster looks like.

    Attributes:
        problem: why the engine cannot be used; None: it can.
        nodes: those that have not left, this one among them.
        is_sweeping: whether every account is being rung, which a node does not leave unfinished.
        is_swept: whether every account is rung because the last run of this node did not end in
            order, so that the sender need not do it.
    """

    problem: _Words | None
    nodes: Annotated[tuple[NodeState, ...], msgspec.Meta(max_length=MOST_NODES)] = ()
    is_swept: bool = False
    is_sweeping: bool = False


FromSender = Ring | Login | Swept | CaughtUp | Retire | Leave
"""What the companion gets."""

FromCompanion = Answered | Lost | Call | Nobody | Welcome | Sweep | Forgot | Retired | Left | State
"""What the sender gets."""

_encode: Final = msgspec.msgpack.Encoder().encode
_from_sender: Final[msgspec.msgpack.Decoder[FromSender]] = msgspec.msgpack.Decoder(FromSender)
_from_companion: Final[msgspec.msgpack.Decoder[FromCompanion]] = msgspec.msgpack.Decoder(
    FromCompanion
)


def encode(message: FromSender | FromCompanion) -> bytes:
    """Write a message.

    Args:
        message: any of them.
    """
    return _encode(message)


def decode_from_sender(data: bytes) -> FromSender | None:
    """Read a message of the sender; None: it is none.

    Args:
        data: `MAX_MESSAGE` bytes at most.
    """
    try:
        return _from_sender.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def decode_from_companion(data: bytes) -> FromCompanion | None:
    """Read a message of the companion, in which an intruder may be; None: it is none.

    Args:
        data: `MAX_MESSAGE` bytes at most.
    """
    try:
        return _from_companion.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def is_account(name: str) -> bool:
    """Tell whether a text has the length of an account's name.

    Args:
        name: any text.
    """
    return 1 <= len(name) <= MAX_MAILBOX


def write_target(target: Target) -> str:
    """Return the one text of a target, by which its node is chosen too.

    Args:
        target: of an address or a name.
    """
    kind = "address" if isinstance(target.host, Address) else "name"
    return f"{kind} {target.host} {target.port} {target.transport}"


def read_target(text: str) -> Target | None:
    """Read what `write_target` wrote; None: another node, or an intruder, wrote something else.

    Args:
        text: the text.
    """
    words = text.split(" ")
    if len(words) != 4 or words[0] not in {"address", "name"}:
        return None
    kind, host, port, transport = words
    try:
        found = Target(
            Address.parse(host) if kind == "address" else host, int(port), Transport(transport)
        )
    except ValueError:
        return None
    # Whatever else `int` and `Address.parse` take is not what `write_target` writes.
    return found if write_target(found) == text and 0 < found.port <= 0xFFFF else None
