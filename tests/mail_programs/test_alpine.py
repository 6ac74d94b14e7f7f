"""Alpine in tmux: a key makes it look for mail, and never becomes text."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from harness.daemon import until
from harness.mailserver import PASSWORD
from mail_programs.results import recorded
from mail_programs.support import Agent, Home, Mailbox, needs, preset_words
from mail_programs.tmux import Tmux, tmux_servers

pytestmark = pytest.mark.long

HERE = "alpine"  # the session, as the preset has it

# Without `last-version-used` it greets first. The last setting makes it ask for a password
# only, and not whether the server is to be trusted with one.
PINERC = """
inbox-path={{{host}:{port}/imap/notls/user={user}}}INBOX
mail-check-interval={seconds}
user-domain=example.org
last-version-used=6.26
disable-these-authenticators=PLAIN
"""
FOUR_HOURS = 4 * 3600


@pytest.fixture
def tmux(home: Home) -> Iterator[Tmux]:
    with tmux_servers(home) as tmux:
        yield tmux


@pytest.fixture
def alpine(home: Home, mailbox: Mailbox, tmux: Tmux) -> Tmux:
    """An Alpine that shows its inbox, which has one message and is on IMAP."""
    needs("alpine")
    (home.path / "mail").mkdir()
    server = mailbox.server
    home.write(
        ".pinerc",
        PINERC.format(host=server.host, port=server.imap, user=mailbox.user, seconds=FOUR_HOURS),
    )
    mailbox.deliver("first")
    tmux.open(HERE, "alpine", "-i")
    tmux.until_shown(HERE, "ENTER PASSWORD:")
    tmux.press(HERE, PASSWORD, "Enter")
    tmux.until_shown(HERE, "Preserve password")
    tmux.press(HERE, "n")
    tmux.until_shown(HERE, ") first")
    return tmux


def test_mail_is_in_its_list_when_the_server_has_rung(
    alpine: Tmux, mailbox: Mailbox, run_agent: Callable[..., Agent], ring: Callable[[], None]
) -> None:
    agent = run_agent("alpine-tmux")
    mailbox.deliver("second")
    # Keys that change the picture: it draws, and yet does not look for mail.
    alpine.press(HERE, "?")
    alpine.until_shown(HERE, "HELP")
    alpine.press(HERE, "e")
    assert ") second" not in alpine.until_shown(HERE, ") first")
    with recorded("alpine-tmux", "IMAP"):
        ring()
        alpine.until_shown(HERE, ") second")
    agent.until_logged("event=ran", "code=0")


def test_in_the_composer_the_key_is_no_text(
    alpine: Tmux, mailbox: Mailbox, run_agent: Callable[..., Agent], ring: Callable[[], None]
) -> None:
    agent = run_agent("alpine-tmux")
    alpine.press(HERE, "c")
    alpine.until_shown(HERE, "COMPOSE MESSAGE")
    mailbox.deliver("second")
    # In the header, and in the text below: Ctrl-V leads there.
    for number, (keys, text) in enumerate(
        ((["berta"], "To      : berta"), (["C-v", "Dear Berta,"], "Dear Berta,")), 1
    ):
        alpine.press(HERE, *keys)
        before = alpine.until_shown(HERE, text)
        ring()
        until(partial(ran, agent, number), "the end of the command")
        alpine.press(HERE, "!")  # Alpine reads it after the key of the agent
        assert alpine.until_shown(HERE, f"{text}!") == before.replace(text, f"{text}!")
    alpine.press(HERE, "C-c")
    alpine.until_shown(HERE, "Cancel message")
    alpine.press(HERE, "c")
    assert ") second" not in alpine.until_shown(HERE, ") first")
    ring()
    alpine.until_shown(HERE, ") second")


def ran(agent: Agent, times: int) -> bool:
    """Whether the command has ended so often, each time without a failure."""
    return sum("event=ran" in line and "code=0" in line for line in agent.lines()) == times


def test_with_no_such_session_it_fails_and_starts_nothing(home: Home, tmux: Tmux) -> None:
    tmux.open("alpine-notes", "cat")
    before = tmux.do("list-panes", "-a")
    done = home.run(*preset_words("alpine-tmux"))
    assert (done.returncode, done.stdout) == (1, "can't find session: alpine\n")
    assert tmux.do("list-panes", "-a") == before
    assert tmux.picture("alpine-notes").strip() == ""  # cat would show the key as ^L


def test_with_no_tmux_it_fails_and_starts_nothing(home: Home) -> None:
    command = preset_words("alpine-tmux")
    home.environ["TMUX_TMPDIR"] = home.environ["TMPDIR"]
    done = home.run(*command)
    assert done.returncode == 1
    assert done.stdout.startswith(("no server running on", "error connecting to"))
    assert not any(home.path.rglob("default"))
