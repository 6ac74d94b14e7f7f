"""The hub with many subscribers, restarts and a late timer: what it promises, whatever happens.

The model is naive: it keeps every notification, every wake-up, and what each subscriber must
still be told. `harness.naive_hub` checks the wake-ups, and this machine checks the subscribers.
"""

from dataclasses import dataclass, field
from typing import Final

import pytest
from harness.naive_hub import ACCOUNTS, GROUPS, ORIGINS, STEPS, Size, World
from harness.noticing import notices
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from mailbell.core.notification import Cause, Cursor, Notification
from mailbell.listener._account_state import Group
from mailbell.listener._hub import Hub, Origin
from mailbell.listener._wakeups import Subscriber, Wakeups

# The modules have tests of their own for each branch.
pytestmark = pytest.mark.uncounted

MOST: Final = 5  # clients
WHO: Final = st.integers(0, MOST - 1)


@dataclass
class Client:
    """A program that subscribes, and what it must still be told.

    Attributes:
        wanted: the accounts that it names; None: all.
        cursor: the last one that it saw; None: it has none.
        subscriber: its subscription; None: it is away.
        untold: number, account and count of each wake-up that it was not told of.
        missed: the accounts of which it must be told that it has missed something.
        uncovered: the accounts that rang, and of which it was told nothing since.
        rested: whether it has taken everything once, and was close behind ever since.
        wakes: how often it was woken.
        expected: how often it should have been.
    """

    wanted: tuple[str, ...] | None
    cursor: Cursor | None = None
    subscriber: Subscriber | None = None
    untold: list[tuple[int, str, int]] = field(default_factory=list)
    missed: set[str] = field(default_factory=set)
    uncovered: set[str] = field(default_factory=set)
    takes_since: dict[str, int] = field(default_factory=dict)
    is_close: bool = False
    wakes: int = 0
    expected: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        return ACCOUNTS if self.wanted is None else self.wanted

    @property
    def waiting(self) -> set[str]:
        return self.missed | {name for _, name, _ in self.untold}

    def wake(self) -> None:
        self.wakes += 1

    def leave(self) -> None:
        self.subscriber = None


