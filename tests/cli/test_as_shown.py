"""The shown commands work as shown: those that start the daemon, and those that ask it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from harness.daemon import PATIENCE, until
from harness.ordinary import NOBODY, as_nobody, let_in
from harness.ports import free_port

import mailbell
from mailbell.cli import _file, mailbelld
from mailbell.client._path import SYSTEM_PATH

ROOT: Final = Path(__file__).parents[2]
USERS: Final = "$XDG_RUNTIME_DIR/mailbell/mailbell.sock"
HELP: Final = mailbelld.HELP.format(default=_file.DEFAULT_PATH)

Shell = list[str]


@pytest.fixture
def shell(tmp_path: Path) -> tuple[Shell, dict[str, str]]:
    """A shell of an ordinary user who has just logged in, with mailbell in PATH."""
    let_in(tmp_path)
    for name in ("bin", "run", "hold"):
        (tmp_path / name).mkdir(mode=0o755)
    for name, door in (("mailbell", "mailbell.cli"), ("mailbelld", "mailbell.cli.mailbelld")):
        program = tmp_path / "bin" / name
        code = f"from {door} import main; main()"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
        program.chmod(0o755)
    prefix: list[str] = []
    if os.geteuid() == 0:
        os.chown(tmp_path / "run", NOBODY, NOBODY)
        prefix = as_nobody(tmp_path / "hold")
    (tmp_path / "run").chmod(0o700)
    environment = {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(mailbell.__file__).parents[1]),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
    }
    return [*prefix, "sh", "-c"], environment


def _examples() -> list[str]:
    """The commands that --help shows for a first try, without the words beside them."""
    block = HELP.partition("try it without being root")[2].partition("\n\n")[0]
    whole = re.sub(r"\\\n\s*", "", block)  # as a shell joins the lines
    lines = [line.strip() for line in whole.splitlines()[1:]]
    return [line.partition("   ")[0] for line in lines]


def test_the_daemons_example_is_found_by_every_command(
    shell: tuple[Shell, dict[str, str]],
) -> None:
    words, environment = shell
    port = str(free_port())
    make, start, send = (line.replace("7979", port) for line in _examples())

    def run(line: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*words, line], env=environment, cwd="/", timeout=PATIENCE,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def status() -> Any:
        return json.loads(run("mailbell status --json").stdout)

    assert run(make).returncode == 0
    daemon = subprocess.Popen(
        [*words, f"exec {start}"], env=environment, cwd="/", stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: run("mailbell status").returncode == 0, "the daemon's answer")
        assert (
            f"tcp 127.0.0.1:{port}" in json.loads(run("mailbell status --json").stdout)["listening"]
        )
        assert f"127.0.0.1:{port}" not in run(send).stderr
        assert status()["outcomes"]["tcp"]["accepted"] == 1
        assert "subscribers 0 of" in run("mailbell top --once").stdout
        # The only ring was told at once, so nothing is due while this one watches.
        ended = run("mailbell watch --count 1 --timeout 0.01")
        assert ended.returncode == 75
        # On a busy machine the time may be over before the daemon has answered.
        assert re.search(
            r"\Amailbell: (no notification came in time|.* did not answer)", ended.stderr
        )
        assert run("mailbell notify").returncode == 0
    finally:
        daemon.terminate()
        daemon.wait(PATIENCE)


SHOWN: Final = [
    *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*"),
    *ROOT.glob("policy/**/*"), *ROOT.glob("src/mailbell/cli/*.py"), *ROOT.glob("bench/*.md"),
]  # fmt: skip


def test_each_socket_that_is_shown_is_one_where_clients_look() -> None:
    wrong = []
    for file in filter(Path.is_file, SHOWN):
        for line in file.read_text().splitlines():
            # A path that the same line sets in the variable is found too.
            rest = re.sub(r"MAILBELL_SOCKET=\S+", "", line)
            paths = re.findall(r"[$/][\w$/{}.-]*\.sock\b", rest)
            wrong += [(file.name, path) for path in paths if path not in {SYSTEM_PATH, USERS}]
    assert wrong == []
