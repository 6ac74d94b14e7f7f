"""What the doors of all daemons share: messages, exit codes, and errors that are bugs.

A door is the command of a daemon. Every module that it imports stays in the locked process.
"""

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from mailbell.cli._streams import flush_error, write_error
from mailbell.cli._text import one_line
from mailbell.core.errors import ConfigurationError, MailbellError, find_refusal

__all__ = ["Door"]


_RETRY: Final = "see what it lacks; a service manager starts the daemon again"


class Door:
    """The command of one daemon.

    Args:
        program: its name.
        memory: what the operator can do if there is no more memory.
    """

    def __init__(self, program: str, memory: str) -> None:
        self._program = program
        # Made now: later there may be no memory for it.
        self._last_words = f"{one_line(program, f'there is no more memory; {memory}')}\n".encode()

    def main(self, run: Callable[[list[str]], int]) -> None:
        """Make the process undumpable, run the daemon, and end the process.

        Args:
            run: gets the words after the program's name, and returns the exit code.
        """
        # ctypes, with which a process becomes undumpable, is the first to import such modules.
        from mailbell._sys import unneeded

        unneeded.replace_unneeded()
        from mailbell._sys.undumpable import make_undumpable

        try:
            make_undumpable()
        except MailbellError as error:
            sys.exit(self._known(error))
        code = run(sys.argv[1:])
        flush_error()
        sys.exit(code)

    def serve(self, start: Callable[[], int]) -> int:
        """Run a daemon until it ends.

        Args:
            start: runs it, and returns the exit code.

        Returns:
            The exit code. Messages are on stderr.
        """
        import traceback

        try:
            return start()
        except MailbellError as error:
            return self._known(error)
        except KeyboardInterrupt:
            return 130
        except Exception as error:  # a bug, and reported as one
            if _lacks_memory(error):
                self._end_without_memory()
            refusal = find_refusal(error)
            if refusal is not None:
                self._complain(
                    f"the system refused what cannot be done without: {refusal}; {_RETRY}"
                )
                return os.EX_OSERR
            with suppress(OSError):
                traceback.print_exc()
            self._complain(
                f"this is a bug in {self._program}: {type(error).__name__}: {error};"
                " please report it"
            )
            return 70

    def say(self, text: str) -> int:
        """Print a text on stdout.

        Args:
            text: without a newline at its end.

        Returns:
            The exit code.
        """
        try:
            print(text, flush=True)
        except OSError as error:
            # Otherwise the interpreter tries to write again when it ends.
            sys.stdout = None
            if error.errno != errno.EPIPE:  # the reader of a pipe may end early
                self._complain(f"standard output: {error.strerror}")
            return os.EX_OSERR
        return 0

    def _complain(self, message: str) -> None:
        """Write a message about an error as one line."""
        write_error(one_line(self._program, message))

    def _known(self, error: MailbellError) -> int:
        if isinstance(error, ConfigurationError):
            for problem in error.problems:
                self._complain(str(problem))
        self._complain(str(error))
        return error.exit_code

    def _end_without_memory(self) -> NoReturn:
        """Report it and end the process at once: an orderly end would need memory too."""
        try:
            with suppress(OSError):
                os.write(2, self._last_words)
        finally:
            os._exit(os.EX_OSERR)


def _lacks_memory(error: BaseException | None) -> bool:
    """Return whether a MemoryError is the exception, its cause, or a part of its group."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(_lacks_memory, error.exceptions))
    return error is not None and (
        isinstance(error, MemoryError) or _lacks_memory(error.__cause__ or error.__context__)
    )
