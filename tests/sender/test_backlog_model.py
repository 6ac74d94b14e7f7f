"""What a node of a cluster has yet to say to the engine, whatever the engine loses.

The engine is a dictionary. It may be away, and may lose what it learnt in the last minute or
everything. In the end it knows each login that the node knows, and each account that rang alone.
"""

from collections.abc import Iterator
from functools import partial
from typing import Final

import pytest
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

from mailbell.cluster.repeats import Said
from mailbell.core.networks import Address
from mailbell.sender import _backlog
from mailbell.sender._backlog import UNSURE, Backlog, Late

# The modules have tests of their own for each branch.
pytestmark = pytest.mark.uncounted

NAMES: Final = ("anna", "bert", "carl")
DESKS: Final = tuple(map(Address.parse, ("192.0.2.1", "2001:db8::7")))
SECONDS: Final = st.sampled_from([0.0, 0.5, 10.0, UNSURE / 2, UNSURE, 10 * UNSURE])

Key = tuple[str, Address]


class Machine(RuleBasedStateMachine):
    @initialize(
        most=st.sampled_from([2, 100, 100]),
        said=st.sampled_from([2, 100]),
        has_begun=st.booleans(),
        forgets=st.booleans(),
        before=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(DESKS)), unique=True),
        is_late=st.booleans(),
    )
    def begin(
        self,
        most: int,
        said: int,
        has_begun: bool,
        forgets: bool,
        before: list[Key],
        is_late: bool,
    ) -> None:
        self.patch = pytest.MonkeyPatch()
        # The latest messages, so few that some of them are forgotten too early.
        self.patch.setattr(_backlog, "Said", partial(Said, most=said))
        self.now = 1000.0
        self.most, self.said_at_most = most, said
        self.known: dict[Key, float] = dict.fromkeys(before, self.now)
        self.engine: dict[Key, float] = {}
        self.confirmed: dict[Key, list[tuple[float, float]]] = {}
        self.rung: dict[str, float] = {}
        self.heard: dict[str, float] = {}
        self.away_since: float | None = None
        self.backlog = Backlog(self.everything, most, began=self.now, is_late=is_late)
        # What is said once more to an engine that has forgotten everything hides what was lost.
        self.forgets = forgets
        if has_begun:
            self.say_all()

    def everything(self) -> Iterator[Late]:
        for account, address in tuple(self.known):
            yield Late(account, address, self.known[account, address])

    def teardown(self) -> None:
        """In the end the engine is there, and learns all that waits."""
        if not hasattr(self, "backlog"):
            return
        try:
            self.come_back()
            self.say_all()
            assert self.engine == self.known
            assert self.heard == self.rung
            assert self.backlog.logins == len(self.backlog.outbox) == 0
            assert not self.backlog.has_caught_up(self.now), "it is told once"
            assert not self.backlog.is_late(self.now)
        finally:
            self.patch.undo()

    def say_all(self) -> None:
        for _ in range(1000):
            if not self.hand_over(2, 2):
                return
        raise AssertionError("it has something to say without an end")

    # --- what happens -----------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), address=st.sampled_from(DESKS), arrives=st.booleans())
    def log_in(self, name: str, address: Address, arrives: bool) -> None:
        """A user logs in. While the engine is there it is said at once, and may be refused."""
        self.now += 0.125
        login = Late(name, address, self.now)
        self.known[name, address] = self.now
        if self.away_since is None and arrives:
            self.say(login)
        else:
            self.backlog.keep(login)

    def say(self, login: Late) -> None:
        key = (login.account, login.address)
        self.confirmed.setdefault(key, []).append((self.now, login.seen))
        self.engine[key] = max(login.seen, self.engine.get(key, 0.0))
        self.backlog.note_said(login, self.now)

    @rule(name=st.sampled_from(NAMES))
    def ring_alone(self, name: str) -> None:
        """The engine could not be told of a ring. The node has rung what it knows."""
        self.rung[name] = self.now
        assert self.backlog.outbox.put(name, self.now)

    @rule(name=st.sampled_from(NAMES), address=st.sampled_from(DESKS))
    def find_it_lost(self, name: str, address: Address) -> None:
        """What was said in the last moments got no answer, and is taken back."""
        key = (name, address)
        if key in self.known:
            self.engine.pop(key, None)
            self.backlog.keep_late(Late(name, address, self.known[key]))

    @rule()
    def leave(self) -> None:
        if self.away_since is None:
            self.away_since = self.now
            self.backlog.hold(self.now)

    @rule()
    def come_back(self) -> None:
        if self.away_since is not None:
            self.away_since = None
            self.hand_over(1, 1)
            self.backlog.release(self.now)

    @rule(data=st.data())
    def fail_over(self, data: st.DataObject) -> None:
        """Another engine takes over. What was confirmed in the last minute may be lost."""
        until = self.now if self.away_since is None else self.away_since
        for key in data.draw(st.sets(st.sampled_from([*self.known]))) if self.known else ():
            kept = [seen for when, seen in self.confirmed.get(key, []) if until - when > UNSURE]
            if kept:
                self.engine[key] = max(kept)
            else:
                self.engine.pop(key, None)
        self.backlog.say_again(self.now)

    @rule(
        name=st.sampled_from(NAMES),
        address=st.sampled_from(DESKS),
        away=SECONDS,
        comes_again=st.booleans(),
    )
    def log_in_before_it_is_away(
        self, name: str, address: Address, away: float, comes_again: bool
    ) -> None:
        """However long it is away: what was said right before that may be lost."""
        self.come_back()
        self.log_in(name, address, arrives=True)
        self.leave()
        self.now += away
        if comes_again:
            self.log_in(name, address, arrives=False)
        self.engine.pop((name, address))
        self.backlog.say_again(self.now)
        self.come_back()

    @rule(name=st.sampled_from(NAMES), address=st.sampled_from(DESKS), later=SECONDS)
    def log_in_before_it_fails(self, name: str, address: Address, later: float) -> None:
        """Only what was said longer than a minute ago is safe."""
        self.come_back()
        self.log_in(name, address, arrives=True)
        self.now += later
        if later <= UNSURE:
            self.engine.pop((name, address))
        self.backlog.say_again(self.now)

    @precondition(lambda self: self.forgets)
    @rule()
    def forget_everything(self) -> None:
        self.engine.clear()
        self.confirmed.clear()
        self.backlog.say_everything(self.now)

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(most=st.integers(1, 4), room=st.integers(0, 4))
    def say_a_part(self, most: int, room: int) -> None:
        self.hand_over(most, room)

    def hand_over(self, most: int, room: int) -> bool:
        """Say a part of what waits, as the shared bell does; tell whether anything did."""
        if self.away_since is not None:
            return False
        taken = tuple(self.backlog.take(most))
        kinds = [isinstance(each, Late) for each in taken]
        assert kinds == sorted(kinds, reverse=True), "a ring may need the logins before it"
        for each in taken:
            has_room = room > 0
            room -= 1
            if isinstance(each, Late):
                if has_room:
                    self.say(each)
                else:
                    self.backlog.keep(each)
            elif has_room:
                self.heard[each[0]] = each[1]
            else:
                self.backlog.outbox.put(*each)
        return self.backlog.has_caught_up(self.now) or bool(taken)

    # --- what is promised -----------------------------------------------------------------

    @invariant()
    def its_memory_is_bounded(self) -> None:
        if hasattr(self, "backlog"):
            assert self.backlog.logins <= self.most
            assert len(self.backlog._said) <= self.said_at_most
            assert len(self.backlog.outbox) <= len(NAMES)

    @invariant()
    def the_engine_knows_nothing_that_nobody_said(self) -> None:
        if hasattr(self, "backlog"):
            for key, seen in self.engine.items():
                assert seen <= self.known[key]


Machine.TestCase.settings = settings(stateful_step_count=40, deadline=None)
TestBacklog = Machine.TestCase


def keep_the_last_one(self: Backlog, login: Late) -> None:
    self._logins[login.account, login.address] = login.seen


def forget_what_is_said(self: Said[Late], about: object, message: Late, now: float) -> None:
    """Keep nothing for an engine that may lose it."""


@pytest.mark.long
@pytest.mark.parametrize(
    ("what", "name", "fault"),
    [(Backlog, "keep", keep_the_last_one), (Said, "note", forget_what_is_said)],
)
def test_the_machine_notices_a_fault(
    what: type, name: str, fault: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(what, name, fault)
    assert notices(Machine)
