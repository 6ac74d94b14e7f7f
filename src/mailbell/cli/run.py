"""`mailbell run`: reads the command line or agent.toml, and runs the agent."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeVar

import click
from click.shell_completion import CompletionItem

from mailbell._sys.orphans import adopt_orphans
from mailbell._sys.signals import ending_signals, prepare_signals, replace_handlers
from mailbell.agent.configuration import DEFAULTS, Job, from_options
from mailbell.agent.preset import Preset
from mailbell.cli._agent_file import default_path, load, presets
from mailbell.cli._common import absolute, complete_account, socket_option
from mailbell.core.errors import ConfigurationError, Problem, UsageError
from mailbell.core.escape import printable

__all__ = ["command", "complete_client"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_SEE: Final = "see 'mailbell run --help'"


class _WrongOptionsError(ConfigurationError):
    """The command line has one or more mistakes."""

    exit_code = 64


def complete_client(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the name of a preset.

    Args:
        begun: the part that was typed.

    Returns:
        The names that begin with it.
    """
    return [CompletionItem(name) for name in presets() if name.startswith(begun)]


def _job_options(function: _Function) -> _Function:
    """Give a command the options of a job, named by the keys of agent.toml; None: not given."""
    paced = (
        ("settle", "TIME", "Run when no notification came for this long."),
        ("settle_max", "TIME", "Run at the latest this long after the first notification."),
        ("min_gap", "TIME", "Let at least this long pass between the starts of two runs."),
        (
            "login_delay",
            "TIME",
            "Let at least this long pass after a run: the mail server's LOGIN-DELAY.",
        ),
        ("timeout", "TIME", "End a run that takes longer."),
        (
            "backoff",
            "MIN..MAX",
            "After a failure, wait MIN; after each further one twice as long, at most MAX.",
        ),
        ("poll", "TIME", "Run when there was no run for this long; 0: never."),
    )
    options = [
        click.option(
            "--account", "accounts", multiple=True, metavar="NAME", shell_complete=complete_account,
            help="Only for this account; repeatable.  [default: all]",
        ),
        click.option(
            "--client", metavar="NAME", shell_complete=complete_client,
            help="Run a mail program that mailbell knows; 'mailbell clients' lists them.",
        ),
        *(
            click.option(
                _option(key), key, metavar=form, help=f"{help_}  [default: {DEFAULTS[key]}]"
            )
            for key, form, help_ in paced
        ),
        click.option(
            "--on-start/--no-on-start", default=None,
            help="Run when the agent starts.  [default: yes]",
        ),
        click.option(
            "--network-up/--no-network-up", default=None,
            help="Run when the machine gets an address.  [default: yes]",
        ),
        click.option(
            "--then", metavar="COMMAND",
            help="Run this after each success. Quotation marks group words; there is no shell.",
        ),
        click.option(
            "--ok-codes", metavar="N,N...",
            help="Exit codes of COMMAND that count as success.  [default: 0]",
        ),
        click.option(
            "--busy-codes", metavar="N,N...",
            help="Exit codes of COMMAND that say that the mail server is busy: it runs again.",
        ),
        click.option(
            "--lock", metavar="NAME",
            help="Jobs with the same lock and account never run at the same time.  "
            f"[default: {DEFAULTS['lock']}]",
        ),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def _option(key: str) -> str:
    return "--account" if key == "accounts" else "--" + key.replace("_", "-")


_EXAMPLES = """\b
Examples:
  mailbell run -- mbsync -a
  mailbell run --client mbsync --then 'notmuch new'
  mailbell run --client mbsync --account work -- work-inbox
  mailbell run --account work --account home -- fetch-one {account}
  mailbell run --client mbsync --install-unit
  mailbell run --config ./agent.toml"""


_HELP = """\
Run COMMAND whenever mail arrives: soon, one run at a time, not too often.

Notifications that come during a run lead to one more run. COMMAND also runs
after the machine has slept, when the connection to the daemon was lost, and
once an hour in any case. COMMAND gets no shell and no input. What it prints
goes to the log, which is on stderr. Its environment has MAILBELL_ACCOUNT,
MAILBELL_COUNT, MAILBELL_CAUSE and MAILBELL_SOURCE.

With --client, COMMAND stands for the arguments of that program. {account} in
a word makes one job for each --account. Without COMMAND and --client, the
jobs are those of the file. TIME is a number with ms, s, m or h."""


@click.command(
    help=_HELP,
    epilog=_EXAMPLES,
    short_help="Run COMMAND whenever mail arrives.",
    context_settings={"allow_interspersed_args": False},
)
@_job_options
@click.option(
    "--config", "path", metavar="FILE", type=click.Path(),
    help="Jobs for several programs or accounts.  [default: ~/.config/mailbell/agent.toml]",
)  # fmt: skip
@click.option(
    "--install-unit", "install", is_flag=True,
    help="Make this a service of systemd --user: show it, ask, write it, start it.",
)  # fmt: skip
@click.option("--yes", is_flag=True, help="With --install-unit: do not ask.")
@socket_option
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND [ARG]...]")
def command(
    words: tuple[str, ...],
    path: str | None,
    install: bool,
    yes: bool,
    socket_path: str | None,
    **said: Any,
) -> None:
    """Run COMMAND whenever mail arrives."""
    if yes and not install:
        raise UsageError("--yes is for --install-unit", _SEE)
    given = {key: value for key, value in said.items() if value not in (None, ())}
    known = presets()
    if words or "client" in given:
        jobs, line = _of_command_line(given, words, path, known)
    else:
        jobs, line = _of_file(given, path, known)
    _find_programs(jobs)
    if install:
        from mailbell.cli._install import install_unit

        install_unit(line, socket_path, sure=yes)
    else:
        _serve(jobs, socket_path)


