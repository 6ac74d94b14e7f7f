"""The benchmark of the hook runs, and fails where a hook was lost."""

from pathlib import Path

import pytest

from bench.processes import Failed
from bench.section import SMOKE
from bench.workloads import hook


def test_it_measures_both_and_the_queue() -> None:
    found = hook.measure(SMOKE)
    values = {row.name: row.value.median for row in found.rows}
    assert len(values) == 6
    assert min(values.values()) > 0
    assert [target.what for target in found.targets] == [
        "CPU, mailbell-hook / bare interpreter",
        "memory, mailbell-hook / bare interpreter",
        "elapsed, sender stopped / running",
    ]
    # The hook loads next to nothing, whatever else runs here.
    memory = found.targets[1]
    assert memory.met


def test_a_hook_that_is_lost_is_no_result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "hook"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(hook, "_HOOK", str(program))
    with pytest.raises(Failed, match="of 6 hooks the sender was told 0"):
        hook.measure(SMOKE)
    program.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(Failed, match="did not end with 0"):
        hook.measure(SMOKE)
    program.unlink()
    with pytest.raises(Failed, match="there is no"):
        hook.measure(SMOKE)
