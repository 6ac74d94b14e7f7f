"""Any agent.toml, and any options, give jobs with names of their own or printable problems.

After an `o` the input is options: names and values between zeros. Else it is the file.
"""

from pathlib import Path

from fuzz.fuzz_config import check_problems
from mailbell.agent import preset
from mailbell.agent.configuration import DEFAULTS, Job, from_options, parse
from mailbell.core.account_name import is_account_name
from mailbell.core.errors import ConfigurationError

_FOLDER = Path(preset.__file__).parent / "presets"
PRESETS = {path.stem: preset.parse(path.read_bytes()) for path in sorted(_FOLDER.glob("*.toml"))}
_SEVERAL = {"accounts", "command", "args"}
_FLAGS = {"on_start", "network_up"}
_KEYS = {*DEFAULTS, "name", "client", "command", "args"}


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    try:
        if data[:1] == b"o":
            jobs = from_options(options(data[1:]), PRESETS)
        else:
            jobs = parse(data, PRESETS)
    except ConfigurationError as error:
        check_problems(error)
    else:
        assert jobs
        assert data[:1] == b"o" or len({job.name for job in jobs}) == len(jobs)
        for job in jobs:
            check_job(job)


def options(data: bytes) -> dict[str, object]:
    """Returns options as the command line gives them: some may be repeated, some are flags."""
    words = data.decode("utf-8", "surrogateescape").split("\0")
    given: dict[str, object] = {}
    for name, value in zip(words[::2], words[1::2], strict=False):
        if name in _SEVERAL:
            before = given.get(name, ())
            assert isinstance(before, tuple)
            given[name] = (*before, value)
        elif name in _FLAGS:
            given[name] = value == "true"
        elif name in _KEYS:
            given[name] = value
    return given


def check_job(job: Job) -> None:
    """Checks what the agent relies on."""
    assert job.command
    assert not any("\0" in word for word in (*job.command, *job.then))
    assert all(map(is_account_name, job.accounts))
    assert len(set(job.accounts)) == len(job.accounts)
    timing = job.timing
    assert 0 <= timing.settle <= timing.settle_max
    assert 0 < timing.backoff <= timing.backoff_max
    assert 0 in job.ok_codes
