"""`mailbell notify`."""

from cli.support import FakeDaemon, Run


def test_it_rings_and_says_nothing(run: Run, daemon: FakeDaemon) -> None:
    result = run("mailbell", "notify", "work")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert daemon.calls == [("Notify", {"account": "work"})]


def test_the_only_account_needs_no_name(run: Run, daemon: FakeDaemon) -> None:
    daemon.status |= {"accounts": daemon.status["accounts"][:1], "accounts_total": 1}
    result = run("mailbell", "notify")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert daemon.calls == [("GetStatus", {}), ("Notify", {"account": "work"})]


def test_which_of_several_accounts_has_to_be_said(run: Run, daemon: FakeDaemon) -> None:
    result = run("mailbell", "notify")
    assert result.returncode == 64
    assert result.stderr == "mailbell: there are 2 accounts; name one of work, private\n"
    assert [method for method, _ in daemon.calls] == ["GetStatus"]


def test_of_many_accounts_some_are_named(run: Run, daemon: FakeDaemon) -> None:
    accounts = [{"name": f"a{n}", "count": 0, "time": None} for n in range(30)]
    daemon.status |= {"accounts": accounts, "accounts_total": 1000}
    result = run("mailbell", "notify")
    assert result.returncode == 64
    assert "1000 accounts" in result.stderr
    assert result.stderr.endswith(" a19, ...\n")


def test_an_account_that_is_not_there_is_64(run: Run, daemon: FakeDaemon) -> None:
    result = run("mailbell", "notify", "holiday")
    assert result.returncode == 64
    assert "holiday" in result.stderr
    assert result.stderr.count("\n") == 1


def test_no_daemon_is_69(run: Run) -> None:
    assert run("mailbell", "notify").returncode == 69
