"""`mailbell notify`."""

import pytest
from cli.support import FakeDaemon, Run


@pytest.mark.parametrize(("line", "account"), [([], "default"), (["work"], "work")])
def test_it_rings_and_says_nothing(
    run: Run, daemon: FakeDaemon, line: list[str], account: str
) -> None:
    result = run("mailbell", "notify", *line)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert daemon.calls == [("Notify", {"account": account})]


def test_an_account_that_is_not_there_is_64(run: Run, daemon: FakeDaemon) -> None:
    result = run("mailbell", "notify", "holiday")
    assert result.returncode == 64
    assert "holiday" in result.stderr
    assert result.stderr.count("\n") == 1


def test_no_daemon_is_69(run: Run) -> None:
    assert run("mailbell", "notify").returncode == 69
