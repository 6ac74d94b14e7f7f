"""What the nodes keep in Redis or Valkey, and how. Each method is one exchange with the engine.

Keys, each beginning with `mailbell:`

- `nodes`: a set of the names of the nodes that live, or that nobody has looked after yet.
- `alive:NODE`: what the node says of itself (`Report`). It is there as long as the node lives. So
  only the engine's clock counts.
- `left:NODE`: is there if the node has left in order, until another has looked into its inbox.
- `beats`: counts signs of life. If it goes back, the engine has lost what it had lately.
- `memory`: a number that the first node chose. If it is another one, the engine lost everything.
- `inbox:NODE`: a stream. Who takes a notification puts it into the inbox of the node that
  has its target (`Members.owner`). So a target has one node, whose own limits hold for it. The
  node takes an entry out when it has it: what is there is what it has not taken yet.
- `book:ACCOUNT`: the addresses of the last logins, each with its time in milliseconds since 1970
  by the clock of the node that noted it. It expires with the last.
- `reap:NODE`: which node looks after one that has died.
- `swept:NODE`: every account was rung because of the last run of a node. It is there for an hour,
  or until that node has seen it.

A consumer group would not do: it gives an entry to any node, and each would have to ask the
engine whether the target rests or backs off.
"""

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

import trio
from coredis import PureToken, RedisCluster

from mailbell.cluster.messages import MOST_NODES, is_account
from mailbell.cluster.report import Report, is_name

__all__ = ["Beat", "Claim", "Engine", "Entry", "Known", "NameTakenError", "Noted"]

_PREFIX: Final = "mailbell:"
_NODES: Final = _PREFIX + "nodes"
_BEATS: Final = _PREFIX + "beats"
_MEMORY: Final = _PREFIX + "memory"
_ALIVE: Final = _PREFIX + "alive:"
_LEFT: Final = _PREFIX + "left:"
_INBOX: Final = _PREFIX + "inbox:"
_BOOK: Final = _PREFIX + "book:"
_REAP: Final = _PREFIX + "reap:"
_SWEPT: Final = _PREFIX + "swept:"
_REMEMBERED: Final = 3600.0  # seconds
_MOST: Final = (1 << 53) - 1
# Entries that are read at once. coredis has no bound of its own.
_BATCH: Final = 256
_SCANNED: Final = 500
# Seconds for an exchange. coredis has bounds for answers, but may wait for a connection for ever.
_PATIENCE: Final = 10.0

_P = ParamSpec("_P")
_T = TypeVar("_T")


class NameTakenError(Exception):
    """Another run of a node has the name of this one."""


