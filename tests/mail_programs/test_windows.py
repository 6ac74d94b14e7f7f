"""Mail programs with a window: the agent tells them through their socket, and opens none."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from harness.daemon import until
from harness.mailserver import HOST, PASSWORD
from mail_programs.results import recorded
from mail_programs.screen import screens
from mail_programs.support import Agent, Home, Mailbox, needs, preset_words, subjects

pytestmark = pytest.mark.long


class Program(NamedTuple):
    """A program with a window.

    Attributes:
        name: the name of the program and of its preset.
        settings: the folder of its settings in the home.
        file: the file with its settings.
        socket: a pattern for the path of its socket in the home.
        title: its own name for people.
    """

    name: str
    settings: str
    file: str
    socket: str
    title: str


PROGRAMS = [
    Program("claws-mail", ".claws-mail", "clawsrc", "run/claws-mail/*", "Claws Mail"),
    Program("sylpheed", ".sylpheed-2.0", "sylpheedrc", "tmp/sylpheed-*", "Sylpheed"),
]

# Without folders they begin with an assistant. Without these settings they may look for
# mail by themselves, or stop at a dialogue.
FOLDERS = """<?xml version="1.0" encoding="UTF-8"?>
<folderlist><folder type="mh" name="Mailbox" path="Mail">
<folderitem type="inbox" name="inbox" path="inbox"/>
</folder></folderlist>
"""
SETTINGS = "[Common]\ncheck_on_startup=0\nautochk_newmail=0\nreceive_dialog_mode=2\n"


@pytest.fixture
def screen(home: Home) -> Iterator[None]:
    with screens() as name:
        home.environ["DISPLAY"] = name
        yield


@pytest.fixture(params=PROGRAMS, ids=lambda program: program.name)
def program(request: pytest.FixtureRequest, home: Home, mailbox: Mailbox) -> Program:
    """One of the programs, configured for the mailbox."""
    program: Program = request.param
    needs(program.name)
    (home.path / "Mail" / "inbox").mkdir(parents=True)
    home.write(f"{program.settings}/folderlist.xml", FOLDERS)
    home.write(f"{program.settings}/{program.file}", SETTINGS)
    home.write(
        f"{program.settings}/accountrc",
        "[Account: 1]\naccount_name=work\nis_default=1\nname=Anna\naddress=anna@example.org\n"
        f"protocol=0\nreceive_server={HOST}\nset_popport=1\npop_port={mailbox.server.pop3}\n"
        f"user_id={mailbox.user}\npassword={PASSWORD}\nremove_mail=0\nreceive_at_get_all=1\n"
        "inbox=#mh/Mailbox/inbox\n",
    )
    return program


@pytest.mark.usefixtures("screen")
def test_an_open_one_fetches_when_the_server_has_rung(
    program: Program, home: Home, mailbox: Mailbox, run_agent: Callable[..., Agent],
    ring: Callable[[], None],
) -> None:  # fmt: skip
    inbox = home.path / "Mail" / "inbox"
    with home.running(program.name):
        until(lambda: any(home.path.glob(program.socket)), "its socket")
        assert home.run(program.name, "--status").stdout.split() == ["0", "0", "0"]
        del home.environ["DISPLAY"]  # a service has no DISPLAY
        agent = run_agent(program.name)
        mailbox.deliver("once")
        with recorded(program.name, "POP3"):
            ring()
            until(lambda: subjects(inbox) == ["once"], "the message in its inbox")
        agent.until_logged("event=ran", "code=0")


@pytest.mark.usefixtures("screen")
def test_one_that_is_not_open_stays_so(program: Program, home: Home) -> None:
    done = home.run(*preset_words(program.name))  # a program that opened its window would not end
    assert (done.returncode, done.stdout) == (0, f"0 {program.title} not running.\n")
    assert not any(home.path.glob(program.socket))
