"""Turns the options of the command line and agent.toml into jobs.

The option `--min-gap` and the key `min_gap` of a table `[[job]]` mean the same, and the
same rules check both. A value that is not given is taken from the preset, then from
`[defaults]`, then from `Timing`. This module does not look for programs. docs/agent.md has
all keys in tables.
"""

import re
import shlex
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Final, Self

from msgspec import Meta, Struct
from msgspec.structs import asdict, fields

from mailbell.agent._pace import Timing
from mailbell.agent.preset import ACCOUNT, FLAG, LOCK, ExitCodes, Preset, similar
from mailbell.configuration.reader import INVALID, Problems, convert, each, quote, read
from mailbell.configuration.values import ACCOUNT_NAME, Duration, array, between

__all__ = ["DEFAULTS", "Backoff", "Job", "Poll", "from_options", "parse"]


@dataclass(frozen=True, slots=True)
class Job:
    """A command, and when it runs.

    Attributes:
        name: the name in the log. Each job has another name.
        command: the words of the command. The first is a program in PATH or an absolute path.
        accounts: the accounts whose notifications start the job; empty: all accounts.
        then: a command to run after a success; empty: none.
        timing: the times of the job.
        ok_codes: exit codes that are no failure; 0 is one of them.
        busy_codes: exit codes that say that the mail server was busy, if they are not in
            `ok_codes`.
        on_start: whether the job runs when the agent starts.
        network_up: whether the job runs when the machine gets an address.
        lock: jobs with the same lock and a common account never overlap.
        only_rung: whether the job runs for notifications only.
    """

    name: str
    command: tuple[str, ...]
    accounts: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    timing: Timing = field(default_factory=Timing)
    ok_codes: frozenset[int] = frozenset({0})
    busy_codes: frozenset[int] = frozenset()
    on_start: bool = True
    network_up: bool = True
    lock: str = "fetch"
    only_rung: bool = False


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait after failures.

    Attributes:
        first: the wait after the first failure, in seconds.
        most: the longest wait, in seconds.
    """

    form: ClassVar[str] = (
        'two durations from "100ms" to "24h", the shorter one first, such as "30s..10m"'
    )

    first: Duration
    most: Duration

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `MIN..MAX`.

        Args:
            text: as it is written in the configuration.

        Returns:
            Both durations.

        Raises:
            ValueError: the text has another form. The message says what to write.
        """
        first, _, most = text.partition("..")
        try:
            backoff = cls(Duration.parse(first), Duration.parse(most))
        except ValueError:
            raise ValueError(f"write {cls.form}") from None
        if not 0.1 <= backoff.first <= backoff.most <= 86_400:
            raise ValueError(f"write {cls.form}")
        return backoff

    def __str__(self) -> str:
        return f"{self.first}..{self.most}"


class Poll(Duration):
    """The time without notifications after which the job runs, in seconds; 0: never."""

    __slots__ = ()
    form: ClassVar[str] = 'a duration from "1s" to "168h" such as "1h", or "0" for never'

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a duration, or `0`.

        Args:
            text: as it is written in the configuration.

        Returns:
            The duration.

        Raises:
            ValueError: the text has another form. The message says what to write.
        """
        if text == "0":
            return cls(0)
        try:
            poll = super().parse(text)
        except ValueError:
            raise ValueError(f"write {cls.form}") from None
        if poll and not 1 <= poll <= 168 * 3600:
            raise ValueError(f"write {cls.form}")
        return poll

    def __str__(self) -> str:
        return super().__str__() if self else "0"


# execve(2): a word ends at NUL, and has at most 128 KiB. The program checks its own words.
_WORD = Meta(
    pattern=r"\A[^\0]{0,4096}\Z", description='a word of at most 4096 characters, such as "-a"'
)
_WORDS = tuple[Annotated[str, _WORD], ...]
_CODE = re.compile(r"[0-9]{1,3}", re.ASCII)
_CLIENT = Meta(description='the name of a preset, such as "mbsync"')

# The value of a key that is not given: another source has its value.
_UNSET: Final[Any] = None


class _Pacing(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys that say when a job runs, in `[defaults]` or in a job."""

    settle: Annotated[Duration, between(Duration, "0s", "1m", "1s")] = _UNSET
    settle_max: Annotated[Duration, between(Duration, "0s", "10m", "10s")] = _UNSET
    min_gap: Annotated[Duration, between(Duration, "100ms", "24h", "30s")] = _UNSET
    login_delay: Annotated[Duration, between(Duration, "0s", "24h", "5m")] = _UNSET
    timeout: Annotated[Duration, between(Duration, "100ms", "24h", "5m")] = _UNSET
    backoff: Backoff = _UNSET
    poll: Poll = _UNSET
    on_start: Annotated[bool, FLAG] = _UNSET
    network_up: Annotated[bool, FLAG] = _UNSET


