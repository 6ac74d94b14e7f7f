"""A status of the sender as OpenMetrics text, read back by parsers."""

from typing import Any

import msgspec
from cli.test_openmetrics import parse
from harness.fake_sender import CLUSTER, STATUS
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as older

from mailbell.cli._sender_metrics import sender_metrics
from mailbell.interfaces.sender_status import Latency

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
