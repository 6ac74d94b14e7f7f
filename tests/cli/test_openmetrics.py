"""A status as OpenMetrics text, read back by a small strict parser."""

import re
from dataclasses import dataclass, field

import msgspec
import pytest
from harness.fake_daemon import STATUS
from hypothesis import given
from hypothesis import strategies as st

from mailbell.cli._openmetrics import PREFIX, no_answer, openmetrics, seconds
from mailbell.core.notification import Cursor
from mailbell.core.outcome import Outcome
from mailbell.interfaces.listener import Account, Outcomes, Sandbox, Status, Table
from mailbell.interfaces.local_event import LocalEvent

_Labels = frozenset[tuple[str, str]]
# Types that both the older text format and OpenMetrics have.
_SUFFIX = {"counter": "_total", "gauge": ""}
_SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (-?[0-9]+(?:\.[0-9]+)?)")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


@dataclass
class Family:
    """One metric family as read back."""

    kind: str
    unit: str = ""
    explained: str = ""
    samples: dict[_Labels, str] = field(default_factory=dict)


def parse(text: str) -> dict[str, Family]:
    """Read OpenMetrics text by the rules of its specification, and refuse everything else."""
    assert text.endswith("\n# EOF\n")
    families: dict[str, Family] = {}
    name = ""
    for line in text.removesuffix("# EOF\n").removesuffix("\n").split("\n"):
        if line.startswith("# "):
            name = _metadata(families, name, line)
        else:
            _sample(name, families[name], line)
    for name, family in families.items():
        assert family.explained
        assert name.endswith(f"_{family.unit}") or not family.unit
    return families


def _metadata(families: dict[str, Family], current: str, line: str) -> str:
    _, keyword, name, value = line.split(" ", 3)
    if keyword == "TYPE":
        assert name not in families, "a family is one block"
        families[name] = Family(value)
        return name
    assert name == current
    assert not families[name].samples, "metadata comes before samples"
    if keyword == "UNIT":
        families[name].unit = value
    else:
        assert keyword == "HELP"
        families[name].explained = value
    return name


def _sample(name: str, family: Family, line: str) -> None:
    match = _SAMPLE.fullmatch(line)
    assert match is not None, line
    assert match[1] == name + _SUFFIX[family.kind]
    labels, rest = {}, match[2] or ""
    while rest:
        label = _LABEL.match(rest)
        assert label is not None, rest
        assert label[1] not in labels
        labels[label[1]] = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], label[2])
        rest = rest[label.end() :]
    key = frozenset(labels.items())
    assert key not in family.samples, "each sample once"
    family.samples[key] = match[3]


def explained(text: str, prefix: str) -> str:
    """The metrics in their order, each with its type and its explanation."""
    families = parse(text).items()
    for name, family in families:
        assert family.unit == ("seconds" if name.endswith("_seconds") else "")
    return "".join(
        f"{name.removeprefix(prefix)} {family.kind} {family.explained}\n"
        for name, family in families
    )


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.text('\\n"\n,={} ')
_COUNT = st.integers(0, 2**53)
_TIME = st.integers(-(2**53), 2**53)  # a clock may be set to any time


def _names(names: type[Outcome] | type[LocalEvent]) -> st.SearchStrategy[dict[str, int]]:
    return st.fixed_dictionaries({name.value: _COUNT for name in names})


