"""Looks after nodes that have ended: their inboxes, and whom they may have left without a ring."""

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import Final, Protocol

import trio

from mailbell.cluster import inbox
from mailbell.cluster.engine import Engine, Known
from mailbell.cluster.members import Members
from mailbell.cluster.messages import MAX_MESSAGE, MOST_SWEPT, Sweep

__all__ = ["Reaper", "Sweeper"]

_GRACE: Final = 30.0  # seconds in which one node alone looks after a dead one
_LOOKS: Final = 5  # times in which it looks whether another node is done, or shows that it lives
_AROUND: Final = 8  # bytes around an account in a message
_EVERYBODY: Final = ""  # stands for no node: every account is rung once for this node itself


class Sweeper(Protocol):
    """The sender of this node."""

    async def tell(self, message: Sweep, /) -> None:
        """Pass a message on; wait while the sender is busy."""


class Reaper:
    """What one node does for others that have ended, and for an earlier run of its own.

    Args:
        members: the nodes that live.
        sender: rings the accounts of a sweep, and answers each with `Swept`.
        life: seconds without a sign of life after which a node counts as dead. After so many more
            no node puts anything into its inbox.
        engine: returns the engine, or raises.
    """

    def __init__(
        self, members: Members, sender: Sweeper, life: float, engine: Callable[[], Engine]
    ) -> None:
        self._members = members
        self._sender = sender
        self._life = life
        self._engine = engine
        self._names: deque[str] = deque()
        self._number = 0
        self._swept = trio.Event()

    @property
    def is_sweeping(self) -> bool:
        """Whether this node has accounts rung for itself, which no other one would do for it."""
        return any(name in {_EVERYBODY, self._members.own} for name in self._names)

    @property
    def is_sweeping_own(self) -> bool:
        """Whether all accounts are yet to be rung because of the last run of this node."""
        return self._members.own in self._names

    @property
    def is_needed(self) -> bool:
        """Whether `work` has something to do."""
        return bool(self._names)

    def swept(self, number: int) -> None:
        """Note that the sender has rung the accounts of a message.

        Args:
            number: of the message. Only the last one is waited for.
        """
        if number == self._number:
            self._swept.set()

    def sweep_everybody(self) -> None:
        """Have every account rung once, because this node does not know which it must."""
        self._add(_EVERYBODY)

    def sweep_own(self) -> None:
        """Have every account rung once, because the last run of this node was killed."""
        self._add(self._members.own)

    def notice(self, nodes: Iterable[Known]) -> None:
        """Look after those that do not live.

        Args:
            nodes: all that have not left, or not completely.
        """
        dead = {node.name for node in nodes if node.report is None} - {self._members.own}
        kept = {_EVERYBODY, self._members.own, *dead}
        head, rest = list(self._names)[:1], list(self._names)[1:]  # it is at work for the first
        self._names = deque([*head, *(name for name in rest if name in kept)])
        for name in sorted(dead):
            self._add(name)

    def _add(self, name: str) -> None:
        if name not in self._names:
            self._names.append(name)

    async def work(self) -> None:
        """Do the next thing. If this raises, it is still to be done."""
        name = self._names[0]
        if name == _EVERYBODY:
            await self._sweep(name)
        elif name == self._members.own:
            if not await self._sweep_own():
                self._names.rotate(-1)
                await trio.sleep(self._life / _LOOKS)
                return
        # Else it came back before its turn, or another node is at it.
        elif not await self._engine().is_alive(name) and await self._engine().may_reap(
            name, _GRACE
        ):
            if await self._engine().is_listed(name):
                await self._reap(name)
            else:  # another node has been at it
                await self._engine().end_reaping(name)
        self._names.popleft()

    async def _sweep_own(self) -> bool:
        """Have every account rung, unless another node does; return whether it is done.

        Another one that has begun may end before it is done. So this waits for it.
        """
        own = self._members.own
        if not await self._engine().may_reap(own, _GRACE):
            return False
        if not await self._engine().was_swept(own) and not await self._sweep(own):
            return False
        await self._engine().end_reaping(own)
        return True

    async def _reap(self, node: str) -> None:
        await self.move_inbox(node)
        has_left = await self._engine().has_left(node)
        # Who began to look after it may have ended behind that.
        if not has_left and not await self._engine().was_swept(node):
            if not await self._sweep(node):
                return
            await self._engine().note_swept(node)
        # Others may not have noticed yet, and put more into its inbox.
        await trio.sleep(self._life)
        if await self._engine().is_alive(node):
            await self._engine().end_reaping(node, swept=not has_left)
            return
        await self.move_inbox(node)
        await self._engine().bury(node, swept=not has_left)

    async def move_inbox(self, node: str) -> None:
        """Give what waits for a node to the nodes that have these targets now.

        Args:
            node: one that has ended, or this one before it ends.
        """
        last = ""
        while found := await self._engine().inbox_of(node):
            if found[0].number == last:
                raise RuntimeError("the engine does not take entries out")
            last = found[0].number
            await self._engine().send(
                (self._members.owner(inbox.destination(entry.fields)), entry.fields)
                for entry in found
            )
            await self._engine().take_out(node, found)

    async def _sweep(self, node: str) -> bool:
        """Have every account rung that may have been left without a ring; return whether it was."""
        accounts: list[str] = []
        size = 0
        async with aclosing(self._engine().accounts()) as found:
            async for part in found:
                if not await self._is_mine(node):
                    return False
                for account in part:
                    accounts.append(account)
                    size += len(account.encode()) + _AROUND
                    if len(accounts) == MOST_SWEPT or size > MAX_MESSAGE // 2:
                        if not await self._have_swept(node, accounts):
                            return False
                        accounts.clear()
                        size = 0
        return await self._have_swept(node, accounts, is_last=True)

    async def _is_mine(self, node: str) -> bool:
        """Go on looking after a node; return False if it took so long that another one does."""
        return node == _EVERYBODY or await self._engine().may_reap(node, _GRACE)

    async def _have_swept(
        self, node: str, accounts: Iterable[str], *, is_last: bool = False
    ) -> bool:
        """Have some accounts rung; return False if it took so long that another node does it."""
        self._swept = trio.Event()
        self._number += 1
        await self._sender.tell(Sweep(tuple(accounts), is_last, self._number))
        while not self._swept.is_set():
            if not await self._is_mine(node):
                return False
            with trio.move_on_after(_GRACE / _LOOKS):
                await self._swept.wait()
        return True
