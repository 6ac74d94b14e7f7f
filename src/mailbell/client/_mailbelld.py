"""What the client knows of mailbelld."""

from collections.abc import Collection

from mailbell.calling.daemon import Daemon
from mailbell.calling.explain import quote
from mailbell.core.errors import MailbellError, TemporaryError, UsageError
from mailbell.interfaces.listener import LISTENER, LISTENER_INTERFACE
from mailbell.interfaces.reply import check_reply
from mailbell.varlink import ServiceError

__all__ = ["MAILBELLD", "UnknownAccountError"]


class UnknownAccountError(UsageError):
    """The daemon does not have an account.

    Args:
        account: what the daemon sent as the name of the account.
    """

    def __init__(self, account: object) -> None:
        super().__init__(
            f"the daemon has no account {quote(account)}", "`mailbell status` lists the accounts"
        )
        self.account = account


def _explain(error: ServiceError, accepted: Collection[str] | None) -> MailbellError | None:
    interface, _, name = error.name.rpartition(".")
    if interface != LISTENER:
        return None
    given = error.parameters
    # Of a call that a daemon has accepted before, only its accounts may have become wrong.
    if name == "UnknownAccount" and (accepted is None or given.get("account") in accepted):
        return UnknownAccountError(given.get("account"))
    if name == "TooManySubscribers":
        what = f"the daemon accepts no more than {quote(given.get('limit'))} subscribers"
        return TemporaryError(what, "raise `socket.subscribers`, or try again")
    if name == "TooFast":
        what = "the daemon refuses more calls of this user for now"
        return TemporaryError(what, "try again later, and call less often")
    return None


MAILBELLD = Daemon(
    name="mailbelld",
    called="daemon",
    user="mailbell",
    user_variable="MAILBELL_DAEMON_USER",
    socket_variable="MAILBELL_SOCKET",
    system_path="/run/mailbell/mailbell.sock",
    socket_unit="mailbelld-local.socket",
    interface=LISTENER_INTERFACE,
    too_long="name fewer accounts, or none for all accounts",
    explain=_explain,
    check=check_reply,
)
