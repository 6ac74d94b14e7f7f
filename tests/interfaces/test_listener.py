"""The status record."""

import msgspec
import pytest

from mailbell.core.notification import Cursor
from mailbell.interfaces.listener import Account, Limited, Outcomes, Sandbox, Status, Table
from mailbell.listener._counters import Counters

_FIELDS = {
    Outcomes: "tcp udp",
    Table: "name entries capacity evicted",
    Limited: "table source refused wait",
    Account: "name count time age",
    Sandbox: "uid gid groups capabilities no_new_privs seccomp threads permitted_calls "
    "landlock_abi landlock_used landlock_uncovered",
    Status: "version pid cursor started uptime listening outcomes refused_by_total leaked "
    "kernel_dropped unfiltered wakeups accounts accounts_total connections connections_limit "
    "subscribers subscribers_limit tables limited local log_suppressed sandbox",
}


def _sandbox() -> Sandbox:
    return Sandbox(
        uid=65534,
        gid=65534,
        groups=(),
        capabilities="0" * 16,
        no_new_privs=True,
        seccomp=2,
        threads=1,
        permitted_calls=43,
        landlock_abi=7,
        landlock_uncovered=("stat", "chmod"),
    )


def _status(counters: Counters) -> Status:
    return Status(
        version="1.2.3",
        pid=7,
        cursor=Cursor("e", -1),
        started=1_700_000_000_000_001,
        listening=("tcp 127.0.0.1:79",),
        outcomes=counters.snapshot_outcomes(),
        refused_by_total=0,
        leaked=0,
        kernel_dropped=None,
        wakeups=counters.wakeups,
        accounts=(Account(name="default", count=0),),
        accounts_total=1,
        connections=0,
        connections_limit=256,
        subscribers=0,
        subscribers_limit=64,
        tables=(Table(name="tcp/ipv4/32", entries=1, capacity=8192, evicted=0),),
        limited=(Limited(table="tcp/ipv4/32", source="192.0.2.25", refused=3, wait=1),),
        local=counters.snapshot_local(),
        log_suppressed=0,
        sandbox=_sandbox(),
    )


@pytest.mark.parametrize("record", list(_FIELDS))
def test_the_fields_are_those_of_the_interface(record: type) -> None:
    described = msgspec.inspect.type_info(record)
    assert isinstance(described, msgspec.inspect.StructType | msgspec.inspect.DataclassType)
    assert [field.name for field in described.fields] == _FIELDS[record].split()


@pytest.mark.parametrize("record", [_sandbox(), _status(Counters())])
def test_a_record_cannot_be_changed(record: msgspec.Struct) -> None:
    with pytest.raises(AttributeError):
        setattr(record, record.__struct_fields__[0], "other")


def test_a_status_survives_json() -> None:
    status = _status(Counters())
    assert msgspec.json.decode(msgspec.json.encode(status), type=Status) == status


def test_a_daemon_that_tells_no_limited_sources_is_understood() -> None:
    """The daemon is older than the client."""
    plain = msgspec.to_builtins(_status(Counters()))
    del plain["limited"]
    assert msgspec.convert(plain, Status).limited == ()


def test_a_daemon_that_tells_no_ages_is_understood() -> None:
    """The daemon is older than the client."""
    plain = msgspec.to_builtins(_status(Counters()))
    del plain["uptime"], plain["accounts"][0]["age"], plain["sandbox"]["landlock_used"]
    status = msgspec.convert(plain, Status)
    assert status.uptime is status.accounts[0].age is status.sandbox.landlock_used is None


def test_what_varlink_may_leave_out_may_be_left_out() -> None:
    """A Varlink peer leaves out a nullable field that is null."""
    status = _status(Counters())
    plain = msgspec.to_builtins(status)
    del plain["kernel_dropped"], plain["unfiltered"], plain["accounts"][0]["time"]
    assert msgspec.convert(plain, Status) == status


@pytest.mark.parametrize(
    ("field", "wrong"), [("pid", "7"), ("sandbox", None), ("local", {"a": ""})]
)
def test_a_wrong_type_is_refused(field: str, wrong: object) -> None:
    plain = msgspec.to_builtins(_status(Counters()))
    plain[field] = wrong
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.convert(plain, Status)
