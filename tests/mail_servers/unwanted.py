"""What is shown for each way to filter mail: ham rings once, spam and viruses never."""

from collections.abc import Sequence

from harness.daemon import until
from mail_servers import mail
from mail_servers.filters import SPAM, VIRUS, versions
from mail_servers.laptop import Laptop
from mail_servers.results import record
from mail_servers.scenario import subject
from mail_servers.server import MailServer

__all__ = ["rings_for_ham_alone"]


def rings_for_ham_alone(
    server: MailServer,
    laptop: Laptop,
    user: str,
    *,
    junk: bool,
    quiet: int = 0,
    trusted: Sequence[str] = (),
    way: str = "",
) -> None:
    """Spam and a virus are delivered and ring nobody; ham that comes after them rings once.

    Args:
        server: with its filters.
        laptop: the user's machine.
        user: who gets the mail.
        junk: whether unwanted mail goes to the folder Junk; otherwise to the inbox.
        quiet: how many notifications the sender gets for that folder.
        trusted: the users of `listen.trusted`.
        way: of the recipe `spam`, which the table is to name; empty: none.
    """
    spam, virus, ham = subject("spam"), subject("virus"), subject("ham")
    folder = server.machine.path(f"/home/{user}/Maildir/{'.Junk' if junk else ''}")

    def filed() -> bool:
        return {spam, virus} <= {name for name, _ in mail.arrivals(folder)}

    laptop.forget()
    before = laptop.count()
    with server.sending(user, trusted=trusted) as sender:
        server.deliver(spam, user, body=SPAM)
        server.deliver(virus, user, body=VIRUS)
        until(filed, "the unwanted mail in its folder")
        server.until_settled()
        inputs = sender.status().inputs
        assert (inputs["accepted"], inputs["quiet_folder"]) == (0, quiet)
        server.deliver(ham, user)
        laptop.rung()
        server.until_arrived(ham, user)
        server.until_settled()
        assert sender.status().inputs["accepted"] == 1
        assert laptop.count() == before + 1
    assert (spam in server.subjects(user)) is not junk
    if way:
        version = f"{server.version()}, {versions(server.machine)}"
        record("spam", version, way, rang="ham once, spam and viruses never")
