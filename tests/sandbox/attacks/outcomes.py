"""What may come of an attack, given the layers that should stop it and those in force."""

from collections.abc import Sequence
from pathlib import Path

from sandbox.attacks.attempts import SUCCEEDED
from sandbox.attacks.layers import Layer, Run
from sandbox.attacks.matrix import Stop

from mailbell._sys import landlock
from mailbell._sys._libc import prctl

__all__ = ["possible"]

PR_GET_MDWE = 66


class _Anything:
    def __contains__(self, outcome: object) -> bool:
        return True


def possible(expected: Sequence[Stop], run: Run, works: bool) -> set[str] | _Anything:
    """The possible results of an attack.

    Of the layers in force, the first one that stops it answers. If not every kernel has that
    layer, the next one may answer too, and so on.

    Args:
        expected: which layers stop it, in the order in which the kernel reaches them.
        run: the layers in force.
        works: whether it succeeds without any layer.
    """
    stops = [stop for stop in expected if stop.layer in run.layers]
    if not works and (not stops or stops[0].layer is not Layer.FILTER):
        return _Anything()  # it failed before, for another reason
    outcomes = set()
    for stop in stops:
        outcomes.add(stop.how)
        if _is_there(stop):
            return outcomes
    return outcomes | {SUCCEEDED}


def _is_there(stop: Stop) -> bool:
    """Whether this kernel certainly has the layer."""
    if stop.layer is Layer.LANDLOCK and stop.since > landlock.abi():
        return False
    if stop.layer is Layer.MEMORY and not _has_mdwe():
        return False
    if stop.setting and int(Path("/proc/sys", stop.setting).read_text()) <= 0:
        return False
    return stop.reliable


def _has_mdwe() -> bool:
    try:
        prctl(PR_GET_MDWE)
    except OSError:
        return False
    return True
