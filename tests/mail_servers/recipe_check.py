"""What `mailbell sender recipe --check` finds on the machine of a mail server."""

import json
import subprocess
import sys
from dataclasses import asdict
from typing import Final

from mail_servers.scenario import Way
from mail_servers.server import MailServer

__all__ = ["check_fails", "check_misses_it", "check_sees_it"]

# The machine has another root directory, without this Python. So all is loaded before.
_CHECK: Final = """
import json, os, sys
from mailbell.cli._recipe_check import Machine, examine
from mailbell.cli._recipe_machine import run
from mailbell.recipes import Facts, load
from mailbell.sender.configuration import parse
root, given = sys.argv[1], json.loads(sys.argv[2])
way = load(given["recipe"]).way(given["way"])
machine = Machine(Facts(**given["facts"]), parse(given["sender"].encode()))
run(("true",))
os.chroot(root)
os.chdir("/")
state = examine(way, machine)
found = [one.what for one in (*state.steps, *state.more) if one.mark == "FAIL"]
print(json.dumps([state.answer.value, found]))
"""


def check_sees_it(server: MailServer, way: Way, user: str) -> None:
    """While a way is in force and the sender runs, `--check` finds no fault.

    Args:
        server: the server, to which the recipe was applied.
        way: the way.
        user: for whom.
    """
    with server.sending("anna", trusted=way.trusted, listen=way.listen):
        assert _checked(server, way, user) == ("yes", [])


def check_misses_it(server: MailServer, way: Way, user: str) -> None:
    """While the sender runs and a way was taken back, `--check` says that it is not in force.

    Args:
        server: the server, whose programs are all there.
        way: the way.
        user: for whom.
    """
    with server.sending("anna", trusted=way.trusted, listen=way.listen):
        answer, found = _checked(server, way, user)
    assert answer == "no"
    assert found


def check_fails(server: MailServer, way: Way, user: str, say: str) -> None:
    """While the steps of a way are in force and the sender runs, `--check` finds one fault.

    Args:
        server: the server, to which the recipe was applied.
        way: the way.
        user: for whom.
        say: how the fault's text begins.
    """
    with server.sending("anna", trusted=way.trusted, listen=way.listen):
        answer, found = _checked(server, way, user)
    assert answer == "yes"
    assert [text[: len(say)] for text in found] == [say]


def _checked(server: MailServer, way: Way, user: str) -> tuple[str, list[str]]:
    """Return whether a way is in force ("yes", "no", "unknown"), and all failures."""
    # The sender runs outside, where this folder has another name.
    listen = way.listen.replace(str(server.machine.shared), "/run/mailbell-sender")
    given = {
        "recipe": server.recipe,
        "way": way.name,
        "facts": asdict(server.facts(user)),
        "sender": f"[listen]\ntrusted = {json.dumps(list(way.trusted))}\n{listen}\n",
    }
    *enter, _, root = server.machine.enter
    done = subprocess.run(
        [*enter, sys.executable, "-I", "-c", _CHECK, root, json.dumps(given)],
        check=False, capture_output=True, text=True, timeout=120, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer, found = json.loads(done.stdout)
    return answer, found
