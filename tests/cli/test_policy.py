"""`mailbell policy`, on the shipped policy."""

import json
from pathlib import Path

import pytest
from cli.support import Run

from mailbell.sandbox.policy_file import read_policy


def test_json_has_every_call_once_with_its_reason(run: Run) -> None:
    record = json.loads(run("mailbell", "policy", "--json").stdout)
    policy = read_policy("mailbelld")
    calls = {entry["call"]: entry for entry in record["calls"]}
    assert len(calls) == len(record["calls"])
    assert sorted(calls) == sorted(call for entry in policy.entries for call in entry.calls)
    assert all(entry["reason"] for entry in calls.values())
    for entry in calls.values():
        assert (entry["otherwise"] is None) == (not entry["conditions"])
    allowed = sorted(name for name, entry in calls.items() if entry["answer"] == "allow")
    assert allowed == list(policy.permitted)
    assert record["default"] == "kill"
    assert record["unknown"]["answer"] == "ENOSYS"
    assert record["placeholders"].keys() == policy.placeholders.keys()


def test_ioctl_is_shown_with_its_condition_and_its_refusal(run: Run) -> None:
    record = json.loads(run("mailbell", "policy", "mailbelld", "--json").stdout)
    (ioctl,) = (entry for entry in record["calls"] if entry["call"] == "ioctl")
    assert ioctl["conditions"] == ["args.1 = FIONBIO", "args.0 & 0x7fff is not SHARED"]
    assert ioctl["otherwise"] == "ENOTTY"


def test_the_table_names_every_call_in_80_columns(run: Run) -> None:
    result = run("mailbell", "policy")
    assert (result.returncode, result.stderr) == (0, "")
    assert max(map(len, result.stdout.splitlines())) <= 80
    words = set(result.stdout.replace(",", " ").split())
    calls = {call for entry in read_policy("mailbelld").entries for call in entry.calls}
    assert calls <= words
    assert {"kill", "ENOSYS", "Landlock:", *read_policy("mailbelld").placeholders} <= {
        word for each in words for word in (each, each.rstrip(":"))
    }


@pytest.mark.parametrize(
    ("program", "count", "granted"),
    [
        ("mailbelld", 27, "none is granted"),
        ("mailbell-sender", 33, "only connecting to some ports is granted"),
    ],
)
def test_it_tells_how_many_calls_are_permitted_and_what_landlock_grants(
    run: Run, program: str, count: int, granted: str
) -> None:
    record = json.loads(run("mailbell", "policy", program, "--json").stdout)
    assert record["permitted"] == count
    assert record["landlock"].endswith(granted)
    text = " ".join(run("mailbell", "policy", program).stdout.split())
    assert text.endswith(f"{count} calls are permitted, most of them with some arguments only")
    assert f"and {granted}" in text


@pytest.mark.parametrize("program", ["", "nobody", "../policy/mailbelld", "mailbelld.toml", "."])
def test_only_what_is_shipped_is_shown(run: Run, program: str) -> None:
    result = run("mailbell", "policy", program)
    assert (result.returncode, result.stdout) == (64, "")
    assert "no policy for" in result.stderr
    assert "known: mailbell-cluster, mailbell-cyrus, " in result.stderr


def test_the_document_shows_what_is_printed(run: Run) -> None:
    text = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()
    shown = text.partition("$ mailbell policy | head -24\n")[2].partition("```")[0]
    printed = run("mailbell", "policy").stdout.splitlines()[:24]
    assert shown.splitlines() == [line.rstrip() for line in printed]


def test_programs_complete(run: Run, environment: dict[str, str]) -> None:
    environment |= {
        "_MAILBELL_COMPLETE": "bash_complete",
        "COMP_WORDS": "mailbell policy mail",
        "COMP_CWORD": "2",
    }
    assert "plain,mailbelld\n" in run("mailbell").stdout