_STATUS = st.builds(
    Status,
    version=_TEXT,
    pid=_COUNT,
    cursor=st.just(Cursor("e", 3)),
    started=_TIME,
    uptime=st.none() | _TIME,
    listening=st.just(("tcp 127.0.0.1:79",)),
    outcomes=st.builds(Outcomes, tcp=_names(Outcome), udp=_names(Outcome)),
    refused_by_total=_COUNT,
    leaked=_COUNT,
    kernel_dropped=st.none() | _COUNT,
    unfiltered=st.none() | _TEXT,
    wakeups=_COUNT,
    accounts=st.lists(
        st.builds(Account, name=_TEXT, count=_COUNT, time=st.none() | _TIME),
        max_size=3,
        unique_by=lambda account: account.name,
    ).map(tuple),
    accounts_total=_COUNT,
    connections=_COUNT,
    connections_limit=_COUNT,
    subscribers=_COUNT,
    subscribers_limit=_COUNT,
    tables=st.lists(
        st.builds(Table, name=_TEXT, entries=_COUNT, capacity=_COUNT, evicted=_COUNT),
        max_size=3,
        unique_by=lambda table: table.name,
    ).map(tuple),
    local=_names(LocalEvent),
    log_suppressed=_COUNT,
    sandbox=st.builds(
        Sandbox,
        uid=_COUNT,
        gid=_COUNT,
        groups=st.lists(_COUNT, max_size=2).map(tuple),
        capabilities=_TEXT,
        no_new_privs=st.booleans(),
        seccomp=_COUNT,
        threads=_COUNT,
        permitted_calls=_COUNT,
        landlock_abi=_COUNT,
        landlock_used=st.none() | _COUNT,
        landlock_uncovered=st.lists(st.sampled_from(["stat", "udp"]), max_size=2).map(tuple),
    ),
)


def _microseconds(seconds: str) -> int:
    whole, _, rest = seconds.partition(".")
    sign = -1 if whole.startswith("-") else 1
    return int(whole) * 10**6 + sign * int(rest)


@given(_STATUS)
def test_everything_comes_back(status: Status) -> None:
    families = parse(openmetrics(status))

    def only(name: str) -> int:
        family = families[f"mailbell_{name}"]
        return int(family.samples[frozenset()])

    def by(name: str, *labels: str) -> dict[tuple[str, ...], str]:
        samples = families[f"mailbell_{name}"].samples
        assert all({key for key, _ in each} == set(labels) for each in samples)
        return {tuple(dict(each)[k] for k in labels): value for each, value in samples.items()}

    inputs = {("tcp", name): str(n) for name, n in status.outcomes.tcp.items()}
    inputs |= {("udp", name): str(n) for name, n in status.outcomes.udp.items()}
    assert by("inputs", "transport", "outcome") == inputs
    assert by("local_events", "event") == {(k,): str(n) for k, n in status.local.items()}
    assert by("build_info", "version") == {(status.version,): "1"}
    assert by("notifications", "account") == {(a.name,): str(a.count) for a in status.accounts}
    latest = by("last_notification_time_seconds", "account")
    assert {name: _microseconds(at) for (name,), at in latest.items()} == {
        a.name: a.time for a in status.accounts if a.time is not None
    }
    for name, attribute in (
        ("source_entries", "entries"),
        ("source_capacity", "capacity"),
        ("source_evictions", "evicted"),
    ):
        expected = {(t.name,): str(getattr(t, attribute)) for t in status.tables}
        assert by(name, "table") == expected
    for name in ("wakeups", "log_suppressed", "connections", "connections_limit"):
        assert only(name) == getattr(status, name)
    assert only("subscribers") == status.subscribers
    assert only("subscribers_limit") == status.subscribers_limit
    assert only("seccomp_mode") == status.sandbox.seccomp
    for name in ("no_new_privs", "threads", "permitted_calls", "landlock_abi"):
        assert only(name) == getattr(status.sandbox, name)
    (started,) = families["mailbell_start_time_seconds"].samples.values()
    assert _microseconds(started) == status.started


EXPLAINED = """\
up gauge 1: the daemon answers.
build_info gauge The daemon's version.
start_time_seconds gauge When the daemon started.
uptime_seconds gauge How long the daemon has been up.
connections gauge Network connections open now.
connections_limit gauge Network connections at most.
subscribers gauge Subscribers now.
subscribers_limit gauge Subscribers at most.
log_suppressed counter Log lines held back or not written.
inputs counter Connections and datagrams by how they ended.
total_rate_refused counter Requests that only the rate of all sources together refused.
leaked counter Datagrams over their source's limits, let through by chance.
kernel_dropped counter Datagrams the kernel dropped: by the filter, or because the queue was full.
unfiltered gauge 1: not the kernel but the daemon enforces the allowed sources.
wakeups counter Notifications handed on, after coalescing.
local_events counter Events at the local socket.
notifications counter Notifications by account.
last_notification_time_seconds gauge When the last notification came.
source_entries gauge Sources a table holds now.
source_capacity gauge Sources a table can hold.
source_evictions counter Sources that gave way while still known.
sandbox_info gauge The identity the daemon runs under.
no_new_privs gauge 1: executing adds no privilege.
seccomp_mode gauge Mode of seccomp(2); 2 is a filter.
threads gauge Threads of the daemon.
permitted_calls gauge System calls the filter lets through.
landlock_abi gauge Version of Landlock in the kernel.
landlock_used gauge Version of Landlock in force.
"""


