"""`make demo`, for root and for an ordinary user: it shows all steps, and nothing is left of it."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
from documents.blocks import ROOT, block, steps
from harness.daemon import until
from harness.ordinary import NOBODY, as_user
from packages.roots import require_roots

from scripts.show.cast import read

_PATIENCE: Final = 600.0  # seconds; the first run makes a root directory
_STEPS: Final = (
    r"laptop: mailbelld: seccomp, Landlock \d+, uid \d+",
    r"mail server: [\d,]+ ms: mailbell-sender rang 192\.0\.2\.7:79 \([\d.]+ ms\)",
    r"laptop: [\d,]+ ms: mailbelld: 192\.0\.2\.1 rings for anna",
    r"laptop: [\d,]+ ms: in the Maildir: “Lunch on Friday\?”",
    r"mail server: [\d,]+ ms: mailbell-sender rings nobody: it is Junk",
    r"mail server: [\d,]+ ms: mailbell-sender: 192\.0\.2\.7:79 does not answer: timeout .*",
    r"laptop: [\d,]+ ms: in the Maildir: “I walk”",
    r"laptop: [\d,]+ refused: too many of one source",
    r"laptop: NeoMutt lists “Did you get my mails\?”",
    r"6 mails: 5 in the Maildir, 1 in Junk, none lost\.",
)
# Arguments: a file for /etc/subuid and /etc/subgid.
_SUBORDINATE: Final = """
given=$1
shift
for file in subuid subgid; do
  mount --bind "$given" /etc/$file
done
exec "$@"
"""


@pytest.fixture(autouse=True)
def roots() -> None:
    require_roots("mail software", "`e2e`")


@pytest.fixture
def ordinary(open_path: Path) -> Iterator[tuple[list[str], Path]]:
    """The command that runs another one as nobody, who has numbers in /etc/subuid, in a tree."""
    tree = open_path / "tree"
    shutil.copytree(ROOT / "scripts", tree / "scripts")
    for each in (tree, *tree.rglob("*")):
        os.chown(each, NOBODY, NOBODY)
    (open_path / "hold").mkdir()
    numbers = open_path / "numbers"
    numbers.write_text("nobody:300000:65536\n")
    # newuidmap(1) is set-user-ID: an empty bounding set would take its capabilities away.
    user = as_user(open_path / "hold", NOBODY, NOBODY, "--inh-caps=-all")
    yield ["unshare", "-m", "sh", "-euc", _SUBORDINATE, "sh", str(numbers), *user], tree
    # Some files of the root directory belong to such numbers.
    shutil.rmtree(tree)


def demo(
    *command: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=_PATIENCE, cwd=cwd,
        env={**os.environ, **(env or {})},
    )  # fmt: skip


def shows_all(said: str) -> None:
    missing = [step for step in _STEPS if not re.search(f"^{step}$", said, re.MULTILINE)]
    assert not missing, said


def test_the_whole_way_of_a_mail_is_shown(tmp_path: Path) -> None:
    """It is what docs/demo.md says, and recorded."""
    ((line,),) = [[step.command for step in steps(block("docs/demo.md", "The demonstration").text)]]
    before = Path("/proc/self/mountinfo").read_text()
    done = demo(*shlex.split(line), f"CAST={tmp_path}/a.cast")
    assert done.returncode == 0, done.stdout + done.stderr
    shows_all(done.stdout)
    assert Path("/proc/self/mountinfo").read_text() == before
    cast = read((tmp_path / "a.cast").read_text())
    assert [each.text for each in cast.events if each.kind == "m"][-1] == "end"
    assert "mailbelld: 192.0.2.1" in (tmp_path / "a.svg").read_text()


def test_an_ordinary_user_sees_the_same(ordinary: tuple[list[str], Path]) -> None:
    command, tree = ordinary
    done = demo(*command, sys.executable, "-m", "scripts.demo", cwd=tree)
    assert done.returncode == 0, done.stdout + done.stderr
    shows_all(done.stdout)


def test_a_user_without_further_numbers_is_told_so(
    ordinary: tuple[list[str], Path], open_path: Path
) -> None:
    command, tree = ordinary
    (open_path / "numbers").write_text("")
    done = demo(*command, sys.executable, "-m", "scripts.demo", cwd=tree)
    assert (done.returncode, done.stdout) == (os.EX_UNAVAILABLE, "")
    assert re.fullmatch(r"this needs .*/etc/subuid.*\n", done.stderr)


def test_ctrl_c_leaves_nothing() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "scripts.demo"], cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout
        for line in process.stdout:
            if "Postfix takes a mail" in line:
                break
        (first,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        space = os.readlink(f"/proc/{first}/ns/pid_for_children")
        assert in_space(space)
        os.killpg(process.pid, signal.SIGINT)
        process.stdout.read()
        assert process.wait() == 128 + signal.SIGINT
    until(lambda: not in_space(space), "the end of all processes")


def in_space(space: str) -> list[str]:
    """Return the processes in a namespace."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(each / "ns/pid") == space:
                found.append(each.name)
        except OSError:  # it has ended meanwhile
            continue
    return found