class _Job(_Pacing, frozen=True, forbid_unknown_fields=True):
    """All keys of a job."""

    name: Annotated[str, ACCOUNT_NAME] = _UNSET
    accounts: Annotated[tuple[Annotated[str, ACCOUNT_NAME], ...], array(64, '["work"]')] = _UNSET
    client: Annotated[str, _CLIENT] = _UNSET
    command: Annotated[_WORDS, array(256, '["mbsync", "-a"]', least=1)] = _UNSET
    args: Annotated[_WORDS, array(256, '["work"]')] = _UNSET
    then: Annotated[_WORDS, array(256, '["notmuch", "new"]')] = _UNSET
    ok_codes: ExitCodes = _UNSET
    busy_codes: ExitCodes = _UNSET
    lock: Annotated[str, LOCK] = _UNSET


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    """The tables of agent.toml."""

    job: Annotated[tuple[_Job, ...], array(64, '[[job]] with command = ["mbsync", "-a"]', least=1)]
    defaults: _Pacing = _Pacing()


def _built_in() -> Mapping[str, Any]:
    plain = Timing()
    return {
        "settle": Duration(plain.settle),
        "settle_max": Duration(plain.settle_max),
        "min_gap": Duration(plain.min_gap),
        "login_delay": Duration(plain.login_delay),
        "timeout": Duration(plain.timeout),
        "backoff": Backoff(Duration(plain.backoff), Duration(plain.backoff_max)),
        "poll": Poll(plain.poll),
        "on_start": True,
        "network_up": True,
        "accounts": (),
        "then": (),
        "ok_codes": frozenset({0}),
        "busy_codes": frozenset(),
        "lock": "fetch",
    }


DEFAULTS: Final = _built_in()
"""The built-in values, by key."""

_Presets = Mapping[str, Preset]
_Path = Callable[[str], str]  # turns a key into its path for a message


def parse(data: bytes, presets: _Presets) -> tuple[Job, ...]:
    """Read agent.toml.

    Args:
        data: the file: TOML in UTF-8, at most 1 MiB, no line over 1024 bytes.
        presets: the presets that `client` may name.

    Returns:
        The jobs, at least one, each with a name of its own.

    Raises:
        ConfigurationError: the file has mistakes. The error has all of them.
    """
    problems = Problems()
    file = read(data, _File, problems)
    defaults = ChainMap(_given(file.defaults), dict(DEFAULTS))
    _check_settling(defaults, lambda key: f"defaults.{key}", problems)
    drafts = [
        _Draft(job, file.defaults, presets, _key_of(place), problems)
        for place, job in each(file.job)
    ]
    for draft in drafts:
        draft.check()
    _check_names(drafts, problems)
    problems.raise_if_any()
    return tuple(job for draft in drafts for job in draft.jobs())


def from_options(given: Mapping[str, object], presets: _Presets) -> tuple[Job, ...]:
    """Read the one job of a command line.

    Args:
        given: the given options, by the keys of agent.toml. `then`, `ok_codes` and
            `busy_codes` are strings; the others are values as TOML has them.
        presets: the presets that `client` may name.

    Returns:
        The job, or several jobs if there is one for each account.

    Raises:
        ConfigurationError: the options have mistakes. The error has all of them, with the
            options as paths.
    """
    problems = Problems()
    types = {field.name: field.type for field in fields(_Job)}
    said = {key: _option(key, given[key], types[key], problems) for key in given}
    draft = _Draft(_Job(**said), _Pacing(), presets, _option_of, problems)
    draft.check()
    problems.raise_if_any()
    return tuple(draft.jobs())


