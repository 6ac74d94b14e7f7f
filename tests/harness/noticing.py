"""Whether a state machine of Hypothesis notices a fault: one that cannot fail shows nothing."""

from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

__all__ = ["notices"]

_run: Any = run_state_machine_as_test  # the oldest Hypothesis that is supported gives no type


def notices(machine: type[RuleBasedStateMachine], examples: int = 2000) -> bool:
    """Run a machine over code with a fault; return whether it fails.

    Args:
        machine: the machine. The caller has put the fault into the code.
        examples: how many are tried at most. They are the same in each run with one version of
            Hypothesis; another one needs more of them or fewer.
    """
    steps = machine.TestCase.settings.stateful_step_count
    how = settings(
        max_examples=examples,
        stateful_step_count=steps,
        phases=[Phase.generate],
        derandomize=True,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    try:
        _run(machine, settings=how)
    except (AssertionError, LookupError, ExceptionGroup):
        return True
    return False
