"""From a notification to a program that subscribes: nothing is lost, whatever is lost between.

The real hub, the real local service and the real conversation of the clients. The machine ends
daemons, connections and programs at any moment, and loses any part of what is on its way.
"""

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import pytest
from harness.naive_hub import ACCOUNTS, GROUPS, ORIGINS, STEPS, Size, World
from harness.naive_wire import Wire, local_service
from harness.noticing import notices
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mailbell.calling.explain import explain_connect, explain_end, explain_silence
from mailbell.client._conversation import RETRIED, Backoff, Follower
from mailbell.client._mailbelld import MAILBELLD
from mailbell.core.errors import DataError, MailbellError
from mailbell.core.notification import Cause, Cursor, Notification
from mailbell.interfaces.listener import SubscribeReply
from mailbell.listener._hub import Origin
from mailbell.listener._local_service import _Subscription
from mailbell.listener._wakeups import Subscriber

# The modules have tests of their own for each branch.
pytestmark = pytest.mark.uncounted

MOST: Final = 3  # programs
PLACES: Final = 2  # subscribers that a daemon takes
WHO: Final = st.integers(0, MOST - 1)
# The account that some runs lack, with others and alone; and any.
WANTED: Final = st.sampled_from([(), ("a", "b"), ("e", "a"), ("a",)]) | st.lists(
    st.sampled_from(ACCOUNTS), min_size=1, max_size=4
).map(tuple)
TIMEOUT: Final = 10.0
# A run of the daemon may lack accounts of the run before.
CONFIGURED: Final = (ACCOUNTS, ACCOUNTS, ACCOUNTS[1:])


@dataclass
class Program:
    """A program that subscribes, and keeps a cursor where it survives the program.

    Attributes:
        wanted: the accounts that it names; empty: all.
        persists: whether it decides about retries itself, and so never gives up.
        leaves_out: whether it goes on without an account that the daemon lacks.
        stored: the cursor that it keeps.
        uncovered: the accounts that rang, and for which it did nothing since.
        missed: the accounts of which this connection may say that something was missed.
        told: how many notifications this connection told it of, by account.
        since: how many wake-ups there were when this connection began.
        asked: the accounts of this connection.
        has_begun: whether a daemon has accepted it once since it began.
        attempts: how often it has tried to connect.
    """

    wanted: tuple[str, ...]
    persists: bool
    leaves_out: bool
    stored: Cursor | None = None
    follower: Follower | None = None
    wire: Wire | None = None
    uncovered: set[str] = field(default_factory=set)
    missed: set[str] = field(default_factory=set)
    told: dict[str, int] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    has_begun: bool = False
    since: int = 0
    attempts: int = 0

    @property
    def names(self) -> set[str]:
        return {*self.wanted} or {*ACCOUNTS}

    @property
    def is_promised(self) -> bool:
        """Whether it has a cursor. Before that nothing is promised to it."""
        follower = self.follower
        return self.stored is not None if follower is None else follower.cursor is not None

    def start(self) -> Follower:
        self.has_begun = False
        self.follower = Follower(
            self.wanted,
            self.stored,
            TIMEOUT,
            None,
            retry=(lambda _: True) if self.persists else None,
            on_unknown=(lambda _: None) if self.leaves_out else None,
        )
        return self.follower

    def die(self) -> None:
        """It ends at this moment, and keeps what it has stored."""
        self.hang_up()
        self.follower = None
        if self.stored is None:
            self.uncovered.clear()

    def hang_up(self) -> None:
        if self.wire is not None:
            self.wire.end()
            self.wire = None


