"""A mailbell-sender that does what a test tells it, and a status that such a one may have."""

from functools import partial

from harness.fake_daemon import STATUS as LISTENER_STATUS
from harness.fake_daemon import FakeDaemon, Peer, Scene

from mailbell.core.sender_outcome import InputOutcome, RingOutcome
from mailbell.interfaces.sender import (
    SENDER_SERVICE,
    RingResult,
    Watch,
    WatchReply,
)
from mailbell.interfaces.sender_status import (
    Account,
    Book,
    Cluster,
    ClusterNode,
    Latency,
    Status,
    Store,
    TargetState,
)

__all__ = ["CLUSTER", "STATUS", "FakeSender", "result", "watched"]

STATUS = Status(
    version="1.0",
    pid=4711,
    started=1_700_000_000_000_000,
    uptime=90_000_000,
    listening=("hook /run/mailbell-sender/hook",),
    inputs={outcome.value: 0 for outcome in InputOutcome} | {"accepted": 3, "malformed": 1},
    rings={outcome.value: 0 for outcome in RingOutcome} | {"sent": 2, "timeout": 1},
    latency=Latency(count=2, p50=400, p99=1200),
    accounts=(Account(name="anna@example.org", rings=3, last=RingOutcome.SENT, age=4_000_000),),
    accounts_listed=1,
    targets=(
        TargetState(
            target="192.0.2.7:79",
            attempts=2,
            sent=2,
            last=RingOutcome.SENT,
            age=4_000_000,
            took=300,
        ),
        TargetState(
            target="[2001:db8::7]:79",
            attempts=1,
            sent=0,
            last=RingOutcome.TIMEOUT,
            age=9_000_000,
            took=2_000_000,
            wait=21_000_000,
        ),
    ),
    targets_known=2,
    pending=1,
    backing_off=1,
    book=Book(accounts=1, addresses=2, capacity=100_000, evicted=0),
    store=Store(url="sqlite:///var/lib/mailbell-sender/state.db"),
    names={},
    companions={},
    connections=1,
    connections_limit=4096,
    sending=0,
    sending_limit=256,
    watchers=0,
    watchers_limit=16,
    local={"connected": 1},
    log_suppressed=0,
    sandbox=LISTENER_STATUS.sandbox,
)

FakeSender = partial(FakeDaemon, service=SENDER_SERVICE)
"""Listens and plays scenes, as `FakeDaemon` does."""


def result(
    account: str = "anna@example.org",
    target: str | None = "192.0.2.7:79",
    outcome: RingOutcome = RingOutcome.SENT,
    milliseconds: float = 0.4,
) -> RingResult:
    """Return what a watcher is told of one ring."""
    return RingResult(account=account, target=target, outcome=outcome, milliseconds=milliseconds)


def watched(
    *replies: WatchReply, asked: Watch | None = None, then: Scene = Peer.wait_closed
) -> Scene:
    """Return a scene: a call of `Watch`, its first answer, these answers, and then the rest."""

    def scene(peer: Peer) -> None:
        method = peer.method()
        assert asked is None or method == asked
        for one in (WatchReply(), *replies):
            peer.reply(one, continues=True)
        then(peer)

    return scene


CLUSTER = Cluster(
    node="mx1",
    failing=None,
    nodes=(
        ClusterNode(name="mx1", lives=True, taken=12, waiting=3, lag=2_500),
        ClusterNode(name="mx2", lives=False, taken=0, waiting=7, lag=0),
    ),
    alone=4,
    waiting=5,
    dropped=6,
    refused=8,
)
"""What one node tells of a cluster of two, the other of which is dead."""
