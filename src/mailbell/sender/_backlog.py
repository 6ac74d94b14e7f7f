"""What the other nodes of a cluster have yet to learn from this one. Pure, in bounded memory.

While the engine is away this node rings alone. When it is back, it learns the logins that were
noted meanwhile and then the accounts that were rung. It learns again what it may have lost.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from math import inf
from typing import Final, NamedTuple

from mailbell.cluster.outbox import Outbox
from mailbell.cluster.repeats import Said
from mailbell.core.networks import Address

__all__ = ["MOST", "UNSURE", "Backlog", "Late"]

MOST: Final = 65_536
"""Logins at most that the engine has yet to learn."""
UNSURE: Final = 60.0
"""Seconds: what was said within them may be lost when an engine ends or another takes over."""


class Late(NamedTuple):
    """A login that the engine has yet to learn.

    Attributes:
        account: who logged in.
        address: from where.
        seen: when, on the steady clock.
    """

    account: str
    address: Address
    seen: float


class Backlog:
    """Logins and accounts, each once.

    Args:
        known: yields all logins that this node knows.
        most: logins at most.
        began: when this node began to look for the engine, monotonic time in seconds.
        is_late: whether the last run of this node did not end in order, so that rings may have
            missed what is known here.

    Attributes:
        outbox: the accounts that this node has rung alone.
        dropped: how many logins found no place.
    """

    def __init__(
        self,
        known: Callable[[], Iterator[Late]],
        most: int = MOST,
        *,
        began: float = 0.0,
        is_late: bool = False,
    ) -> None:
        self._known = known
        self._most = most
        self._logins: OrderedDict[tuple[str, Address], float] = OrderedDict()
        # The engine may know nothing of the logins that this node has from its last run.
        self._everything = known()
        self._is_late = is_late
        self._is_behind = True
        self._is_held = False
        self._told = self._away = began
        self._said: Said[Late] = Said(UNSURE)
        self.outbox = Outbox()
        self.dropped = 0

    @property
    def logins(self) -> int:
        """How many logins wait, besides those that are learnt again from all that are known."""
        return len(self._logins)

    def keep(self, login: Late) -> None:
        """Note a login that the engine may not have.

        Args:
            login: of this account from this address. The newest one is kept.
        """
        key = (login.account, login.address)
        if key not in self._logins and len(self._logins) >= self._most:
            self.dropped += 1
            self._begin_again()  # with what this node keeps for itself, too
        else:
            # What is said again may be older than what came meanwhile.
            self._logins[key] = max(login.seen, self._logins.get(key, -inf))

    def note_said(self, login: Late, now: float) -> None:
        """Note that a login was said to the engine.

        Args:
            login: the login.
            now: monotonic time in seconds.
        """
        about = f"{login.account} {login.address}"
        before = self._said.get(about)
        newest = login if before is None or before.seen < login.seen else before
        self._said.note(about, newest, now)

    def hold(self, now: float) -> None:
        """Keep what was said lately as long as the engine is away.

        Args:
            now: monotonic time in seconds.
        """
        self._said.hold(now)
        self._is_held = True
        if not self._is_behind:  # else rings may have missed logins for longer
            self._away = now

    def is_late(self, now: float) -> bool:
        """Tell whether the engine was away for longer than other nodes say things again.

        Args:
            now: monotonic time in seconds.
        """
        return self._is_behind and (self._is_late or now - self._away > UNSURE)

    def release(self, now: float) -> None:
        """Forget what was said when it is old enough, as before `hold`.

        Args:
            now: monotonic time in seconds.
        """
        self._is_held = False
        self._said.release(now)

    def say_again(self, now: float) -> None:
        """Have the engine learn once more what was said lately.

        Args:
            now: monotonic time in seconds.
        """
        self._is_behind = True
        if not self._said.is_complete(now):
            self._begin_again()
        for login in self._said.again(now):
            self.keep(login)

    def say_everything(self, now: float) -> None:
        """Have the engine learn every login that this node knows.

        Args:
            now: monotonic time in seconds.
        """
        if not self._is_behind and not self._is_held:
            self._away = now
        self._begin_again()

    def _begin_again(self) -> None:
        self._is_behind = True
        self._everything = self._known()

    def keep_late(self, login: Late) -> None:
        """Note a login that the engine was to know long ago, and may still not have.

        Args:
            login: the newest of this account from this address.
        """
        self._is_behind = self._is_late = True
        self.keep(login)

    def take(self, most: int) -> Iterator[Late | tuple[str, float]]:
        """Yield what the engine is to learn next: logins, then accounts and when they were rung.

        Args:
            most: how many at most. They are not kept any longer.
        """
        for _ in range(most):
            found = self._next_login() or next(self.outbox.take(1), None)
            if found is None:
                return
            yield found

    def has_caught_up(self, now: float) -> bool:
        """Tell, once, that all logins were taken that the engine had to learn again.

        If that takes long, it is told of each part in time: other nodes know for `UNSURE` only
        which of their rings may have missed these logins.

        Args:
            now: monotonic time in seconds.
        """
        if not self._is_behind:
            return False
        login = self._next_login()
        if login is not None:
            self.keep(login)
            if now - self._told < UNSURE / 3:
                return False
        else:
            self._is_behind = self._is_late = False
        self._told = now
        return True

    def _next_login(self) -> Late | None:
        if self._logins:
            (account, address), seen = self._logins.popitem(last=False)
            return Late(account, address, seen)
        return next(self._everything, None)