class Machine(RuleBasedStateMachine):
    @initialize(
        interval=st.sampled_from([1.0, 0.1]),
        size=st.builds(Size, few=st.just(2), recent=st.sampled_from([1, 3, 64])),
        programs=st.lists(
            st.builds(Program, WANTED, st.booleans(), st.booleans()), min_size=1, max_size=MOST
        ),
    )
    def begin(self, interval: float, size: Size, programs: list[Program]) -> None:
        self.patch = pytest.MonkeyPatch()
        size.apply(self.patch)
        self.world = World(interval, 1000.0, size)
        self.programs = programs
        self.start_service()
        for program in programs:
            self.attempt(program)

    def start_service(self) -> None:
        self.service = local_service(self.world.hub, PLACES)
        self.is_running = True

    def teardown(self) -> None:
        """In the end all is well, one program after the other connects, and nothing is owed."""
        if not hasattr(self, "world"):
            return
        try:
            if not self.is_running or len(self.world.accounts) < len(ACCOUNTS):
                self.restart(0, kept=None)
            self.go_on(2 * self.world.interval)
            for program in self.programs:
                self.heal(program)
                assert not program.uncovered
                program.hang_up()
            assert self.world.hub.subscribers == 0
        finally:
            self.patch.undo()

    def heal(self, program: Program) -> None:
        for other in self.programs:
            if other is not program and other.wire is not None:
                self.lose(other, explain_end(MAILBELLD))
        if program.wire is not None and program.wire.service is not self.service:
            self.lose(program, explain_silence(TIMEOUT, MAILBELLD))
        for _ in range(1000):
            if program.wire is None:
                self.wait_for_attempt(program)
                self.attempt(program)
            elif self.advance(program, 1 << 16, acts=True, stores=True):
                continue
            elif any(each.waiting for each in self.world.accounts.values()):
                self.go_on(self.world.interval)
            else:
                assert not program.uncovered & self.world.accounts.keys()
                self.check_everything_told(program)
                return
        raise AssertionError("it never comes to rest")

    def wait_for_attempt(self, program: Program) -> None:
        follower = program.follower or program.start()
        assert follower.retry_at <= self.world.now + Backoff.LONGEST, "it waits for too long"
        self.go_on(max(follower.retry_at - self.world.now, 0.0))

    # --- what rings -----------------------------------------------------------------------

    @rule(account=st.sampled_from(ACCOUNTS), origin=st.sampled_from(ORIGINS), read=st.booleans())
    def ring(self, account: str, origin: Origin, read: bool) -> None:
        self.uncover((account,))
        self.world.ring(account, origin, is_read=read)
        self.go_on(0.0)

    @rule(number=st.integers(0, len(GROUPS) - 1), read=st.booleans())
    def ring_group(self, number: int, read: bool) -> None:
        self.uncover(self.world.groups[number])
        self.world.ring_group(number, ORIGINS[1], is_read=read)
        self.go_on(0.0)

    def uncover(self, names: tuple[str, ...]) -> None:
        for program in self.programs:
            if program.is_promised:
                program.uncovered |= {*names} & program.names & self.world.accounts.keys()

    # --- time, and the daemon -----------------------------------------------------------------

    @rule(part=st.sampled_from(STEPS))
    def wait(self, part: float) -> None:
        self.go_on(part * self.world.interval)

    def go_on(self, seconds: float) -> None:
        self.world.go_on(seconds)
        for program in self.programs:
            if program.wire is not None:
                program.wire.pump()

    @rule(configured=st.integers(0, len(CONFIGURED) - 1), kept=st.none() | st.integers(0, 600))
    def restart(self, configured: int, kept: int | None) -> None:
        """The daemon ends. Of what is on its way, `kept` bytes of each connection arrive."""
        self.stop(kept)
        self.world.start(CONFIGURED[configured])
        self.start_service()

    @rule(configured=st.integers(0, len(CONFIGURED) - 1), who=WHO, steps=st.integers(0, 5))
    def restart_and_come_back(self, configured: int, who: int, steps: int) -> None:
        """A program notices at once, and connects to the next run."""
        self.restart(configured, kept=0)
        program = self.program(who)
        if program.wire is not None:
            self.lose(program, explain_end(MAILBELLD))
        self.connect_if_lost(program)
        for _ in range(steps):
            self.advance(program, 1 << 16, acts=True, stores=True)
        has_all = program.names <= self.world.accounts.keys()
        if has_all or (program.leaves_out and program.names & self.world.accounts.keys()):
            self.heal(program)

    @rule(kept=st.none() | st.integers(0, 600))
    def stop(self, kept: int | None) -> None:
        """The daemon ends, and for now there is none."""
        for program in self.programs:
            if program.wire is not None and program.wire.service is not None:
                program.wire.end(kept)
        if self.is_running:
            self.world.start()  # what this run knew is gone, and nothing rings until the next one
            self.is_running = False

    # --- programs -----------------------------------------------------------------------------

    @rule(who=WHO, is_hung=st.booleans())
    def connect(self, who: int, is_hung: bool) -> None:
        """It connects when it may, perhaps to a daemon that does not answer."""
        self.connect_if_lost(self.program(who), is_hung=is_hung)

    def connect_if_lost(self, program: Program, *, is_hung: bool = False) -> None:
        if program.wire is None:
            self.wait_for_attempt(program)
            self.attempt(program, is_hung=is_hung)

    def program(self, who: int) -> Program:
        return self.programs[who % len(self.programs)]

    @rule(
        who=WHO,
        steps=st.sampled_from([2, 2, 2, 0, 1, 3, 5]),
        kept=st.none() | st.integers(0, 300),
        before=st.none() | st.sampled_from(ACCOUNTS),
    )
    def connect_for_a_moment(
        self, who: int, steps: int, kept: int | None, before: str | None
    ) -> None:
        """The connection breaks after a few steps, and the program notices it at once."""
        if before is not None:
            self.ring(before, ORIGINS[1], read=True)
        program = self.program(who)
        self.connect_if_lost(program)
        for _ in range(steps):
            self.advance(program, 1 << 16, acts=True, stores=False)
        if program.wire is not None:
            program.wire.end(kept)
            self.lose(program, explain_end(MAILBELLD))

    @rule(
        who=WHO,
        accounts=st.lists(st.sampled_from(ACCOUNTS), min_size=1, max_size=4),
        again=st.none() | st.sampled_from(ACCOUNTS),
        steps=st.integers(1, 8),
    )
    def miss_some(self, who: int, accounts: list[str], again: str | None, steps: int) -> None:
        """It misses wake-ups, comes back, and loses the connection while it is told of them."""
        program = self.program(who)
        self.miss(program, accounts)
        if again is not None:
            self.wait(1.0)
            self.ring(again, ORIGINS[2], read=True)
        self.advance_and_lose(program, steps)

    @rule(who=WHO, before=st.integers(3, 6), after=st.integers(1, 20))
    def ring_during_a_round(self, who: int, before: int, after: int) -> None:
        """One of which it was told rings again before it is told of all that it missed."""
        program = self.program(who)
        self.miss(program, ACCOUNTS)
        self.advance_often(program, before)
        self.wait(1.0)
        for name in list(program.told)[:1]:
            self.ring(name, ORIGINS[2], read=True)
        self.advance_and_lose(program, after)
        self.heal(program)

    def miss(self, program: Program, accounts: Sequence[str]) -> None:
        """Ring accounts while a program is away, and let it connect."""
        if not self.is_running or len(self.world.accounts) < len(ACCOUNTS):
            self.restart(0, kept=0)
        self.heal(program)
        self.lose(program, explain_end(MAILBELLD))
        for account in accounts:
            self.ring(account, ORIGINS[1], read=True)
        self.connect_if_lost(program)

    def advance_and_lose(self, program: Program, times: int) -> None:
        self.advance_often(program, times)
        if program.wire is not None:
            self.lose(program, explain_end(MAILBELLD))

    def advance_often(self, program: Program, times: int) -> None:
        for _ in range(times):
            self.advance(program, 1 << 16, acts=True, stores=False)

    @rule(who=WHO, times=st.integers(1, 12))
    def find_no_daemon(self, who: int, times: int) -> None:
        """The daemon has ended, and is not back when the program looks, however often."""
        self.stop(0)
        program = self.program(who)
        if program.wire is not None:
            self.lose(program, explain_end(MAILBELLD))
        for _ in range(times):
            self.connect_if_lost(program)

    @rule(who=WHO, data=st.sampled_from([b"", b"\x00", b"junk\x00", b'{"parameters":{}}\x00']))
    def meet_another(self, who: int, data: bytes) -> None:
        """Another program listens in the daemon's place. It says nothing, or what no daemon says.

        One that does not answer is given up in time.
        """
        program = self.program(who)
        if program.wire is not None:
            self.lose(program, explain_end(MAILBELLD))
        is_running, self.is_running = self.is_running, True
        self.connect_if_lost(program, is_hung=True)
        self.is_running = is_running
        follower, wire = program.follower, program.wire
        assert follower is not None
        assert wire is not None
        if data:
            wire.sent.append(data)
            while program.wire is wire:
                assert self.advance(program, 1 << 16, acts=True, stores=False)
            return
        assert self.world.now < follower.patience <= self.world.now + TIMEOUT
        self.go_on(follower.patience - self.world.now)
        self.lose(program, explain_silence(TIMEOUT, MAILBELLD))

    def attempt(self, program: Program, *, is_hung: bool = False) -> None:
        follower = program.follower or program.start()
        program.attempts += 1
        if not self.is_running:
            program.attempts += 1
            number = (errno.ENOENT, errno.ECONNREFUSED, errno.EACCES)[program.attempts % 3]
            failure = explain_connect({"/run/here": OSError(number, "why")}, MAILBELLD)
            self.note_loss(program, failure)
            return
        program.wire = wire = Wire(None if is_hung else self.service)
        request = wire.call(follower.connect(self.world.now))
        program.told, program.missed, program.since = {}, set(), len(self.world.history)
        if request is None:
            return
        program.asked = {*request.accounts} or {*self.world.accounts}
        # It is left out of nothing that this daemon has.
        assert program.asked == program.names & self.world.accounts.keys()
        assert request.after == follower.cursor
        program.missed = self.missed_since(program, follower.cursor)
        if follower.cursor == self.world.hub.cursor:
            assert not program.missed
            assert b'"notification":null' in wire.sent[0] or b'"notification"' not in wire.sent[0]
        wire.pump()

    def missed_since(self, program: Program, after: Cursor | None) -> set[str]:
        if after is None:
            return set()
        if after.epoch != self.world.epoch or after.sequence < 0:
            return set(program.asked)
        return {name for name, _ in self.world.history[after.sequence :]} & program.asked

    @rule(who=WHO, most=st.sampled_from([1, 40, 1 << 16]), times=st.integers(1, 6))
    def read(self, who: int, most: int, times: int) -> None:
        for _ in range(times):
            self.advance(self.program(who), most, acts=True, stores=False)

    @rule(who=WHO, acts=st.booleans(), stores=st.booleans(), times=st.integers(1, 4))
    def read_whole(self, who: int, acts: bool, stores: bool, times: int) -> None:
        """It takes notifications, and perhaps dies with one in its hand."""
        for _ in range(times):
            self.advance(self.program(who), 1 << 16, acts=acts, stores=acts and stores)

    @rule(who=WHO)
    def store(self, who: int) -> None:
        program = self.program(who)
        if program.follower is not None:
            program.stored = program.follower.cursor

    @rule(who=WHO)
    def die(self, who: int) -> None:
        self.program(who).die()

    @rule(who=WHO, kept=st.none() | st.integers(0, 600))
    def cut(self, who: int, kept: int | None) -> None:
        """The connection breaks. Of what is on its way, `kept` bytes arrive."""
        wire = self.program(who).wire
        if wire is not None and wire.service is not None:
            wire.end(kept)

    # --- what a client does ---------------------------------------------------------------------

    def advance(self, program: Program, most: int, *, acts: bool, stores: bool) -> bool:
        """Do one thing, as the clients do; tell whether there was something to do."""
        follower, wire = program.follower, program.wire
        if follower is None or wire is None:
            return False
        if not follower.ready and not wire.is_readable:
            return False
        try:
            told = self.step(follower, wire, most)
            program.has_begun = program.has_begun or follower.established
        except MailbellError as error:
            self.lose(program, error)
            return True
        wire.pump()
        if told is not None:
            self.take(program, told, acts=acts)
        if stores and program.follower is not None:
            program.stored = follower.cursor
        return True

    def step(self, follower: Follower, wire: Wire, most: int) -> Notification | None:
        if not follower.ready:
            follower.receive_untrusted(wire.read(most))
        elif not follower.established:
            follower.establish_untrusted()
            assert follower.cursor is not None, "from now on nothing may be lost"
        else:
            return follower.take_untrusted()
        return None

    def lose(self, program: Program, error: MailbellError) -> None:
        program.hang_up()
        self.note_loss(program, error)

    def note_loss(self, program: Program, error: MailbellError) -> None:
        follower = program.follower
        assert follower is not None
        before = follower.cursor
        try:
            follower.note_loss(error, self.world.now)
        except MailbellError:
            assert not program.persists
            assert not (program.has_begun and isinstance(error, (*RETRIED, DataError)))
            program.die()
        else:
            assert follower.cursor == before
            assert follower.retry_at <= self.world.now + Backoff.LONGEST
            is_left_out = program.leaves_out and follower.retry_at == self.world.now
            assert is_left_out or follower.retry_at >= self.world.now + Backoff.SHORTEST
            if is_left_out:  # it asks for the others at once
                self.attempt(program)

    def take(self, program: Program, told: Notification, *, acts: bool) -> None:
        self.check_told(program, told)
        if acts:
            program.uncovered.discard(told.account)
        else:
            program.die()

    # --- what is promised -----------------------------------------------------------------

    def check_told(self, program: Program, told: Notification) -> None:
        name = told.account
        assert name in program.asked
        assert (told.cause is Cause.RESYNC) == (name in program.missed), "told without a cause"
        assert told.count > 0 or told.cause is Cause.RESYNC
        program.missed.discard(name)
        program.told[name] = program.told.get(name, 0) + told.count

    def counted_since(self, program: Program, name: str) -> int:
        later = self.world.history[program.since :]
        return sum(count for other, count in later if other == name)

    def check_everything_told(self, program: Program) -> None:
        """A program at rest was told of each notification since it connected, once."""
        assert program.follower is not None
        # Its cursor may be older: nobody tells it of wake-ups of accounts that it does not name.
        assert not self.missed_since(program, program.follower.cursor)
        assert not program.missed
        for name in program.asked:
            assert program.told.get(name, 0) == self.counted_since(program, name)

    @invariant()
    def no_connection_is_told_too_much(self) -> None:
        if not hasattr(self, "world"):
            return
        for program in self.programs:
            wire = program.wire
            if wire is not None and wire.source is not None:
                for name, count in program.told.items():
                    assert count <= self.counted_since(program, name)

    @invariant()
    def the_wake_ups_are_right(self) -> None:
        if hasattr(self, "world"):
            self.world.check()
            assert self.world.hub.subscribers <= PLACES

    @invariant()
    def what_a_program_knows_is_the_daemons_word(self) -> None:
        if not hasattr(self, "world"):
            return
        for program in self.programs:
            cursor = None if program.follower is None else program.follower.cursor
            if cursor is not None and cursor.epoch == self.world.epoch:
                assert cursor.sequence <= len(self.world.history)