def _bounded(exchange: Callable[_P, Awaitable[_T]]) -> Callable[_P, Awaitable[_T]]:
    """Let an exchange fail that takes too long."""

    @functools.wraps(exchange)
    async def within(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with trio.fail_after(_PATIENCE):
            return await exchange(*args, **kwargs)

    return within


class Claim(NamedTuple):
    """What the engine knew of this node when it came.

    Attributes:
        was_there: whether a run of this node had not left.
        left: whether it had left in order.
        swept: whether another node has looked after its last run, which had not ended in order.
    """

    was_there: bool
    left: bool
    swept: bool


class Known(NamedTuple):
    """A node that has not left.

    Attributes:
        name: its name.
        report: what it says of itself; None: it does not live.
        pending: entries in its inbox.
    """

    name: str
    report: Report | None
    pending: int


class Beat(NamedTuple):
    """What the engine says to a sign of life.

    Attributes:
        memory: as long as the engine does not begin anew, it says the same.
        beats: how many signs of life it has counted, those of all nodes.
        nodes: the nodes.
    """

    memory: str
    beats: int
    nodes: tuple[Known, ...]


class Noted(NamedTuple):
    """A login to note.

    Attributes:
        account: who logged in.
        address: from where.
        when: seconds since 1970.
    """

    account: str
    address: str
    when: float


class Entry(NamedTuple):
    """One entry of an inbox.

    Attributes:
        number: the engine's, which orders the entries.
        fields: what a node wrote.
    """

    number: str
    fields: Mapping[str, str]


class Engine:
    """The state that the nodes share.

    Args:
        client: of coredis; it decodes what it reads.
        node: the name of this node.
        ttl: seconds for which a login counts.
        addresses: how many addresses of one account are kept.
    """

    # The three clients of coredis, of which a Redis Cluster's has no type in common with the
    # others, have these commands.
    def __init__(self, client: Any, node: str, ttl: float, addresses: int) -> None:
        self._client = client
        self._node = node
        self._ttl = ttl
        self._addresses = addresses

    # --- who lives -------------------------------------------------------------------

    @_bounded
    async def claim(self, report: Report, life: float) -> Claim | None:
        """Take the name of this node, unless a node of another host has it.

        Args:
            report: what this node says of itself.
            life: seconds until this node counts as dead.

        Returns:
            What the engine knew of it. None: the name is taken.
        """
        key, most = _ALIVE + self._node, _milliseconds(life)
        if not await self._client.set(key, str(report), condition=PureToken.NX, px=most):
            known = Report.parse(await self._client.get(key))
            if known is None or not known.is_of_host(report.run):
                return None
            await self._client.set(key, str(report), px=most)
        # It only looks, so that it may be asked again if its answer is lost. `beat` changes this.
        async with self._pipeline() as pipeline:
            nodes = pipeline.smembers(_NODES)
            left = pipeline.exists([_LEFT + self._node])
            swept = pipeline.exists([_SWEPT + self._node])
        return Claim(self._node in await nodes, bool(await left), bool(await swept))

    @_bounded
    async def beat(self, report: Report, life: float, *, keep_swept: bool = False) -> Beat:
        """Give a sign of life, and learn who else lives.

        Args:
            report: what this node says of itself.
            life: seconds until this node counts as dead.
            keep_swept: whether this node has yet to see that another looks after its last run.

        Raises:
            NameTakenError: another run has the name, because this one was away for too long.
        """
        other = Report.parse(await self._client.get(_ALIVE + self._node))
        if other is not None and other.run != report.run:
            raise NameTakenError(self._node)
        async with self._pipeline() as pipeline:
            count = pipeline.incr(_BEATS)
            pipeline.set(_ALIVE + self._node, str(report), px=_milliseconds(life))
            pipeline.sadd(_NODES, [self._node])
            pipeline.delete([_LEFT + self._node])
            if not keep_swept:
                pipeline.delete([_SWEPT + self._node])
            listed = pipeline.smembers(_NODES)
            pipeline.set(_MEMORY, report.run, condition=PureToken.NX)
            memory = pipeline.get(_MEMORY)
        names = sorted(name for name in await listed if isinstance(name, str) and is_name(name))[
            :MOST_NODES
        ]
        async with self._pipeline() as pipeline:
            asked = [
                (name, pipeline.get(_ALIVE + name), pipeline.xlen(_INBOX + name)) for name in names
            ]
        nodes = [
            Known(name, Report.parse(await said), _count(await pending))
            for name, said, pending in asked
        ]
        return Beat(await memory, await count, tuple(nodes))

    @_bounded
    async def remember(self, nodes: Iterable[str]) -> None:
        """Note nodes that have not left, which the engine may have forgotten.

        Args:
            nodes: at least one.
        """
        await self._client.sadd(_NODES, list(nodes))

    @_bounded
    async def leave(self) -> None:
        """End in order: another node only looks into the inbox of this one, and nobody is rung."""
        async with self._pipeline() as pipeline:
            pipeline.set(_LEFT + self._node, "")
            pipeline.delete([_ALIVE + self._node])

    # --- the book --------------------------------------------------------------------

    @_bounded
    async def note_logins(self, logins: Sequence[Noted]) -> list[bool]:
        """Keep the addresses of logins.

        Args:
            logins: at least one.

        Returns:
            For each whether the address is new for the account.
        """
        async with self._pipeline() as pipeline:
            added = []
            for login in logins:
                key = _BOOK + login.account
                when = {login.address: round(login.when * 1000)}
                added.append(pipeline.zadd(key, when, comparison=PureToken.GT))
                pipeline.zremrangebyrank(key, 0, -self._addresses - 1)
                pipeline.pexpire(key, _milliseconds(self._ttl))
        return [bool(await each) for each in added]

    @_bounded
    async def logins(self, accounts: Sequence[str]) -> list[tuple[tuple[str, float], ...]]:
        """Return the addresses of each account, each with the time of its login in seconds.

        Args:
            accounts: at least one.
        """
        async with self._pipeline() as pipeline:
            asked = [
                pipeline.zrange(_BOOK + account, 0, -1, withscores=True) for account in accounts
            ]
        return [tuple((each.member, each.score / 1000) for each in await found) for found in asked]

    async def accounts(self) -> AsyncGenerator[list[str], None]:
        """Yield the accounts that have a login, a part at a time; some perhaps twice."""
        is_cluster = isinstance(self._client, RedisCluster)
        for part in list(self._client.primaries) if is_cluster else [nullcontext(self._client)]:
            cursor = None
            while cursor != 0:
                cursor, keys = await self._scan(part, cursor or 0)
                names = [key.removeprefix(_BOOK) for key in keys if isinstance(key, str)]
                yield [name for name in names if is_account(name)]

    @_bounded
    async def _scan(self, part: Any, cursor: int) -> tuple[int, Sequence[object]]:
        """Return some keys of books, and where to go on.

        Args:
            part: yields a client for a part of the engine that has keys of its own.
            cursor: where to begin.
        """
        async with part as client:
            found = await client.scan(cursor, match=f"{_BOOK}*", count=_SCANNED)
            return found[0], found[1]

    # --- the inboxes -------------------------------------------------------------------

    @_bounded
    async def send(self, messages: Iterable[tuple[str, Mapping[str, str]]]) -> None:
        """Put entries into inboxes.

        Args:
            messages: each with the node that gets it; at least one.
        """
        async with self._pipeline() as pipeline:
            for node, fields in messages:
                pipeline.xadd(_INBOX + node, fields)

    @_bounded
    async def receive(self, wait: float) -> tuple[Entry, ...]:
        """Return what is in the inbox of this node.

        Args:
            wait: seconds to wait for the first entry.
        """
        key = _INBOX + self._node
        # From the first one: what was read before is no longer there.
        found = await self._client.xread({key: "0"}, count=_BATCH, block=_milliseconds(wait))
        return _entries(found[key]) if found else ()

    @_bounded
    async def inbox_of(self, node: str) -> tuple[Entry, ...]:
        """Return what is in the inbox of a node, the oldest entries.

        Args:
            node: this one, or one that has died.
        """
        return _entries(await self._client.xrange(_INBOX + node, count=_BATCH))

    @_bounded
    async def take_out(self, node: str, entries: Sequence[Entry]) -> None:
        """Take entries out of the inbox of a node: this node has them, or others do.

        Args:
            node: this one, or one that has died.
            entries: at least one.
        """
        await self._client.xdel(_INBOX + node, [entry.number for entry in entries])

    # --- the dead ------------------------------------------------------------------------

    @_bounded
    async def may_reap(self, node: str, life: float) -> bool:
        """Tell whether this node is the one that looks after a dead one.

        Args:
            node: the dead one.
            life: seconds for which no other node may.
        """
        key, most = _REAP + node, _milliseconds(life)
        if await self._client.set(key, self._node, condition=PureToken.NX, px=most):
            return True
        if await self._client.get(key) != self._node:
            return False
        return bool(await self._client.pexpire(key, most))

    @_bounded
    async def end_reaping(self, node: str, *, swept: bool = False) -> None:
        """Let any node look after the next death of a node.

        Args:
            node: its name.
            swept: whether every account was rung, because its last run had not ended in order.
        """
        # One after the other: whoever may reap then finds this. A Redis Cluster orders no pipeline.
        if swept:
            await self._client.set(_SWEPT + node, "", px=_milliseconds(_REMEMBERED))
        await self._client.delete([_REAP + node])

    @_bounded
    async def note_swept(self, node: str) -> None:
        """Note that every account was rung because of a node, so that nobody does it again.

        Args:
            node: its name.
        """
        await self._client.set(_SWEPT + node, "", px=_milliseconds(_REMEMBERED))

    @_bounded
    async def is_listed(self, node: str) -> bool:
        """Tell whether a node has not left, or nobody has looked after it yet.

        Args:
            node: its name.
        """
        return node in await self._client.smembers(_NODES)

    @_bounded
    async def was_swept(self, node: str) -> bool:
        """Tell whether another node has had every account rung because of this one.

        Args:
            node: its name.
        """
        return bool(await self._client.exists([_SWEPT + node]))

    @_bounded
    async def is_alive(self, node: str) -> bool:
        """Tell whether a node gave a sign of life in time.

        Args:
            node: its name.
        """
        return bool(await self._client.exists([_ALIVE + node]))

    @_bounded
    async def has_left(self, node: str) -> bool:
        """Tell whether a node that does not live has left in order.

        Args:
            node: its name.
        """
        return bool(await self._client.exists([_LEFT + node]))

    @_bounded
    async def bury(self, node: str, *, swept: bool) -> None:
        """Forget a dead node: it is looked after.

        Args:
            node: its name.
            swept: whether every account was rung, because it had not ended in order.
        """
        # First: whoever may look after it next finds that there is nothing to look after.
        await self._client.srem(_NODES, [node])
        await self._client.delete([_LEFT + node])
        await self.end_reaping(node, swept=swept)

    def _pipeline(self) -> Any:
        return self._client.pipeline(transaction=False)


def _entries(found: Any) -> tuple[Entry, ...]:
    return tuple(Entry(each.identifier, _text(each.field_values)) for each in found)


def _text(fields: Mapping[Any, Any]) -> dict[str, str]:
    """Return the fields that are text. coredis leaves what is not UTF-8 as it is."""
    return {
        name: value
        for name, value in fields.items()
        if isinstance(name, str) and isinstance(value, str)
    }


def _count(number: object) -> int:
    """Return a count that a message can have, whatever the engine says."""
    return min(max(number, 0), _MOST) if isinstance(number, int) else 0


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
