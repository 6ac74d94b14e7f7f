"""From a mail server's word to the ring: nothing is owed for longer than the sender promises.

The real reception, bell, address book, schedule and store, without processes and sockets. The
machine plays mail servers, users, targets and the disk. It ends the sender in order, kills it at
any moment, also between two writes and within one, and lets the machine sleep and boot.
"""

from collections.abc import Iterable
from typing import Final

import pytest
from harness.naive_debts import Network
from harness.noticing import notices
from harness.sender_parts import BOB, ROOT, Sizes
from harness.sender_runs import ADDRESSES, DESKS, NAMES, Plan
from harness.sender_world import PAUSE, SenderWorld
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mailbell.core.networks import Address
from mailbell.core.sender_outcome import InputOutcome
from mailbell.sender import daemon
from mailbell.sender._hook_server import TOGETHER
from mailbell.sender._late_rings import LATE
from mailbell.sender._requests import NewMail
from mailbell.sender._requests import Seen as Login
from mailbell.sender._schedule import Call, Schedule
from mailbell.sender._store import Store

# The modules have tests of their own for each branch.
pytestmark = pytest.mark.uncounted

REFUSED: Final = tuple(map(Address.parse, ("203.0.113.9", "127.0.0.1")))
SECONDS: Final = st.sampled_from([0.0, 0.05, 0.3, 1.0, 2.0, 7.0, 31.0, 60.0, 700.0])
PLANS: Final = st.none() | st.tuples(
    st.integers(0, 4), st.none() | st.sampled_from([0.0, 0.5, 1.0])
)
SIZES: Final = st.builds(
    Sizes,
    interval=st.sampled_from([0.5, 2.0, 60.0]),
    backoff=st.sampled_from([(1.0, 8.0), (30.0, 600.0), (5.0, 5.0)]),
    rate=st.sampled_from([5.0, 1000.0, 1000.0]),
    connections=st.sampled_from([1, 2, 256, 256]),
    deadline=st.sampled_from([0.1, 2.0]),
    ttl=st.sampled_from([62.0, 1800.0]),
    addresses=st.integers(1, 2),
    accounts=st.sampled_from([2, 3, 100]),
)


