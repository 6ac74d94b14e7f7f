"""A tmux server of a test's own, and what is on its screens: tmux(1)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from subprocess import CompletedProcess
from typing import Final, Protocol

from harness.daemon import until
from mail_programs.support import Home, needs

__all__ = ["Runner", "Tmux", "tmux_servers"]

_SIZE: Final = ("-x", "80", "-y", "24")


class Runner(Protocol):
    """Runs programs as the person whose server it is."""

    def run(self, *words: str) -> "CompletedProcess[str]":
        """Run one to its end; what it prints is kept."""
        ...


class Tmux:
    """A server that runs, without a session at first.

    Args:
        home: whose server it is.
    """

    def __init__(self, home: Runner) -> None:
        self._home = home

    def do(self, *words: str) -> str:
        """Run a command of tmux; return what it prints."""
        done = self._home.run("tmux", "-N", *words)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def open(self, session: str, *line: str) -> None:
        """Make a session that runs a program, and ends with it."""
        self.do("new-session", "-d", "-s", session, *_SIZE, *line)

    def press(self, session: str, *keys: str) -> None:
        """Press keys there, which have the names of tmux(1), or type a text."""
        self.do("send-keys", "-t", f"={session}:", *keys)

    def picture(self, session: str) -> str:
        """What is on the screen of a session."""
        return self.do("capture-pane", "-p", "-t", f"={session}:")

    def until(self, session: str, seen: Callable[[str], object], what: str) -> str:
        """Wait until the picture meets a condition; return it."""
        until(lambda: seen(self.picture(session)), what)
        return self.picture(session)

    def until_shown(self, session: str, text: str) -> str:
        """Wait until a text is in the picture; return the picture."""
        return self.until(session, lambda picture: text in picture, f"{text!r} on the screen")


@contextmanager
def tmux_servers(home: Home) -> Iterator[Tmux]:
    """Run a server until the end of the block. All that it runs ends with it.

    Args:
        home: whose server it is. What runs there finds the server by the environment.
    """
    needs("tmux")
    # The user who runs the tests may have no shell for logins.
    home.environ |= {"TMUX_TMPDIR": home.environ["TMPDIR"], "SHELL": "/bin/sh"}
    with home.running("tmux", "-D", "-f", "/dev/null"):
        until(lambda: any(home.path.glob("tmp/tmux-*/default")), "the socket of tmux")
        until(lambda: home.run("tmux", "-N", "show-options", "-g").returncode == 0, "tmux")
        yield Tmux(home)