def _key_of(place: int) -> _Path:
    return lambda key: f"job[{place}].{key}"


def _option_of(key: str) -> str:
    named = {"accounts": "--account", "command": "COMMAND", "args": "ARG"}
    return named.get(key) or "--" + key.replace("_", "-")


def _option(key: str, value: Any, kind: Any, problems: Problems) -> Any:
    """Convert the value of an option. Three options have several values in one string."""
    if isinstance(value, tuple):  # from an option that may be repeated
        value = list(value)
    if key in ("ok_codes", "busy_codes"):
        value = [int(code) if _CODE.fullmatch(code) else code for code in value.split(",")]
    if key == "then":
        try:
            value = shlex.split(value)
        except ValueError:
            remedy = "close every quotation mark, and do not end with a backslash"
            problems.add("--then", f"{quote(value)} is not accepted: {remedy}")
            return INVALID
    return convert(kind, value, _option_of(key), problems)


class _Draft:
    """A job that is not checked yet."""

    def __init__(
        self, job: _Job, defaults: _Pacing, presets: _Presets, path: _Path, problems: Problems
    ) -> None:
        self._job = job
        self._given = _given(job)
        self._presets = presets
        self.path = path
        self._problems = problems
        self._preset = None if job.client is INVALID else presets.get(job.client)
        self._settings: Mapping[str, Any] = ChainMap(
            self._given, _of_preset(self._preset), _given(defaults), dict(DEFAULTS)
        )

    @property
    def name(self) -> Any:
        """The given name, or else the one made from the client or command; INVALID if unknown."""
        for key in ("name", "client"):
            if key in self._given:
                return self._given[key]
        return _name_of(self._job.command)

    def check(self) -> None:
        """Report every mistake in the job."""
        self._check_source()
        if self._preset is not None:
            self._check_args(self._preset)
            self._check_occasions(self._preset)
        self._check_programs()
        self._check_accounts()
        if {"settle", "settle_max"} & self._given.keys():
            _check_settling(self._settings, self.path, self._problems)

    def jobs(self) -> Iterator[Job]:
        """Yield the job, or one job for each account if a word contains `{account}`."""
        job = self._whole()
        if not _speaks_of_account(job.command, job.then):
            yield job
            return
        for account in job.accounts:
            yield replace(
                job,
                name=job.name if len(job.accounts) == 1 else f"{job.name}/{account}",
                accounts=(account,),
                command=tuple(word.replace(ACCOUNT, account) for word in job.command),
                then=tuple(word.replace(ACCOUNT, account) for word in job.then),
            )

    def _whole(self) -> Job:
        settings = self._settings
        return Job(
            name=self.name,
            command=self._command(),
            timing=_timing(settings),
            ok_codes=settings["ok_codes"] | {0},
            only_rung=self._preset is not None and self._preset.only_rung,
            **{key: settings[key] for key in _TAKEN_AS_THEY_ARE},
        )

    def _command(self) -> tuple[str, ...]:
        if self._preset is None:
            return self._job.command
        args = self._given.get("args", self._preset.args)
        return INVALID if args is INVALID else (*self._preset.command, *args)

    def _problem(self, key: str, message: str, place: int | None = None) -> None:
        path = self.path(key)
        self._problems.add(path if place is None else f"{path}[{place}]", message)

    def _check_source(self) -> None:
        said, client = self._given.keys(), self._job.client
        if "client" in said:
            if "command" in said and self._job.command is not INVALID:
                self._problem("client", "there is a command too: leave one of the two out")
            if client is not INVALID and self._preset is None:
                self._problem("client", f"{quote(client)} is not known: {self._suggestion()}")
            return
        if "command" not in said:
            self._problem("command", "missing: write a command or a client")
        if "args" in said:
            self._problem("args", "need a client: without one, add them to command")

    def _suggestion(self) -> str:
        near = similar(self._job.client, self._presets)
        names = " or ".join(quote(name) for name in near)
        known = "'mailbell clients' lists the known ones"
        return f"perhaps {names}; {known}" if names else known

    def _check_args(self, preset: Preset) -> None:
        args = self._job.args
        if preset.kind == "none":
            how = f"'mailbell clients {preset.name}' says what to set in the program"
            self._problem("client", f"{quote(preset.name)} has no command to run: {how}")
        elif args and not preset.words:
            self._problem("args", f"{quote(preset.name)} takes no further words: leave them out")
        elif preset.words_needed and not args:
            self._problem("args", f"missing: {quote(preset.name)} needs {preset.words}")

    def _check_occasions(self, preset: Preset) -> None:
        for key in _OTHER_OCCASIONS if preset.only_rung else ():
            if self._given.get(key, False) not in (False, INVALID):  # 0 equals False
                what = f"{quote(preset.name)} runs for notifications only: leave it out"
                self._problem(key, what)

    def _check_programs(self) -> None:
        for key, words in (("command", self._job.command), ("then", self._job.then)):
            for place, word in each(words or ()):
                if place == 0 and (problem := _no_program(word)):
                    self._problem(key, problem, place)

    def _check_accounts(self) -> None:
        accounts = self._settings["accounts"]
        first: dict[str, int] = {}
        for place, account in each(accounts):
            if first.setdefault(account, place) != place:
                self._problem("accounts", f"{quote(account)} is there twice: remove one", place)
        if accounts == () and _speaks_of_account(self._command(), self._settings["then"]):
            what = f"missing: {ACCOUNT} in the command stands for one of them"
            self._problem("accounts", what)


