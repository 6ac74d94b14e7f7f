"""Blocks that need no machine of their own: configurations, messages, and the targets of make."""

import re
import shlex
import socket
import subprocess
import tomllib
from pathlib import Path
from typing import Final

import pytest
from documents.blocks import ROOT, block, blocks, steps
from hook.support import logging, private, run
from mail_programs.evolution import PACKAGES
from mail_programs.thunderbird import ADDON

from bench.run import WORKLOADS
from mailbell.agent import configuration as agent
from mailbell.cli._agent_file import presets
from mailbell.core.errors import ConfigurationError
from mailbell.sender import configuration as sender

NAMED: Final = "One account by its name"
TYPED: Final = re.compile(r"^([$#] )?(make\b.*?)(?: {2,}# .*)?$", re.MULTILINE)
MADE: Final = {
    line
    for each in blocks()
    if each.document != "docs/evolution.md"
    for prompt, line in TYPED.findall(each.text)
    if prompt or each.language != "console"
}


@pytest.mark.parametrize("line", sorted(MADE))
def test_make_knows_what_the_documents_have_it_make(line: str) -> None:
    """What it makes takes minutes. Stages of `.ci/run` and tests of their own run that."""
    makefile = (ROOT / "Makefile").read_text()
    words = shlex.split(line)[1:]
    for target in (word for word in words if "=" not in word):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    variables = dict(word.split("=", 1) for word in words if "=" in word)
    assert set(variables) <= {"WORKLOADS", "MACHINE", "MINUTES", "HOURS"}
    assert all(f"$({name})" in makefile for name in variables)
    assert set(variables.get("WORKLOADS", "").split()) <= set(WORKLOADS)
    machines = tomllib.loads((ROOT / "tests" / "machines" / "machines.toml").read_text())
    assert set(variables.get("MACHINE", "").split()) <= set(machines)


def test_the_agents_file_is_right_and_its_mistakes_are_told() -> None:
    shown, told = block("docs/agent.md", "agent.toml"), block("docs/agent.md", "agent.toml", 1)
    jobs = agent.parse(shown.text.encode(), presets())
    assert [(job.name, job.accounts, job.command, job.then) for job in jobs] == [
        ("mbsync", ("work",), ("mbsync", "-q", "work-inbox"), ("notmuch", "new")),
        ("getmail", ("club",), ("getmail", "--rcfile", "club"), ()),
    ]
    assert jobs[0].timing.min_gap == 60
    wrong = shown.text.replace('then = ["notmuch", "new"]', 'min_gap = "5"')
    wrong = wrong.replace('accounts = ["club"]\n', "").replace('"club"]', '"{account}"]')
    with pytest.raises(ConfigurationError) as caught:
        agent.parse(wrong.encode(), presets())
    lines = told.text.splitlines()
    assert [f"agent.toml: {problem}" for problem in caught.value.problems] == lines


def test_the_jobs_of_evolution_are_those_of_the_command_line() -> None:
    jobs = agent.parse(block("docs/evolution.md", NAMED, 1).text.encode(), presets())
    line = block("docs/evolution.md", NAMED).text
    _, _, *words = shlex.split(line.strip())
    accounts = [words[n + 1] for n, word in enumerate(words) if word == "--account"]
    assert [job.accounts for job in jobs] == [(account,) for account in accounts]
    *action, account = words[words.index("--") + 1 :]
    for job in jobs:
        said = account.replace("{account}", job.accounts[0])
        assert job.command[-2:] == (*action, said)


def test_what_evolutions_module_is_built_with_is_what_the_tests_install() -> None:
    """tests/mail_programs/test_evolution.py builds it, and runs the other commands."""
    install, make = (step.command for step in steps(block("docs/evolution.md", "Install").text))
    assert set(install.split()[2:]) <= set(PACKAGES)
    other, start = (step.command for step in steps(block("docs/evolution.md", "Without root").text))
    lines = [make, other]
    for line in lines:
        words = [word.replace("$HOME", "/home/anna") for word in shlex.split(line)]
        shown = subprocess.check_output([words[0], "-n", *words[1:]], cwd=ROOT, text=True)
        assert "module-mailbell.so" in shown
    assert "/home/anna/.local/lib/evolution/modules" in shown
    variable, program = start.split()
    name, _, value = variable.partition("=")
    tried = (ROOT / "tests" / "mail_programs" / "test_evolution.py").read_text()
    assert f'["{name}"] = f"{value.replace("$HOME", "{session.home.path}")}"' in tried
    assert program == "evolution"


def test_the_accounts_of_the_senders_page_are_right() -> None:
    settings = sender.parse(block("docs/sender.md", "Quick start").text.encode())
    assert settings.listen.trusted == ("root", "vmail")
    (account,) = settings.account
    assert (account.name, len(account.targets)) == ("anna@example.org", 2)
    assert str(account.targets[1].host) == "192.0.2.7"


def test_what_the_hook_says_when_nobody_listens(tmp_path: Path) -> None:
    (tmp_path / "hold").mkdir()
    with logging(tmp_path / "log") as log, socket.socket(socket.AF_UNIX) as nobody:
        nobody.bind(str(tmp_path / "sender"))
        run("alice", through=private(tmp_path / "hold", log=log.path, sender=tmp_path / "sender"))
        (said,) = log.lines()
    shown = block("docs/hook.md", "When it cannot be told").text.strip()
    assert re.fullmatch(r"mailbell-hook\[\d+\]: (.*)", shown)[1] == said  # type: ignore[index]


def test_the_preferences_of_thunderbird_are_those_that_the_add_on_reads() -> None:
    """tests/mail_programs sets them in the real Thunderbird."""
    settings = (ROOT / "clients" / "thunderbird" / "core" / "settings.js").read_text()
    (defaults,) = re.findall(r"this\.DEFAULTS = .*", settings)
    lines = block("docs/thunderbird.md", "Settings").text.splitlines()
    names = [re.findall(r'pref\("extensions\.mailbell\.(\w+)", .*\);', line) for line in lines]
    assert len(lines) == 2
    for (name,) in names:
        assert f"{name}: " in defaults
    line = block("docs/thunderbird.md", "When Thunderbird blocks it").text
    (value,) = re.findall(r'pref\("extensions\.experiments\.allowed", "(.*)"\);', line)
    tried = (ROOT / "tests" / "mail_programs" / "test_thunderbird_page.py").read_text()
    assert value.endswith(f",{ADDON}")
    assert f'"{value.removesuffix(ADDON)}{{ADDON}}"' in tried


def test_what_the_page_of_the_fuzzer_installs_and_runs_is_there() -> None:
    """`make fuzz` runs it; tests/test_fuzz.py has every target check its seeds."""
    install, every, one = block("fuzz/README.md", "Fuzzing").text.splitlines()
    assert install == "pip install -e '.[fuzz,test]'"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"fuzz", "test"} <= set(project["optional-dependencies"])
    for line in (every, one):
        _, program, option, seconds, *targets = line.partition("  ")[0].split()
        assert f'"{option}"' in (ROOT / program).read_text()
        assert seconds.isdigit()
        assert all((ROOT / "fuzz" / f"fuzz_{target}.py").exists() for target in targets)
