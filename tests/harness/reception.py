"""A reception with all its real parts except the bell and the clock."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from mailbell.core.networks import Address
from mailbell.core.sender_outcome import InputOutcome
from mailbell.logs.journal import Journal
from mailbell.sender._accounts import Account, Accounts
from mailbell.sender._counters import Counters
from mailbell.sender._reception import Reception
from mailbell.sender._requests import Malformed, Request
from mailbell.sender._speakers import Origin, Speaker, Speakers
from mailbell.sender.configuration import parse

TOML = """
[[account]]
name = "anna@example.org"
aliases = ["anna"]
[[account]]
name = "bob"
[[account]]
name = "gone"
enabled = false
"""
ROOT, ANNA, BOB, STRANGER = 0, 1000, 1001, 4242
USERS = {ROOT: "root", ANNA: "anna", BOB: "bob"}


@dataclass
class FakeBell:
    """Notes what it gets. Addresses of 127.0.0.0/8 are refused."""

    rung: list[str] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def ring(self, account: Account, now: float) -> None:
        self.rung.append(account.name)
        self.times.append(now)

    def would_learn(self, account: Account, address: Address) -> bool:
        login = (account.name, str(address))
        return not login[1].startswith("127.") and login not in self.logins

    def seen(self, account: Account, address: Address, now: float) -> bool:
        if str(address).startswith("127."):
            return False
        self.times.append(now)
        self.logins.append((account.name, str(address)))
        return True


class Front:
    """A reception and what came of it."""

    def __init__(
        self,
        toml: str = TOML,
        trusted: Collection[int] = (ROOT,),
        users: Mapping[int, str] = USERS,
        *,
        prefixed: bool = False,
    ) -> None:
        configuration = parse(toml.encode())
        accounts = Accounts(configuration)
        self.bell = FakeBell()
        self.counters = Counters()
        self.lines: list[str] = []
        self.journal = Journal(self.lines.append, lambda: 0.0, prefixed=prefixed)
        self.reception = Reception(
            accounts,
            Speakers(accounts, users, trusted),
            self.bell,
            configuration.quiet.folders,
            self.counters,
            self.journal,
        )

    def take(
        self,
        request: Request | Malformed,
        uid: int | None = ROOT,
        origin: Origin = Origin.HOOK,
        now: float = 0.0,
    ) -> InputOutcome:
        return self.reception.take(request, Speaker(uid, origin), now)

    def counted(self) -> dict[InputOutcome, int]:
        """Return the outcomes that are not zero."""
        return {outcome: count for outcome, count in self.counters.inputs.items() if count}

    def is_done(self, inputs: int) -> bool:
        """Tell whether so many inputs have an outcome."""
        return sum(self.counters.inputs.values()) == inputs
