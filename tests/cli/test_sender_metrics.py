"""A status of the sender as OpenMetrics text, read back by parsers."""

from typing import Any

import msgspec
from cli.test_openmetrics import explained, parse
from harness.fake_sender import CLUSTER, STATUS
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as older

from mailbell.cli._sender_metrics import SENDER_PREFIX, sender_metrics
from mailbell.interfaces.sender_status import Book, Latency

TEXT = sender_metrics(STATUS)


def test_it_is_openmetrics_by_every_parser() -> None:
    families = parse(TEXT)
    assert all(name.startswith("mailbell_sender_") for name in families)
    read: Any = openmetrics
    assert {one.name for one in read(TEXT)} == set(families)
    assert len(list(older(TEXT))) >= len(families)


def test_every_count_is_there() -> None:
    families = parse(TEXT)
    for name, counts in (("inputs", STATUS.inputs), ("rings", STATUS.rings)):
        samples = families[f"mailbell_sender_{name}"].samples
        assert {dict(key)["outcome"]: int(value) for key, value in samples.items()} == counts
    delays = families["mailbell_sender_delay_seconds"].samples
    assert delays[frozenset({("share", "0.5")})] == "0.000400"


EXPLAINED = """\
up gauge 1: the daemon answers.
build_info gauge The sender's version.
start_time_seconds gauge When the sender started.
uptime_seconds gauge How long the sender has been up.
connections gauge Connections of mail servers now.
connections_limit gauge Connections of mail servers at most.
watchers gauge Watchers now.
watchers_limit gauge Watchers at most.
log_suppressed counter Log lines held back or not written.
inputs counter Lines, events and datagrams by how they ended.
rings counter Rings by how they ended.
local_events counter Events at the control socket.
delays counter Notifications whose way to the wire was measured.
delay_seconds gauge From the word of the mail server to the wire, since the start.
accounts_listed gauge Accounts in the configuration.
targets gauge Targets that have a state now.
pending gauge Targets with a notification that is not sent.
backing_off gauge Targets that are out of reach.
sending gauge Connections to targets now.
sending_limit gauge Connections to targets at most.
names gauge What the resolver's client knows, by kind.
book_accounts gauge Accounts in the address book.
book_addresses gauge Addresses in the address book.
book_capacity gauge Accounts the address book can hold.
book_evictions counter Accounts forgotten because it was full.
store_failing gauge 1: the address book is not saved.
store_set_aside gauge 1: another file was found in its place at the start.
cluster_failing gauge 1: the engine is away, and this sender rings alone.
cluster_nodes gauge Nodes of the cluster that live.
cluster_waiting gauge Logins and accounts to be handed over.
cluster_alone counter What the engine may not have got.
cluster_dropped counter What was to be handed over and found no place.
cluster_refused counter What other nodes said and was not obeyed.
cluster_taken counter Rings that this node has taken.
cluster_inbox gauge Entries that wait for this node.
cluster_lag_seconds gauge How long its latest entry waited.
sandbox_info gauge The identity the daemon runs under.
no_new_privs gauge 1: executing adds no privilege.
seccomp_mode gauge Mode of seccomp(2); 2 is a filter.
threads gauge Threads of the daemon.
permitted_calls gauge System calls the filter lets through.
landlock_abi gauge Version of Landlock in the kernel.
landlock_used gauge Version of Landlock in force.
"""


def test_each_metric_says_what_it_is() -> None:
    text = sender_metrics(msgspec.structs.replace(STATUS, cluster=CLUSTER))
    assert explained(text, SENDER_PREFIX) == EXPLAINED


def test_each_number_has_its_own_metric() -> None:
    numbers = {
        "connections": 2, "connections_limit": 3, "watchers": 4, "watchers_limit": 5,
        "log_suppressed": 6, "accounts_listed": 7, "pending": 8, "backing_off": 9, "sending": 10,
        "sending_limit": 11,
    }  # fmt: skip
    status = msgspec.structs.replace(
        STATUS,
        started=1_500_000,
        uptime=2_500_000,
        targets_known=12,
        book=Book(accounts=13, addresses=14, capacity=15, evicted=16),
        latency=Latency(count=17, p50=18, p99=19),
        local={"connected": 20},
        names={"known": 21},
        **numbers,
    )
    expected = {name: str(number) for name, number in numbers.items()} | {
        "up": "1", "start_time_seconds": "1.500000", "uptime_seconds": "2.500000", "targets": "12",
        "book_accounts": "13", "book_addresses": "14", "book_capacity": "15",
        "book_evictions": "16", "delays": "17", "store_failing": "0", "store_set_aside": "0",
    }  # fmt: skip
    families = {
        name.removeprefix(SENDER_PREFIX): family.samples
        for name, family in parse(sender_metrics(status)).items()
    }
    assert {name: families[name].get(frozenset()) for name in expected} == expected
    assert families["build_info"] == {frozenset({("version", "1.0")}): "1"}
    assert families["local_events"] == {frozenset({("event", "connected")}): "20"}
    assert families["names"] == {frozenset({("kind", "known")}): "21"}
    assert families["delay_seconds"] == {
        frozenset({("share", "0.5")}): "0.000018",
        frozenset({("share", "0.99")}): "0.000019",
    }


def test_no_account_and_no_target_is_named() -> None:
    """A collector would keep each of them for ever, and others may read it."""
    for private in ("anna", "192.0.2.7", "2001:db8"):
        assert private not in TEXT


def test_what_was_not_measured_has_no_sample() -> None:
    text = sender_metrics(msgspec.structs.replace(STATUS, latency=Latency(count=0)))
    assert not parse(text)["mailbell_sender_delay_seconds"].samples


def test_what_the_store_lacks_is_a_gauge() -> None:
    store = msgspec.structs.replace(STATUS.store, failing="full", set_aside="corrupt")
    text = sender_metrics(msgspec.structs.replace(STATUS, store=store, names={"known": 3}))
    families = parse(text)
    assert families["mailbell_sender_store_failing"].samples[frozenset()] == "1"
    assert families["mailbell_sender_store_set_aside"].samples[frozenset()] == "1"
    assert families["mailbell_sender_names"].samples[frozenset({("kind", "known")})] == "3"


def test_only_a_node_has_metrics_of_its_cluster() -> None:
    assert "cluster" not in TEXT
    away = msgspec.structs.replace(CLUSTER, failing="it is away")
    for cluster, failing in ((CLUSTER, "0"), (away, "1")):
        text = sender_metrics(msgspec.structs.replace(STATUS, cluster=cluster))
        found = {
            name.removeprefix("mailbell_sender_cluster_"): value
            for name, family in parse(text).items()
            if "_cluster_" in name
            for value in family.samples.values()
        }
        assert found == {
            "failing": failing,
            "nodes": "1",
            "waiting": "5",
            "alone": "4",
            "dropped": "6",
            "refused": "8",
            "taken": "12",
            "inbox": "3",
            "lag_seconds": "0.002500",
        }
        assert "mx1" not in text


def test_a_node_that_has_not_spoken_to_its_engine_yet() -> None:
    empty = msgspec.structs.replace(CLUSTER, nodes=(), failing="not connected yet")
    text = sender_metrics(msgspec.structs.replace(STATUS, cluster=empty))
    assert "cluster_nodes 0" in text
    assert "cluster_taken" not in text