Machine.TestCase.settings = settings(stateful_step_count=40, deadline=None)
TestSubscription = Machine.TestCase


def take_too_early(self: Follower) -> None:
    """Move the cursor when the answer arrives, and not when the program gets it."""
    answer = self._read_untrusted()
    self.established = self._found = True
    self._held = answer if answer.notification is not None else None
    self.cursor = answer.cursor


def tell_the_place_before(self: _Subscription) -> SubscribeReply:
    cursor = self._subscriber.cursor
    return SubscribeReply(cursor, self._subscriber.take())


def tell_the_end(self: _Subscription) -> SubscribeReply:
    return SubscribeReply(self._subscriber._wakeups.cursor, self._subscriber.take())


def end_a_round_too_late(self: Subscriber, place: int) -> None:
    """Count what came during a round as told in it."""
    self._next = self._difference(place)
    if self._next < 0:
        self._since = self._began = self._wakeups.sequence
        self._next = self._difference(0)
        if self._next < 0:
            self._rest()


@pytest.mark.long
@pytest.mark.parametrize(
    ("what", "name", "fault"),
    [
        (Follower, "establish_untrusted", take_too_early),
        (_Subscription, "next_reply", tell_the_place_before),
        (_Subscription, "next_reply", tell_the_end),
        (Subscriber, "_find", end_a_round_too_late),
    ],
)
def test_the_machine_notices_a_fault(
    what: type, name: str, fault: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(what, name, fault)
    assert notices(Machine)
