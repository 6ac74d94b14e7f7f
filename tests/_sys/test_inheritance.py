"""What a process keeps of the things that it inherits."""

import os
import resource
import socket
from itertools import chain, combinations

import pytest
from harness.child import run

from mailbell._sys.inheritance import close_inherited

SUBSETS = list(chain.from_iterable(combinations((0, 1), n) for n in range(3)))


def opened() -> dict[int, str]:
    """Return this process's descriptors, without the one that reads the list."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    return found


@pytest.mark.parametrize("missing", SUBSETS, ids=str)
def test_standard_input_and_output_lead_nowhere_and_nothing_else_is_kept(
    missing: tuple[int, ...],
) -> None:
    def body() -> dict[int, str]:
        extra = socket.socketpair()
        for descriptor in missing:
            os.close(descriptor)
        close_inherited({}, os.getpid())
        for end in extra:
            end.detach()
        return opened()

    ended = run(body)
    assert ended.error is None
    assert {n: ended.value[n] for n in (0, 1)} == {0: "/dev/null", 1: "/dev/null"}
    assert set(ended.value) == {0, 1, 2}


def test_a_missing_standard_error_is_filled_before_a_socket_can_take_its_number() -> None:
    def body() -> None:
        kept = os.dup(2)
        os.close(2)
        close_inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(kept - 2)}, os.getpid())
        taken = os.readlink("/proc/self/fd/2")
        os.dup2(kept, 2)  # the pipe to the test
        assert taken == "/dev/null", taken

    assert run(body).error is None


def test_what_was_opened_before_the_limit_was_lowered_is_not_kept() -> None:
    def body() -> set[int]:
        os.dup2(2, 200)
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        close_inherited({}, os.getpid())
        return set(opened())

    assert run(body).value == {0, 1, 2}


@pytest.mark.parametrize(
    ("pid", "count", "kept"),
    [
        ("mine", "2", {3, 4}),
        ("1", "2", set()),
        ("mine", "many", set()),
        ("mine", "-1", set()),
        ("mine", "9" * 5000, set()),
    ],
)
def test_what_a_service_manager_passes_is_kept(pid: str, count: str, kept: set[int]) -> None:
    def body() -> set[int]:
        ends = socket.socketpair(), socket.socketpair()
        copies = [os.dup(end.fileno()) for pair in ends for end in pair]
        high = [os.dup2(copy, 200 + place) for place, copy in enumerate(copies)]
        for place, copy in enumerate(high):
            os.dup2(copy, 3 + place)
        own = str(os.getpid()) if pid == "mine" else pid
        close_inherited({"LISTEN_PID": own, "LISTEN_FDS": count}, os.getpid())
        for pair in ends:
            for end in pair:
                end.detach()
        return set(opened()) - {0, 1, 2}

    assert run(body).value == kept
