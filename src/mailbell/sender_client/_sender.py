"""What the client knows of mailbell-sender."""

from collections.abc import Collection

from mailbell.calling.daemon import Daemon
from mailbell.calling.explain import quote
from mailbell.core.errors import MailbellError, PrivilegeError, TemporaryError, UsageError
from mailbell.core.sender_outcome import InputOutcome
from mailbell.interfaces.sender import SENDER, SENDER_INTERFACE
from mailbell.interfaces.sender_reply import check_sender_reply
from mailbell.varlink import ServiceError

__all__ = ["SENDER_DAEMON"]


def _explain(error: ServiceError, _: Collection[str] | None) -> MailbellError | None:
    interface, _dot, name = error.name.rpartition(".")
    if interface != SENDER:
        return None
    given = error.parameters
    if name == "UnknownAccount":
        what = f"the sender has no account {quote(given.get('account'))}"
        return UsageError(
            what, "list it in sender.toml, or give `[default]` targets, and restart the sender"
        )
    if name == "NotAccepted":
        return _not_accepted(given.get("outcome"))
    if name == "TooManyWatchers":
        what = f"the sender accepts no more than {quote(given.get('limit'))} watchers"
        return TemporaryError(what, "end another one, or try again")
    if name == "TooFast":
        what = "the sender refuses more calls of this user for now"
        return TemporaryError(what, "try again later, and call less often")
    return None


def _not_accepted(outcome: object) -> MailbellError | None:
    match outcome:
        case InputOutcome.DISABLED:
            return UsageError("the account is switched off", "set its `enabled` to true")
        case InputOutcome.REFUSED_ADDRESS:
            what = "the sender never calls this address"
            return UsageError(what, "permit it with `last_used.allow`, and look at `deny`")
        case InputOutcome.MALFORMED:
            return UsageError("this is no name of an account, or no numeric address")
        case InputOutcome.NOT_PERMITTED:
            what = "you may not speak for this account"
            return PrivilegeError(what, "add your user to `listen.trusted`")
        case InputOutcome.RATE_LIMITED:
            what = "the sender takes no more from this user for now"
            return TemporaryError(what, "try again later")
    return None


SENDER_DAEMON = Daemon(
    name="mailbell-sender",
    called="sender",
    user="mailbell-sender",
    user_variable="MAILBELL_SENDER_USER",
    socket_variable="MAILBELL_SENDER_SOCKET",
    system_path="/run/mailbell-sender/control",
    socket_unit="mailbell-sender-control.socket",
    interface=SENDER_INTERFACE,
    too_long="an account has at most 254 characters",
    explain=_explain,
    check=check_sender_reply,
)