class Machine(SenderWorld, RuleBasedStateMachine):
    @initialize(sizes=SIZES)
    def begin(self, sizes: Sizes) -> None:
        self.boot(sizes)

    def teardown(self) -> None:
        """In the end all targets answer and the disk has room. Nothing is owed, and all is kept."""
        if not hasattr(self, "parts"):
            return
        try:
            self.set_disk(is_full=False)
            for address in ADDRESSES:
                self.set_network(address, Network.ANSWERS)
            rung, stored = self.latest + self.sizes.interval + 1, 2 * daemon.RETRY
            self.run_until(self.clocks.now + max(rung, stored))
            steady = self.clocks.steady()
            assert not any(state.promised(steady) for state in self.states.values())
            schedule = self.parts.schedule
            assert (schedule.pending, schedule.backing_off, schedule.in_flight) == (0, 0, 0)
            assert self.parts.store.status().working
            self.it_knows_who_was_seen_where()
            self.kill(is_boot=False, away=0.0)
        finally:
            self.shut_down()

    @rule(is_boot=st.booleans(), away=st.sampled_from([0.0, 5.0, 61.0]))
    def kill(self, is_boot: bool, away: float) -> None:
        """It is killed. The next run rings every account that has a target."""
        owed = NAMES if self.is_marked else ()
        self.be_away(is_boot, away)
        self.start(owed)

    @rule(at_end=PLANS, at_start=PLANS, is_boot=st.booleans())
    def end(self, at_end: Plan | None, at_start: Plan | None, is_boot: bool) -> None:
        self.end_run(at_end, at_start, is_boot=is_boot)

    @rule(name=st.sampled_from(NAMES), address=st.sampled_from(DESKS), at_end=PLANS, at_start=PLANS)
    def end_while_one_waits(
        self, name: str, address: Address, at_end: Plan | None, at_start: Plan | None
    ) -> None:
        """The target does not answer. What waits for it is rung by the next run."""
        self.note_login(name, address)
        for each in ADDRESSES:
            self.set_network(each, Network.IS_SILENT)
        self.deliver(name, ROOT)
        self.wait(1.0)
        self.end_run(at_end, at_start)
        for each in ADDRESSES:
            self.set_network(each, Network.ANSWERS)

    @rule(name=st.sampled_from(NAMES), address=st.sampled_from(DESKS), seconds=SECONDS)
    def lack_room(self, name: str, address: Address, seconds: float) -> None:
        """A login that cannot be written is written when there is room, unless it ends before."""
        self.set_disk(is_full=True)
        self.note_login(name, address)
        self.wait(seconds)
        self.set_disk(is_full=False)
        self.wait(2 * daemon.RETRY)

    # --- what may happen ----------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), by=st.sampled_from([ROOT, BOB]))
    def deliver(self, name: str, by: int) -> None:
        """Mail comes, and a mail server or a user says so."""
        outcome = self.take(NewMail(name), by)
        if outcome is InputOutcome.ACCEPTED:
            assert by == ROOT or name == "bob"
            self.owe(name, self.clocks.now)
        elif outcome is InputOutcome.RATE_LIMITED:
            assert by == BOB
            self.owe(name, self.clocks.now + LATE + TOGETHER)
        self.run_until(self.clocks.now)

    @rule(
        name=st.sampled_from(NAMES),
        gaps=st.lists(st.sampled_from([0.0, 0.04, 0.2, 1.5, 3.0, 40.0]), max_size=8),
    )
    def deliver_often(self, name: str, gaps: list[float]) -> None:
        for seconds in gaps:
            self.deliver(name, BOB if name == "bob" else ROOT)
            self.wait(seconds)

    @rule(
        gaps=st.lists(st.sampled_from([0.0, 0.05, 0.4, 0.8]), min_size=3, max_size=9),
        ends=st.booleans(),
    )
    def deliver_over_the_limit(self, gaps: list[float], ends: bool) -> None:
        """A user who is not trusted says more than he may. The last of it is rung all the same."""
        for seconds in gaps:
            self.wait(seconds)
            self.deliver("bob", BOB)
        if ends:
            self.end_run(None, None)
        self.wait(3.0)

    @rule()
    def deliver_to_nobody(self) -> None:
        assert self.take(NewMail("gone@example.org"), ROOT) is InputOutcome.DISABLED

    @rule(
        name=st.sampled_from(NAMES),
        address=st.sampled_from(DESKS),
        plan=PLANS,
    )
    def log_in(self, name: str, address: Address, plan: Plan | None) -> None:
        """A user looks for mail. The sender may be killed while it notes that."""
        if self.dies_at(plan, lambda: self.note_login(name, address)):
            self.kill(is_boot=False, away=0.0)
        else:
            self.run_until(self.clocks.now)

    @rule(
        name=st.sampled_from(NAMES),
        address=st.sampled_from(DESKS),
        visits=st.lists(
            st.tuples(
                st.sampled_from(Network),
                st.booleans(),
                st.sampled_from([0.0, 0.05, 1.0, 9.0, 40.0, 700.0]),
            ),
            min_size=2,
            max_size=6,
        ),
    )
    def come_and_go(
        self, name: str, address: Address, visits: list[tuple[Network, bool, float]]
    ) -> None:
        """A laptop is opened and closed while mail comes, and its user looks for mail at times."""
        self.note_login(name, address)
        for network, looks, seconds in visits:
            self.set_network(address, network)
            self.deliver(name, ROOT)
            if looks:
                self.note_login(name, address)
            self.wait(seconds)

    @rule(name=st.sampled_from(NAMES), address=st.sampled_from(DESKS))
    def fail_and_recover(self, name: str, address: Address) -> None:
        """After a success the back-off begins with its shortest delay."""
        self.note_login(name, address)
        for network in (Network.REFUSES, Network.ANSWERS) * 2:
            self.set_network(address, network)
            self.deliver(name, ROOT)
            self.wait(self.sizes.interval + 2 * self.sizes.backoff[0])

    @rule(name=st.sampled_from(NAMES), address=st.sampled_from(REFUSED))
    def log_in_from_nowhere(self, name: str, address: Address) -> None:
        assert self.take(Login(name, address), ROOT) is InputOutcome.REFUSED_ADDRESS

    @rule(address=st.sampled_from(ADDRESSES), network=st.sampled_from(Network))
    def set_network(self, address: Address, network: Network) -> None:
        if self.network[address] is not network:
            self.network[address], self.since[address] = network, self.clocks.now

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.run_until(self.clocks.now + seconds)

    @rule(seconds=SECONDS)
    def sleep(self, seconds: float) -> None:
        """The machine sleeps: addresses grow old meanwhile, and nothing else goes on."""
        self.clocks.sleep(seconds)
        self.run_until(self.clocks.now)

    @rule(name=st.sampled_from(NAMES), is_asleep=st.booleans())
    def wait_for_the_last_moment(self, name: str, is_asleep: bool) -> None:
        """Until a login is exactly as old as it may be."""
        steady = self.clocks.steady()
        for seen in self.book.fresh(name, steady)[:1]:
            rest = self.sizes.ttl - (steady - seen.time)
            self.sleep(rest) if is_asleep else self.wait(rest)

    @rule(is_full=st.booleans())
    def set_disk(self, is_full: bool) -> None:
        self.disk.is_full = is_full
        self.full_since = self.clocks.now

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0]))
    def lack_descriptors(self, seconds: float) -> None:
        """For a while this machine can make no connection."""
        self.has_shortage = True
        self.run_until(self.clocks.now + seconds)
        self.has_shortage = False
        for address in ADDRESSES:
            self.since[address] = max(self.since[address], self.clocks.now + PAUSE)

    # --- what is promised -----------------------------------------------------------------

    @invariant()
    def it_knows_who_was_seen_where(self) -> None:
        if not hasattr(self, "parts"):
            return
        steady = self.clocks.steady()
        for name in NAMES:
            expected = [(each.address, each.time) for each in self.book.fresh(name, steady)]
            assert self.parts.book.logins(name, steady) == tuple(expected)
        status = self.parts.store.status()
        if status.working:
            self.is_marked = True
            assert not status.unsaved
            self.book.note_saved()
        elif not self.disk.is_full:
            assert self.clocks.now <= self.full_since + 2 * daemon.RETRY

    @invariant()
    def its_memory_is_bounded(self) -> None:
        if not hasattr(self, "parts"):
            return
        parts = self.parts
        assert parts.schedule.in_flight == len(self.flights) <= self.sizes.connections
        assert parts.schedule.known <= len(self.states)
        assert len(parts.book) <= self.sizes.accounts
        assert parts.book.sightings <= len(parts.book) * self.sizes.addresses
        assert parts.store.status().unsaved <= len(NAMES)
        assert len(parts.reception.late._held) <= 1


Machine.TestCase.settings = settings(stateful_step_count=30, deadline=None)
TestBook = Machine.TestCase


def note_the_end_in_two_steps(self: Store, pending: Iterable[str]) -> None:
    self._execute("DELETE FROM run")
    for account in pending:
        self._execute("INSERT OR REPLACE INTO pending VALUES (?)", (account,))


def forget_who_waits(self: Schedule, call: Call) -> None:
    call.served = call.accounts = ()


@pytest.mark.long
@pytest.mark.parametrize(
    ("what", "name", "fault"),
    [
        (Store, "_end_run", note_the_end_in_two_steps),
        (Store, "_remember", lambda *_: None),
        (Schedule, "_take_back", forget_who_waits),
    ],
)
def test_the_machine_notices_a_fault(
    what: type, name: str, fault: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(what, name, fault)
    assert notices(Machine)
