"""A status of the sender as OpenMetrics text, read back by parsers."""

from typing import Any

import msgspec
from cli.test_openmetrics import parse
from harness.fake_sender import STATUS
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
