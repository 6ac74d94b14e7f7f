"""Talks to a local socket: one connection after the other, and each answer is compared."""

import json
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Final

from torture.inputs.call_model import Exchange, verdicts
from torture.inputs.calls import make_talk
from torture.inputs.channel import Channel, Verdict, Watched
from torture.inputs.counting import Expected
from torture.inputs.speaking import Input, Said

__all__ = ["LocalSocket", "make_channel"]

PATIENCE: Final = 30.0  # seconds until an answer must be complete


def make_channel(
    name: str,
    *,
    size: int,
    path: str,
    interface: str,
    models: Sequence[Callable[[Input], Exchange]],
    watch: Callable[[], Watched],
) -> Channel:
    """Return the way to speak to a local socket.

    Args:
        name: of the channel.
        size: connections of a round.
        path: of the socket.
        interface: of the daemon.
        models: say what it answers.
        watch: reads the daemon, without the calls that read it.
    """
    return Channel(
        name=name,
        size=size,
        target=LocalSocket(path, models[0]),
        make=partial(make_talk, interface),
        judges=[partial(_judge, model) for model in models],
        watch=watch,
        total=_total,
    )


def _judge(model: Callable[[Input], Exchange], said: Input) -> Sequence[Verdict]:
    found = model(said)
    # The models must agree on the answers too. An answer counts as nothing.
    return [*verdicts(found), *(() for _ in found.replies)]


def _total(inputs: Sequence[Input], judged: Sequence[Sequence[Verdict]], said: Said) -> Expected:
    del inputs, said
    expected = Expected()
    for verdict in chain.from_iterable(judged):
        expected.add(verdict)
    # The calls that were answered, and the end of each connection.
    expected.inputs = sum(1 + each.count(()) for each in judged)
    return expected


@dataclass(frozen=True, slots=True)
class LocalSocket:
    """The local socket of a daemon.

    Attributes:
        path: of the socket.
        model: says what it answers.
    """

    path: str
    model: Callable[[Input], Exchange]

    def say(self, inputs: Iterable[Input]) -> "_Talks":
        """Begin to talk.

        Args:
            inputs: a connection each.
        """
        return _Talks(self, tuple(inputs))


class _Talks:
    """Connections that are made when somebody waits for them."""

    def __init__(self, place: LocalSocket, inputs: tuple[Input, ...]) -> None:
        self._place = place
        self._inputs = inputs

    def wait(self) -> Said:
        """Talk, and return what went wrong."""
        began, ended, faults = [], [], []
        for said in self._inputs:
            began.append(time.monotonic_ns())
            answer = _talk(self._place.path, said)
            ended.append(time.monotonic_ns())
            wanted = self._place.model(said)
            if not _fits(answer, wanted):
                faults.append(f"answered {answer} instead of {list(wanted.replies)} to {said}")
        return Said(began, ended, tuple(faults), 0)


def _talk(path: str, said: Input) -> list[str]:
    """Say all of it, and return the errors of the answers; "" stands for a result."""
    answers = bytearray()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(path)
        try:
            for piece in said.pieces:
                sock.sendall(piece)
            sock.shutdown(socket.SHUT_WR)
            while chunk := sock.recv(65_536):
                answers += chunk
        except (BrokenPipeError, ConnectionResetError):
            # The daemon has closed before all was said. What it has answered may be lost.
            return [*_errors(bytes(answers)), "closed"]
    return _errors(bytes(answers))


def _errors(answers: bytes) -> list[str]:
    replies: list[dict[str, Any]] = [json.loads(each) for each in answers.split(b"\0") if each]
    return [str(reply.get("error", "")) for reply in replies]


def _fits(answer: list[str], wanted: Exchange) -> bool:
    """Tell whether the answers are those that the model says."""
    if answer[-1:] == ["closed"]:
        return answer[:-1] == list(wanted.replies[: len(answer) - 1])
    if wanted.end == "too_fast":
        return answer in ([], list(wanted.replies))
    if wanted.streams:  # the end may come before the answer, or a notification after it
        least = list(wanted.replies[:-1])
        return answer[: len(least)] == least and not any(answer[len(least) :])
    return answer == list(wanted.replies)
