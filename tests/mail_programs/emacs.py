"""A running Emacs of a test's own, as its daemon, with Gnus or mu4e in it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from harness.daemon import until
from mail_programs.support import Home, needs

__all__ = ["Emacs", "emacses", "quoted"]

_CLIENT: Final = ("emacsclient", "--alternate-editor=false", "--eval")
# Emacs would compile for itself in the background what it loads.
_EARLY: Final = "(setq native-comp-deferred-compilation nil comp-enable-subr-trampolines nil)\n"


def quoted(text: str) -> str:
    """A string of Emacs Lisp."""
    return json.dumps(text, ensure_ascii=False)


class Emacs:
    """An Emacs that runs.

    Args:
        home: whose Emacs it is.
    """

    def __init__(self, home: Home) -> None:
        self._home = home

    def do(self, form: str) -> None:
        """Evaluate a form."""
        done = self._home.run(*_CLIENT, f"(progn {form} t)")
        assert (done.returncode, done.stdout) == (0, "t\n"), done.stdout

    def is_true(self, form: str) -> bool:
        """Whether the value of a form is not nil."""
        done = self._home.run(*_CLIENT, f"(if {form} t)")
        assert done.returncode == 0, done.stdout
        return done.stdout == "t\n"

    def shows(self, buffer: str, text: str) -> bool:
        """Whether a buffer has a text."""
        found = f"(string-search {quoted(text)} (buffer-string))"
        return self.is_true(f"(with-current-buffer {quoted(buffer)} {found})")


@contextmanager
def emacses(home: Home, settings: str) -> Iterator[Emacs]:
    """Run an Emacs with a server until the end of the block.

    Args:
        home: whose Emacs it is.
        settings: its configuration, in Lisp.
    """
    needs("emacs", "emacsclient")
    home.write(".emacs.d/early-init.el", _EARLY)
    home.write(".emacs", settings)
    with home.running("emacs", "--fg-daemon"):
        until((home.path / "run/emacs/server").exists, "the server of Emacs")
        yield Emacs(home)