def test_each_metric_says_what_it_is() -> None:
    full = msgspec.structs.replace(STATUS, uptime=1, kernel_dropped=2)
    assert explained(openmetrics(full), PREFIX) == EXPLAINED


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [(0, "0.000000"), (1, "0.000001"), (-1, "-0.000001"), (1_000_000, "1.000000")],
)
def test_a_time_is_told_in_seconds_to_the_microsecond(microseconds: int, text: str) -> None:
    assert seconds(microseconds) == text


@given(_STATUS)
def test_what_an_older_daemon_does_not_tell_is_not_there(status: Status) -> None:
    families = parse(openmetrics(status))
    up = families.get("mailbell_uptime_seconds")
    assert (up and _microseconds(up.samples[frozenset()])) == status.uptime
    used = families.get("mailbell_landlock_used")
    assert (used and int(used.samples[frozenset()])) == status.sandbox.landlock_used


@given(_STATUS)
def test_what_the_kernel_does_not_tell_is_not_there(status: Status) -> None:
    family = parse(openmetrics(status)).get("mailbell_kernel_dropped")
    dropped = None if family is None else int(family.samples[frozenset()])
    assert dropped == status.kernel_dropped


@given(_STATUS)
def test_of_a_daemon_that_does_not_answer_only_that_is_told(status: Status) -> None:
    """A collector would keep the last metrics of one that has ended."""
    assert parse(openmetrics(status))["mailbell_up"].samples == {frozenset(): "1"}
    silent = parse(no_answer(PREFIX))
    assert {name: family.samples for name, family in silent.items()} == {
        "mailbell_up": {frozenset(): "0"}
    }


@given(_STATUS)
def test_the_identity_is_one_sample(status: Status) -> None:
    ((labels, value),) = parse(openmetrics(status))["mailbell_sandbox_info"].samples.items()
    assert value == "1"
    sandbox = status.sandbox
    assert dict(labels) == {
        "uid": str(sandbox.uid),
        "gid": str(sandbox.gid),
        "groups": ",".join(map(str, sandbox.groups)),
        "capabilities": sandbox.capabilities,
        "landlock_uncovered": ",".join(sandbox.landlock_uncovered),
    }


@given(_STATUS)
def test_the_reference_parser_takes_it(status: Status) -> None:
    """The collector's own parser, if it is installed."""
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    text = openmetrics(status)
    names = {family.name for family in parser.text_string_to_metric_families(text)}
    assert names == set(parse(text))


@given(_STATUS)
def test_the_parser_of_the_older_format_takes_every_sample(status: Status) -> None:
    """It reads what node_exporter's textfile collector is given (tests/cli/test_collector.py)."""
    parser = pytest.importorskip("prometheus_client.parser")
    text = openmetrics(status)
    found = [
        sample
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    ]
    assert len(found) == sum(len(family.samples) for family in parse(text).values())


@given(_STATUS, _TEXT)
def test_of_two_that_have_one_name_the_first_is_told(status: Status, name: str) -> None:
    """A collector refuses a text with one sample twice, and a hostile daemon may name any."""
    accounts = (Account(name=name, count=1, time=-1), Account(name=name, count=2, time=2))
    tables = tuple(Table(name=name, entries=n, capacity=n, evicted=n) for n in (1, 2))
    told = msgspec.structs.replace(status, accounts=accounts, tables=tables)
    families = parse(openmetrics(told))
    for family, value in (
        ("notifications", "1"),
        ("last_notification_time_seconds", "-0.000001"),
        ("source_entries", "1"),
        ("source_evictions", "1"),
    ):
        assert list(families[f"mailbell_{family}"].samples.values()) == [value]
