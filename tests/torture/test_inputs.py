"""Inputs to the real daemons: nothing differs; and what is wrong is found, with its input."""

import re
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest
from harness.daemon import Daemon

from torture.inputs import limited, listener, sender, sender_plan, work
from torture.inputs.__main__ import main
from torture.inputs.channel import Channel, Judge, Round, Speaks, Verdict
from torture.inputs.line_model import ByGrammar
from torture.inputs.lines import make_connection
from torture.inputs.run import again, run, run_inputs
from torture.inputs.speaking import Ends, Input, Said, build
from torture.inputs.work import Tally, Work

pytestmark = pytest.mark.long

SEED = 41
# A fake mailbelld: the real one, which counts certain bytes as something else, or ends with them.
FAKE = """
import os, sys
from mailbell.core.outcome import Outcome
from mailbell.listener import _admission
from mailbell.cli.mailbelld import main

guilty, is_deadly = bytes.fromhex(os.environ["GUILTY"]), "DEADLY" in os.environ
counting = _admission.Admission._refuse

def miscounting(self, outcome, caller, data):
    if data == guilty:
        if is_deadly:
            os._exit(3)
        outcome = Outcome.RESET
    return counting(self, outcome, caller, data)

_admission.Admission._refuse = miscounting
main()
"""


@pytest.fixture(autouse=True)
def built() -> None:
    build()


def small(channel: Channel, size: int) -> Channel:
    # The local sockets permit a user few calls.
    return replace(channel, size=min(size, channel.size))


def run_all(channels: Sequence[Channel], size: int) -> list[Round]:
    """Run a small round of each channel."""
    return [
        Round(small(each, size), small(each, size).inputs(Random(SEED))).run() for each in channels
    ]


@pytest.mark.parametrize(
    "plan",
    [
        listener.Plan(),
        listener.Plan(("crlf", "lf", "eof"), is_listed=True),
        listener.Plan(("lf",), is_hasty=True),
    ],
)
def test_mailbelld_counts_as_the_models_say(open_path: Path, plan: listener.Plan) -> None:
    with listener.listening(open_path, plan) as program:
        rounds = run_all(program.channels(), 300)
    assert [each.wrong for each in rounds] == [[]] * 5
    assert all(each.expected and each.expected.inputs >= 30 for each in rounds)


def test_limits_are_kept_to_the_token(open_path: Path) -> None:
    with limited.limiting(open_path, limited.Plan("1/h", 3)) as program:
        tcp, udp = run_all(program.channels(), 600)
    assert (tcp.wrong, udp.wrong) == ([], [])
    # No token comes back within an hour. So no decision depends on the time.
    assert tcp.expected
    assert tcp.expected.unsure == 0
    assert tcp.expected.lacks({"rate_limited": 100})


def test_limits_are_kept_while_tokens_come_back(open_path: Path) -> None:
    with limited.limiting(open_path, limited.Plan("20/s", 3)) as program:
        rounds = run_all(program.channels(), 600)
    assert [each.wrong for each in rounds] == [[], []]


@pytest.mark.parametrize("is_trusted", [True, False])
def test_mailbell_sender_counts_as_the_models_say(open_path: Path, is_trusted: bool) -> None:
    with sender.sending(open_path, sender_plan.Plan(is_trusted)) as program:
        rounds = run_all(program.channels(), 60)
    assert [each.wrong for each in rounds] == [[]] * 5


@dataclass
class Changed:
    """A program whose channels are changed."""

    program: work.Program
    change: Callable[[Channel], Channel]

    @property
    def daemon(self) -> "Daemon":
        assert isinstance(self.program.daemon, Daemon)
        return self.program.daemon

    def channels(self) -> list[Channel]:
        return [self.change(each) for each in self.program.channels()[:1]]


def starting(
    change: Callable[[Channel], Channel], program: Sequence[str] = (), **environ: str
) -> work.Start:
    """Return what starts a mailbelld with changed channels, or another program as one."""

    @contextmanager
    def start(rng: Random, directory: Path) -> Iterator[list[work.Program]]:
        plan = listener.Plan()
        with listener.listening(directory, plan, program, environ) as running:
            yield [Changed(running, change)]

    return start


def swapped(judge: Judge) -> Judge:
    """Return a model that takes each of two outcomes for the other one."""
    other = {"truncated": "bad_terminator", "bad_terminator": "truncated"}

    def judge_wrongly(said: Input) -> Sequence[Verdict]:
        return [tuple(other.get(name, name) for name in verdict) for verdict in judge(said)]

    return judge_wrongly


def found(start: work.Start, size: int = 500) -> Tally:
    tally = Tally()
    Work(SEED, size=size, tally=tally, start=start).run(0)
    return tally


def test_a_model_with_two_outcomes_swapped_is_found(open_path: Path) -> None:
    def change(channel: Channel) -> Channel:
        return replace(channel, size=500, judges=[swapped(each) for each in channel.judges])

    tally = found(starting(change))
    assert tally.disagreements == 1
    failure = tally.failures[0]
    assert re.search(r"truncated \d+ instead of \d+", failure)
    assert "of 500 enough is b'nm_" in failure or "of 500 enough is b'n" in failure
    # The line says how to see it again.
    where = re.search(rf"again: --seed {SEED} --only (\d+)/(\d+)$", failure)
    assert where
    repeated = again(int(where[1]), int(where[2]), SEED, starting(change))
    assert list(repeated.failures) == tally.failures
    assert not repeated.is_right