class Machine(RuleBasedStateMachine):
    @initialize(
        interval=st.sampled_from([1.0, 0.1, 2.5]),
        now=st.sampled_from([0.0, 1234.567, 1e9 + 0.1]),
        size=st.builds(
            Size,
            few=st.sampled_from([1, 3]),
            portion=st.sampled_from([1, 3, 64]),
            recent=st.sampled_from([2, 4, 64]),
        ),
    )
    def begin(self, interval: float, now: float, size: Size) -> None:
        self.patch = pytest.MonkeyPatch()
        size.apply(self.patch)
        self.world = World(interval, now, size)
        self.clients: list[Client] = []
        self.old: list[Cursor] = []

    def teardown(self) -> None:
        """In the end each client comes and reads everything, and nothing is owed."""
        if not hasattr(self, "world"):
            return
        try:
            self.world.go_on(2 * self.world.interval)
            self.follow()
            assert self.world.hub.next_due is None
            assert not any(naive.waiting for naive in self.world.accounts.values())
            for client in self.clients:
                self.read_to_the_end(client)
            self.end_all()
        finally:
            self.patch.undo()

    def read_to_the_end(self, client: Client) -> None:
        if client.subscriber is None:
            self.connect(client, client.cursor)
        while client.subscriber is not None and client.subscriber.waiting:
            self.take_one(client)
        self.take_one(client)
        assert not client.uncovered

    def end_all(self) -> None:
        """Ended subscriptions leave nothing behind."""
        hub = self.world.hub
        for client in self.clients:
            if client.subscriber is not None:
                hub.unsubscribe(client.subscriber)
                hub.unsubscribe(client.subscriber)
        assert hub.subscribers == 0
        assert not hub._wakeups._sleeping
        assert not any(hub._wakeups._listeners)

    # --- what rings ---------------------------------------------------------------------------

    @rule(
        account=st.sampled_from(ACCOUNTS),
        origin=st.sampled_from(ORIGINS),
        is_read=st.booleans(),
        prompt=st.booleans(),
    )
    def ring(self, account: str, origin: Origin, is_read: bool, prompt: bool) -> None:
        self.uncover((account,))
        self.world.ring(account, origin, is_read=is_read)
        self.follow(prompt)

    @rule(
        number=st.integers(0, len(GROUPS) - 1),
        origin=st.sampled_from(ORIGINS),
        is_read=st.booleans(),
        prompt=st.booleans(),
    )
    def ring_group(self, number: int, origin: Origin, is_read: bool, prompt: bool) -> None:
        self.uncover(GROUPS[number])
        self.world.ring_group(number, origin, is_read=is_read)
        self.follow(prompt)

    @rule(account=st.sampled_from(ACCOUNTS), gaps=st.lists(st.sampled_from(STEPS), max_size=6))
    def ring_often(self, account: str, gaps: list[float]) -> None:
        for gap in gaps:
            self.ring(account, ORIGINS[1], is_read=True, prompt=True)
            self.wait(gap)

    @rule(
        number=st.integers(0, 2),
        calls=st.lists(
            st.tuples(
                st.sampled_from(["read", "refused", "alone"]),
                st.sampled_from(ACCOUNTS),
                st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]),
                st.sampled_from([True, True, True, False]),
            ),
            min_size=3,
            max_size=9,
        ),
    )
    def ring_without_a_pause(self, number: int, calls: list[tuple[str, str, float, bool]]) -> None:
        """A busy server for many accounts, over its limit at times, beside one for each account.

        The daemon may be so busy that its timer gets on by one portion at a time only.
        """
        for what, account, gap, is_prompt in calls:
            if what == "alone":
                self.ring(account, ORIGINS[2], is_read=True, prompt=is_prompt)
            else:
                self.ring_group(number, ORIGINS[1], is_read=what == "read", prompt=is_prompt)
            if is_prompt:
                self.wait(gap)
            else:
                self.tick()
                self.stall(gap)

    @rule(
        account=st.sampled_from(ACCOUNTS),
        number=st.none() | st.integers(0, len(GROUPS) - 1),
        gaps=st.lists(st.sampled_from([0.0, 0.1, 0.4, 0.6]), min_size=2, max_size=6),
    )
    def ring_over_the_limit(self, account: str, number: int | None, gaps: list[float]) -> None:
        """One is read, and those after it are refused. The account also rings by hand before."""
        self.ring(account, ORIGINS[0], is_read=True, prompt=True)
        for place, gap in enumerate(gaps):
            self.wait(gap)
            if number is None:
                self.ring(account, ORIGINS[1], is_read=not place, prompt=True)
            else:
                self.ring_group(number, ORIGINS[1], is_read=place < 2, prompt=True)

    @rule(
        accounts=st.lists(st.sampled_from(ACCOUNTS), min_size=1, unique=True),
        who=WHO,
        times=st.integers(0, 8),
    )
    def ring_each(self, accounts: list[str], who: int, times: int) -> None:
        """Each of them has a wake-up of its own at once, and a client takes some of them."""
        self.wait(1.0)
        self.take(who, len(ACCOUNTS))
        for account in accounts:
            self.ring(account, ORIGINS[1], is_read=True, prompt=True)
        self.take(who, times)

    def uncover(self, names: tuple[str, ...]) -> None:
        for client in self.clients:
            if client.cursor is not None:
                client.uncovered |= {*names} & {*client.names}

    # --- time -------------------------------------------------------------------------------

    @rule(part=st.sampled_from(STEPS))
    def wait(self, part: float) -> None:
        self.world.go_on(part * self.world.interval)
        self.follow()

    @rule(part=st.sampled_from(STEPS))
    def stall(self, part: float) -> None:
        self.world.stall(part * self.world.interval)

    @rule()
    def tick(self) -> None:
        self.world.tick()
        self.follow(prompt=False)

    @rule()
    def restart(self) -> None:
        """The daemon ends at this moment, and another run begins. Each client loses it."""
        self.old.append(self.world.hub.cursor)
        for client in self.clients:
            client.leave()
        self.world.start()
        self.seen = 0

    seen = 0  # how much of the history the clients' models know

    def follow(self, prompt: bool = True) -> None:
        """Let the timer run, and the model of each client learn of the wake-ups since."""
        if prompt:
            self.world.settle()
        for number, (name, count) in enumerate(self.world.history[self.seen :], self.seen + 1):
            for client in self.clients:
                if client.subscriber is not None and name in client.names:
                    client.expected += not client.waiting
                    client.untold.append((number, name, count))
        self.seen = len(self.world.history)

    # --- subscribers ------------------------------------------------------------------------

    @precondition(lambda self: len(self.clients) < MOST)
    @rule(
        wanted=st.none() | st.lists(st.sampled_from(ACCOUNTS), min_size=1, unique=True).map(tuple),
        connected=st.booleans(),
    )
    def come(self, wanted: tuple[str, ...] | None, connected: bool) -> None:
        client = Client(wanted)
        self.clients.append(client)
        if connected:
            self.connect(client, None)

    @rule(who=WHO)
    def vanish(self, who: int) -> None:
        if who < len(self.clients):
            client = self.clients[who]
            if client.subscriber is not None:
                self.world.hub.unsubscribe(client.subscriber)
                client.leave()

    @rule(who=WHO)
    def come_back(self, who: int) -> None:
        """With the last cursor that it saw. So it learns of everything that it does not know."""
        if who >= len(self.clients):
            return
        client = self.clients[who]
        if client.subscriber is not None:
            self.vanish(who)
        owed: set[str] = set()
        if client.cursor is not None:
            owed = client.waiting if self.same_run(client.cursor) else set(client.names)
        is_up_to_date = client.cursor in {None, self.world.hub.cursor}
        self.connect(client, client.cursor)
        assert client.subscriber is not None
        assert client.subscriber.waiting == bool(client.waiting)
        assert client.waiting >= owed, "nothing is missed"
        if is_up_to_date:
            assert not client.waiting, "nothing is told without a cause"

    def same_run(self, cursor: Cursor | None) -> bool:
        return cursor is not None and cursor.epoch == self.world.epoch

    @rule(
        who=WHO,
        missed=st.lists(st.sampled_from(ACCOUNTS), min_size=1, max_size=6),
        steps=st.lists(st.sampled_from(ACCOUNTS) | st.integers(1, 4), max_size=8),
    )
    def come_back_far_behind(self, who: int, missed: list[str], steps: list[str | int]) -> None:
        """It takes some of what it has missed, while other accounts ring, and goes once more."""
        self.come_back(who)
        if who >= len(self.clients):
            return
        self.wait(2.0)
        self.read_to_the_end(self.clients[who])
        self.vanish(who)
        self.ring_each(missed, who, 0)
        self.come_back(who)
        for step in steps:
            if isinstance(step, int):
                self.take(who, step)
            else:
                self.ring_each([step], who, 0)
        self.come_back(who)

    @rule(who=WHO, data=st.data())
    def come_with_any_cursor(self, who: int, data: st.DataObject) -> None:
        """Foreign, old, of the future, of the past: it knows what the cursor says it knows."""
        if who >= len(self.clients):
            return
        self.vanish(who)
        numbers = st.sampled_from([self.seen + 1, self.seen, max(self.seen - 1, 0), 0, -1])
        numbers |= st.integers(0, self.seen + 3)
        here = st.builds(Cursor, st.just(self.world.epoch), numbers)
        others = st.sampled_from([*self.old, Cursor("foreign", 2), Cursor("", 0)])
        client = self.clients[who]
        client.uncovered.clear()
        self.connect(client, data.draw(here | others))

    def connect(self, client: Client, after: Cursor | None) -> None:
        client.untold, client.takes_since, client.is_close = [], {}, False
        client.missed = self.missed_since(client, after)
        client.wakes = client.expected = 0
        client.subscriber = self.world.hub.subscribe(client.wanted, after, client.wake)
        if after is None:
            client.uncovered.clear()
        client.cursor = client.subscriber.cursor
        client.is_close = not client.missed

    def missed_since(self, client: Client, after: Cursor | None) -> set[str]:
        if after is None:
            return set()
        if not self.same_run(after) or after.sequence > self.seen or after.sequence < 0:
            return set(client.names)
        later = {name for name, _ in self.world.history[after.sequence :]}
        return later & set(client.names)

    @rule(who=WHO, times=st.integers(1, 4))
    def take(self, who: int, times: int) -> None:
        for _ in range(times):
            if who < len(self.clients) and self.clients[who].subscriber is not None:
                self.take_one(self.clients[who])

    def take_one(self, client: Client) -> None:
        subscriber = client.subscriber
        assert subscriber is not None
        assert subscriber.waiting == bool(client.waiting)
        self.check_close(client)
        turn = self.whose_turn(client, subscriber)
        told = subscriber.take()
        if told is None:
            assert not client.waiting
        else:
            if client.is_close and client.wanted is None:
                assert told.account in turn, "the oldest comes first"
            self.check_told(client, told)
        assert subscriber.cursor.sequence >= self.known(client), "what it knows is never less"
        client.cursor = subscriber.cursor
        client.is_close = client.is_close or not client.waiting

    def whose_turn(self, client: Client, subscriber: Subscriber) -> set[str]:
        """Return the account of the oldest wake-up that a client was not told of.

        One that rang again may come before it, if the client's cursor is still before a wake-up of
        this account that the client was told of out of turn, with an earlier one.
        """
        if not client.untold:
            return set()
        since, oldest = subscriber.cursor.sequence, client.untold[0][0]
        return {name for name, _ in self.world.history[since:oldest]} & client.waiting

    def check_close(self, client: Client) -> None:
        """Note whether it is so far behind that it is told of its accounts in a circle."""
        if client.untold:
            behind = self.seen - (client.untold[0][0] - 1)
            client.is_close = client.is_close and behind <= self.world.size.recent

    def known(self, client: Client) -> int:
        assert client.cursor is not None
        return client.cursor.sequence if self.same_run(client.cursor) else -1

    def check_told(self, client: Client, told: Notification) -> None:
        name = told.account
        assert name in client.waiting, "never told without a cause"
        assert told.count == sum(count for _, other, count in client.untold if other == name)
        assert (told.cause is Cause.RESYNC) == (name in client.missed)
        assert told.time == self.time_of_last(name, is_resync=name in client.missed)
        client.untold = [each for each in client.untold if each[1] != name]
        client.missed.discard(name)
        client.uncovered.discard(name)
        client.takes_since = {
            other: client.takes_since.get(other, 0) + 1 for other in client.waiting
        }
        most = 2 * len(client.names)
        assert all(takes <= most for takes in client.takes_since.values()), "each has its turn"

    def time_of_last(self, name: str, *, is_resync: bool) -> int:
        """Of the last wake-up; a resync says when the last notification came that is known."""
        if not is_resync:
            return self.world.last_times[name]
        state_time = self.world.hub.state(name).time
        return self.world.started if state_time is None else state_time

    # --- what is promised -----------------------------------------------------------------

    @invariant()
    def the_wake_ups_are_right(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    @invariant()
    def each_subscriber_is_right(self) -> None:
        if not hasattr(self, "world"):
            return
        for client in self.clients:
            if client.subscriber is not None:
                self.check_subscriber(client, client.subscriber)

    def check_subscriber(self, client: Client, subscriber: Subscriber) -> None:
        assert client.wakes == client.expected, "woken once until it has taken everything"
        assert subscriber.waiting == bool(client.waiting)
        assert len(subscriber._told) == len(client.names), "its memory does not grow"
        cursor, end = subscriber.cursor, self.world.hub.cursor
        assert cursor.epoch == end.epoch
        assert cursor.sequence <= end.sequence
        if not client.waiting:
            assert cursor == end
        last = {name: number for number, (name, _) in enumerate(self.world.history, 1)}
        # Whatever it was not told of has a later number. So nothing is missed after a return.
        assert all(last.get(name, 0) > cursor.sequence for name in client.waiting)
        if client.is_close and client.wanted is None and client.untold:
            assert cursor.sequence <= client.untold[0][0] - 1

    @invariant()
    def there_are_as_many_as_came(self) -> None:
        if hasattr(self, "world"):
            connected = sum(client.subscriber is not None for client in self.clients)
            assert self.world.hub.subscribers == connected
            asleep = len(self.world.hub._wakeups._sleeping)
            assert asleep <= connected


Machine.TestCase.settings = settings(stateful_step_count=40, deadline=None)
TestHub = Machine.TestCase


def forget_to_announce(self: Hub, due: float, number: int) -> None:
    self._due.append((due, number))


def believe_any_cursor(self: Wakeups, after: Cursor | None) -> int:
    return self.sequence if after is None else min(after.sequence, self.sequence)


@pytest.mark.long
@pytest.mark.parametrize(
    ("what", "name", "fault"),
    [
        (Hub, "_push", forget_to_announce),
        (Wakeups, "_since", believe_any_cursor),
        (Group, "note_unread", lambda *_: None),
    ],
)
def test_the_machine_notices_a_fault(
    what: type, name: str, fault: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(what, name, fault)
    assert notices(Machine)