# The keys that make a job run without a notification, with the values that prevent it.
_OTHER_OCCASIONS: Final = {"on_start": False, "network_up": False, "poll": Poll(0)}

_TAKEN_AS_THEY_ARE: Final = ("accounts", "then", "busy_codes", "on_start", "network_up", "lock")


def _timing(settings: Mapping[str, Any]) -> Timing:
    backoff: Backoff = settings["backoff"]
    return Timing(
        backoff=float(backoff.first),
        backoff_max=float(backoff.most),
        **{
            key: float(settings[key])
            for key in ("settle", "settle_max", "min_gap", "login_delay", "timeout", "poll")
        },
    )


def _given(table: _Pacing) -> dict[str, Any]:
    return {key: value for key, value in asdict(table).items() if value is not _UNSET}


def _of_preset(preset: Preset | None) -> dict[str, Any]:
    if preset is None:
        return {}
    said = {key: getattr(preset, key) for key in ("then", "ok_codes", "busy_codes", "lock")}
    return said | _OTHER_OCCASIONS if preset.only_rung else said


def _speaks_of_account(*commands: Sequence[str]) -> bool:
    return any(ACCOUNT in word for command in commands for _, word in each(command or ()))


def _no_program(word: str) -> str | None:
    """Return why a word is neither a program in PATH nor an absolute path; None if it is one."""
    if word.startswith("~"):
        return f"{quote(word)}: only a shell replaces ~: write a path that begins with /"
    if "/" in word and not word.startswith("/"):
        return f"{quote(word)} is a relative path: write a path that begins with /"
    return None if word else '"" is not a program: write one, such as "mbsync"'


def _name_of(command: Sequence[str]) -> Any:
    first = next((word for place, word in each(command or ()) if place == 0), INVALID)
    if first is INVALID:  # reported already
        return INVALID
    name = _NO_NAME.sub("-", first.rpartition("/")[2]).strip("-")
    return name[:64] or "job"


# Characters that a name may not have. A name begins with a letter or a digit.
_NO_NAME: Final = re.compile(r"\A[^A-Za-z0-9]+|[^A-Za-z0-9._@+-]+", re.ASCII)


def _check_settling(settings: Mapping[str, Any], path: _Path, problems: Problems) -> None:
    least, most = settings["settle"], settings["settle_max"]
    if INVALID not in (least, most) and most < least:
        problems.add(path("settle_max"), f'"{most}" is less than settle: write at least "{least}"')


def _check_names(drafts: Sequence[_Draft], problems: Problems) -> None:
    first: dict[str, _Draft] = {}
    for draft in drafts:
        name = draft.name
        if name is not INVALID and first.setdefault(name, draft) is not draft:
            other = first[name].path("name")
            what = f"{quote(name)} is also {other}: write another name"
            problems.add(draft.path("name"), what)