def test_a_model_that_alone_is_wrong_is_found_without_counters(open_path: Path) -> None:
    def change(channel: Channel) -> Channel:
        first, second = channel.judges
        return replace(channel, size=200, judges=[first, swapped(second)])

    tally = found(starting(change), 200)
    assert tally.disagreements == 1
    assert "the models differ: " in tally.failures[0]
    assert "of 200 enough is b'n" in tally.failures[0]


def one_of_a_thousand() -> tuple[list[Input], Input]:
    """Return inputs, and one whose first bytes no other one has and that surely is refused."""
    rng = Random(SEED)
    model = ByGrammar(["crlf"])
    inputs = [make_connection(rng, model.is_decided, 0x7F010001) for _ in range(1000)]
    read = [each.data[:16] for each in inputs]
    guilty = next(
        each
        for each in inputs[500:]
        if read.count(each.data[:16]) == 1 and model.stream(each) == ("mismatch",)
        and each.ends is not Ends.LEAVES and len(each.pieces) == 1
    )  # fmt: skip
    return inputs, guilty


def test_a_daemon_that_miscounts_one_in_a_thousand_is_found(open_path: Path) -> None:
    inputs, guilty = one_of_a_thousand()
    environ = {"GUILTY": guilty.data[:16].hex()}
    with listener.listening(open_path, listener.Plan(), ("-c", FAKE), environ) as program:
        this = Round(program.channels()[0], inputs).run()
        assert [re.sub(r"\d+", "N", line) for line in this.wrong] == [
            "mismatch N instead of N", "reset N instead of N",
        ]  # fmt: skip
        assert list(this.shrink()) == [guilty]


def test_a_daemon_that_ends_is_found(open_path: Path) -> None:
    _, guilty = one_of_a_thousand()

    def change(channel: Channel) -> Channel:
        def make(rng: Random) -> Input:
            return guilty

        return replace(channel, size=50, make=make)

    environ = {"GUILTY": guilty.data[:16].hex(), "DEADLY": "1"}
    tally = found(starting(change, ("-c", FAKE), **environ))
    assert tally.ended == 1
    assert "ended with 3" in tally.failures[0]


class Unpaced:
    """Sends datagrams to a daemon that does not read meanwhile, more than its queue holds."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._endpoint = daemon.endpoint("udp")
        self._count = 0

    def say(self, inputs: Iterable[Input]) -> "Unpaced":
        self._daemon.process.send_signal(signal.SIGSTOP)
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("127.1.0.1", 0))
            sock.connect(self._endpoint)
            for said in inputs:
                sock.send(said.data)
                self._count += 1
        self._daemon.process.send_signal(signal.SIGCONT)
        return self

    def wait(self) -> Said:
        times = [0] * self._count
        return Said(times, times, (), 0)


def test_a_daemon_that_does_not_answer_is_found(open_path: Path) -> None:
    class Stopping:
        def say(self, _: Iterable[Input]) -> Speaks:
            raise TimeoutError("timed out")

    def change(channel: Channel) -> Channel:
        return replace(channel, size=50, target=Stopping())

    tally = found(starting(change))
    assert tally.ended == 1
    assert "does not answer: TimeoutError('timed out')" in tally.failures[0]


def test_datagrams_that_the_kernel_loses_are_a_difference(open_path: Path) -> None:
    with listener.listening(open_path, listener.Plan()) as program:
        udp = next(each for each in program.channels() if "udp ipv4" in each.name)
        line = Input((b"nm_notifyuser\r\n",), source=0x7F010001)
        assert Round(udp, [line] * 20_000).run().wrong == []
        lossy = replace(udp, target=Unpaced(program.daemon))
        lost = Round(lossy, [line] * 20_000).run()
    accepted, dropped = lost.wrong
    assert re.fullmatch(r"accepted \d+ instead of 20000", accepted)
    assert re.fullmatch(r"kernel_dropped [1-9]\d+ instead of 0", dropped)


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    state = tmp_path / "state"
    lines: list[str] = []
    first = run_inputs(1000, SEED, lines.append, size=1000, state=state)
    assert first.is_right
    assert first.figures[0].value >= 1000
    # It is complete already.
    assert run_inputs(1000, SEED, lines.append, state=state) == first
    with pytest.raises(ValueError, match=f"--seed {SEED}"):
        run_inputs(1000, SEED + 1, lines.append, state=state)


def test_a_run_of_a_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seconds", "2", "--seed", str(SEED)]) == 0
    said = capsys.readouterr().out
    assert f"seed {SEED}" in said
    assert re.search(r"^ +0 +disagreements$", said, re.MULTILINE)
    report = run(0.0, SEED, print)
    assert [each.name for each in report.figures if each.must_be == 0] == [
        "disagreements", "daemons that ended", "faults that a daemon logged",
    ]  # fmt: skip
