"""The command `mailbell`: finds the subcommand, and turns every error into one line.

Only the subcommand that is called is imported. A mail server may run `mailbell send` for
each delivery, and that must not wait for the import of tables.
"""

import contextlib
import errno
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from mailbell import __version__
from mailbell.cli._lazy import LazyGroup
from mailbell.cli._streams import discard_output, write_error
from mailbell.cli._text import one_line
from mailbell.core.errors import ConfigurationError, MailbellError

__all__ = ["program", "run"]

_COMMANDS = (
    "run",
    "clients",
    "watch",
    "top",
    "status",
    "send",
    "notify",
    "check",
    "policy",
    "install",
    "uninstall",
    "sender",
)

# The exit codes that a shell reports for a process that SIGINT or SIGPIPE has ended.
_INTERRUPTED = 128 + 2
_BROKEN_PIPE = 128 + 13

# The system's errors for a file that takes no more data. Here only the output is written.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

_EPILOG = """\b
Completion: put the line of your shell into its start-up file.
  bash   eval "$(_MAILBELL_COMPLETE=bash_source mailbell)"
  zsh    eval "$(_MAILBELL_COMPLETE=zsh_source mailbell)"
  fish   _MAILBELL_COMPLETE=fish_source mailbell | source

\b
The local socket is --socket, else $MAILBELL_SOCKET, else
/run/mailbell/mailbell.sock, else $XDG_RUNTIME_DIR/mailbell/mailbell.sock.
Root, you or the user mailbell must have started what listens there; another
user than mailbell is $MAILBELL_DAEMON_USER. For the sender of a mail server
see: mailbell sender --help

\b
Exit codes: 0 done, 64 usage, 65 bad data, 69 no daemon or no host,
70 a bug in mailbell, 71 system error, 75 not in time, 77 not permitted,
78 configuration."""


class _Group(LazyGroup):
    """All commands of `mailbell`."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. On Ctrl-C and on a broken pipe, click itself would print a message."""
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:  # None: stdout was closed before the program started
                sys.stdout.flush()
        except KeyboardInterrupt:
            ctx.exit(_INTERRUPTED)
        except BrokenPipeError:
            discard_output()
            ctx.exit(_BROKEN_PIPE)
        return result


_HELP = """\
Push mail without a standing connection: RFC 4146.

Mail servers tell the daemon mailbelld that new mail has arrived. These
commands ask the daemon, run your mail program when mail arrives, and send a
notification as a mail server would."""


@click.group(
    help=_HELP,
    cls=_Group,
    commands=_COMMANDS,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
    # Otherwise click raises the help text as an error, which would become one long line.
    invoke_without_command=True,
)
@click.version_option(__version__, "-V", "--version", message="mailbell %(version)s")
@click.pass_context
def program(context: click.Context) -> int | None:
    """Push mail without a standing connection: RFC 4146."""
    if context.invoked_subcommand is not None:
        return None
    click.echo(context.get_help(), err=True)
    return 64


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: the words after the program's name.

    Returns:
        The exit code. Messages are on stderr.
    """
    try:
        result = program.main(list(arguments), prog_name="mailbell", standalone_mode=False)
    except click.ClickException as error:
        return _usage(error)
    except MailbellError as error:
        return _known(error)
    except OSError as error:
        discard_output()
        return _complain(f"{_place(error)}{error.strerror or error}", 71)
    except Exception as error:  # a bug in mailbell, and reported as one
        with contextlib.suppress(OSError):
            traceback.print_exc()
        what = f"{type(error).__name__}: {error}"
        return _complain(f"this is a bug in mailbell: {what}; please report it", 70)
    return result if isinstance(result, int) else 0


def _place(error: OSError) -> str:
    """Return what the system refused, as far as the error shows it."""
    if error.filename:
        return f"{error.filename}: "
    return "cannot write the output: " if error.errno in _FULL else ""


def _usage(error: click.ClickException) -> int:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else "mailbell"
    what = error.format_message().rstrip(".")
    return _complain(f"{what}; see '{path} --help'", 64)


def _known(error: MailbellError) -> int:
    if isinstance(error, ConfigurationError):
        for problem in error.problems:
            _complain(str(problem), 0)
    return _complain(str(error), error.exit_code)


def _complain(message: str, code: int) -> int:
    write_error(one_line("mailbell", message))
    return code
