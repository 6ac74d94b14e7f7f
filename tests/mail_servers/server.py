"""A mail server under test: what all of them can do, whatever their names for it are."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

from harness.daemon import until
from harness.machine import HOOK, Machine
from harness.netns import Namespace
from harness.sending import HOOK as HOOK_HERE
from harness.sending import Sender, sender_configuration, sending
from mail_servers import mail

from mailbell.recipes import CommandStep, Facts, FileStep, load

__all__ = ["FILES", "MailServer"]

DOMAIN: Final = "test.example"
FILES: Final = "/usr/share/mailbell/servers"
_PACKAGE_FILES: Final = Path(__file__).parents[2] / "servers"


class MailServer:
    """One mail server on its machine.

    A subclass says how it is configured and started. Each user whom a test needs is made by
    `users`. All mail comes from the user berta, who would get each report of a failure.

    Args:
        machine: its machine, with the packages.
        laptop: the host that mail comes from.
    """

    name: ClassVar[str]
    recipe: ClassVar[str]
    packages: ClassVar[Sequence[str]]
    programs: ClassVar[Sequence[str]]
    address: ClassVar[tuple[str, int]] = ("192.0.2.1", 25)
    lmtp: ClassVar[bool] = False
    group: ClassVar[str] = ""
    """The group of the sender's sockets; "": the sender's own."""

    def __init__(self, machine: Machine, laptop: Namespace) -> None:
        self.machine = machine
        self.laptop = laptop
        # The hook and the files of the package are installed.
        machine.install(Path(HOOK_HERE[0]), HOOK)
        for file in _PACKAGE_FILES.iterdir():
            machine.install(file, f"{FILES}/{file.name}", file.stat().st_mode & 0o777)

    # --- what a subclass says ----------------------------------------------------

    def configure(self) -> None:
        """Write the server's configuration, without mailbell."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it takes mail."""
        raise NotImplementedError

    def reload(self) -> None:
        """Let it read its configuration again."""

    def version(self) -> str:
        """Return the version of the program that runs."""
        raise NotImplementedError

    def flush(self) -> None:
        """Let it try all mail again that it could not deliver."""

    def waiting(self) -> int:
        """Return how many messages it still has to deliver."""
        raise NotImplementedError

    def arrived(self, user: str) -> list[tuple[str, float]]:
        """Return the subjects in a user's mailbox, and when each became visible."""
        return mail.arrivals(self.machine.path(f"/home/{user}/Maildir"))

    # --- what all have -----------------------------------------------------------

    def users(self, *names: str) -> None:
        """Make users who get mail."""
        for name in names:
            self.machine.user(name)

    def facts(self, user: str) -> Facts:
        """Return what the recipes need to know of the machine."""
        return Facts(
            hook=HOOK,
            socket="/run/mailbell-sender/hook",
            cyrus="/run/mailbell-sender/cyrus",
            files=FILES,
            user=user,
            home=f"/home/{user}",
        )

    def apply(self, way: str, *users: str, recipe: str = "") -> None:
        """Do what a recipe says, for each user. What is in force already is left alone."""
        for step, user in self._steps(recipe or self.recipe, way, users).items():
            if isinstance(step, FileStep):
                self._put(step, user)
            else:
                self._run(step)

    def withdraw(self, way: str, *users: str, recipe: str = "") -> None:
        """Undo what a recipe says, for each user, as its page tells it."""
        for step in reversed(self._steps(recipe or self.recipe, way, users)):
            if step.undo:
                self.change(*step.undo)
            if isinstance(step, FileStep):
                self._take(step)

    @contextmanager
    def using(self, way: str, *users: str) -> Iterator[None]:
        """Do what a recipe says for the block, and undo it afterwards."""
        self.apply(way, *users)
        try:
            yield
        finally:
            self.withdraw(way, *users)

    def _steps(
        self, recipe: str, way: str, users: Sequence[str]
    ) -> dict[FileStep | CommandStep, str]:
        """Return each step once, and one of the users that it is for."""
        steps: dict[FileStep | CommandStep, str] = {}
        for user in users:
            for step in load(recipe).way(way).steps(self.facts(user)):
                steps.setdefault(step, user)
        return steps

    def _take(self, step: FileStep) -> None:
        path = self.machine.path(step.path)
        if not path.exists():
            return
        gone = {line.strip() for line in step.lines}
        left = [line for line in path.read_text().splitlines() if line.strip() not in gone]
        if left:
            path.write_text("".join(f"{line}\n" for line in left))
        else:
            path.unlink()

    def _put(self, step: FileStep, user: str) -> None:
        path = self.machine.path(step.path)
        before = path.read_text() if path.exists() else ""
        after = step.applied(before)
        if after == before:
            return
        mode = step.mode
        if mode is None:
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        at_home = step.path.startswith(f"/home/{user}/")
        owner = step.owner or (user if at_home else "root")
        self.machine.write(step.path, after, mode=mode, owner=owner)

    def _run(self, step: CommandStep) -> None:
        if step.shows and step.seen_in(self.machine.run(*step.shows, check=False)):
            return
        self.change(*step.command)

    def change(self, *command: str) -> None:
        """Run a command that changes the server's configuration."""
        self.machine.run(*command)

    def deliver(
        self, subject: str, *users: str, body: str = "Hello.", header: Sequence[str] = ()
    ) -> None:
        """Send one mail to users, from another host."""
        recipients = [user if "@" in user else f"{user}@{DOMAIN}" for user in users]
        text = mail.message(subject, to=recipients[0], body=body, header=header)
        mail.send(self.laptop, self.address, text, *recipients, lmtp=self.lmtp)

    def subjects(self, user: str) -> list[str]:
        """Return the subjects in a user's mailbox."""
        return [subject for subject, _ in self.arrived(user)]

    def until_arrived(self, subject: str, user: str) -> float:
        """Wait until a mail is in a mailbox; return since when, in seconds since 1970."""
        until(lambda: subject in self.subjects(user), f"{subject} for {user}")
        return dict(self.arrived(user))[subject]

    def until_settled(self) -> None:
        """Wait until the server has nothing left to deliver, and let it try at once."""

        def settled() -> bool:
            if not self.waiting():
                return True
            self.flush()
            return False

        until(settled, "the end of the server's queue")

    @contextmanager
    def sending(
        self,
        *accounts: str,
        targets: Sequence[str] = ("192.0.2.2",),
        trusted: Sequence[str] = (),
        listen: str = "",
        more: str = "",
    ) -> Iterator[Sender]:
        """Run a mailbell-sender beside the server until the end of the block.

        Args:
            accounts: which are rung.
            targets: where.
            trusted: the users of `listen.trusted`.
            listen: further keys of [listen].
            more: further tables.
        """
        tables = "".join(
            f'[[account]]\nname = "{account}"\ntargets = {list(targets)}\n' for account in accounts
        )
        toml = sender_configuration(
            self.machine.shared,
            f'[send]\ninterval = "10ms"\nbackoff = "1s..2s"\n{more}\n{tables}',
            listen=f"trusted = {list(trusted)}\n{listen}",
            group=self.group,
        )
        # It knows nothing of a sender before it: one that was killed has left something to ring.
        shutil.rmtree(self.machine.shared / "state", ignore_errors=True)
        with sending(self.machine.shared, toml, command=self.machine.beside) as sender:
            yield sender

    def listens(self, port: int) -> bool:
        """Return whether something takes TCP connections on the server's machine."""
        done = subprocess.run(
            [*self.machine.enter[:-2], "ss", "-Hltn", f"sport = :{port}"],
            check=False, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        return bool(done.stdout.strip())