def _of_command_line(
    given: Mapping[str, Any],
    words: Sequence[str],
    path: str | None,
    known: Mapping[str, Preset],
) -> tuple[tuple[Job, ...], list[str]]:
    """Return the jobs, and the words that mean the same in every folder."""
    if path is not None:
        raise UsageError("--config names a file with jobs: leave out COMMAND and --client", _SEE)
    preset = known.get(given.get("client", ""))
    if preset is not None and preset.kind == "none":
        _refuse(preset)
    what = list(words)
    if what and "client" not in given:
        what[0] = _whole(what[0])
    key = "args" if "client" in given else "command"
    try:
        jobs = from_options({**given, key: what} if what else given, known)
    except ConfigurationError as error:
        count = len(error.problems)
        noun = "problem" if count == 1 else "problems"
        raise _WrongOptionsError(
            f"{count} {noun} on the command line", _SEE, error.problems
        ) from error
    return jobs, [word for key in given for word in _as_said(key, given[key])] + ["--", *what]


def _whole(program: str) -> str:
    """Return the absolute form of a path; a name without a slash does not change."""
    return absolute(program) if "/" in program else program


def _as_said(key: str, value: Any) -> list[str]:
    match value:
        case bool():
            return [_option(key) if value else "--no-" + _option(key)[2:]]
        case tuple():
            return [f"{_option(key)}={each}" for each in value]
    return [f"{_option(key)}={value}"]


def _refuse(preset: Preset) -> NoReturn:
    click.echo(f"{preset.title}: {preset.what}.\n\n{preset.setup.rstrip()}\n", err=True)
    if preset.helper:
        what = f"{preset.title} needs no 'mailbell run'"
        raise UsageError(what, "install what the text above names")
    raise UsageError(f"{preset.name} has no command to run", "follow the text above instead")


def _of_file(
    given: Mapping[str, Any], path: str | None, known: Mapping[str, Preset]
) -> tuple[tuple[Job, ...], list[str]]:
    if given:
        options = ", ".join(map(_option, given))
        raise UsageError(
            f"{options}: for which command? There is neither COMMAND nor --client",
            "in agent.toml, write these into each job",
        )
    where = absolute(path or default_path(os.environ))
    if path is None and not os.path.exists(where):
        remedy = "name a command, as in: mailbell run -- mbsync -a"
        raise UsageError(f"no COMMAND, no --client, and no {where}", remedy)
    return load(where, known), [f"--config={where}"]


def _find_programs(jobs: Sequence[Job]) -> None:
    """Refuse missing programs now. Otherwise the person would only notice missed mail."""
    users: dict[str, list[str]] = {}
    for job in jobs:
        for words in filter(None, (job.command, job.then)):
            users.setdefault(words[0], []).append(job.name)
    problems = tuple(
        Problem(f"job {', '.join(names)}", _missing(program))
        for program, names in users.items()
        if shutil.which(program) is None
    )
    if problems:
        raise ConfigurationError(
            "1 program is missing"
            if len(problems) == 1
            else f"{len(problems)} programs are missing",
            "install it, or write its full path",
            problems,
        )


def _missing(program: str) -> str:
    if "/" in program:
        return f"{printable(program)} does not exist, or may not be executed"
    return f"{printable(program)} is in no folder of PATH ({os.environ.get('PATH', os.defpath)})"


def _serve(jobs: Sequence[Job], socket_path: str | None) -> None:
    import trio

    from mailbell.agent.log import Log
    from mailbell.agent.serve import serve

    prepare_signals(handled=[signal.SIGCHLD])
    # The event loop gives the signals back when nothing is left to end.
    ending = ending_signals()
    for number in ending:
        signal.signal(number, _end)
    # What a command leaves behind comes to this process if the command's keeper is killed.
    adopt_orphans()
    try:
        trio.run(serve, jobs, socket_path, Log(os.environ, time.monotonic))
    except BaseExceptionGroup as group:
        raise _only(group) from None
    finally:
        # The interpreter restores the default actions of all others at its end.
        replace_handlers(dict.fromkeys(ending, signal.SIG_IGN))


def _end(_number: int, _frame: object) -> NoReturn:
    """End at once, in order: no command runs yet, or none any more."""
    os._exit(0)


def _only(error: BaseException) -> BaseException:
    """Return the error that a nursery has wrapped. If there are several, return the group."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
