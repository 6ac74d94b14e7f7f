"""Renders a status of mailbell-sender as OpenMetrics text, for a collector such as Prometheus.

Accounts, addresses and targets are left out: they are private, and a collector keeps each of
them for ever. See `mailbell.cli._openmetrics` for the format.
"""

from typing import Final

from mailbell.cli._openmetrics import MetricsText, answers, sandbox_metrics, seconds
from mailbell.interfaces.sender_status import Cluster, Latency, Status

__all__ = ["SENDER_PREFIX", "sender_metrics"]

SENDER_PREFIX: Final = "mailbell_sender_"
"""Begins the name of each metric of mailbell-sender."""


def sender_metrics(status: Status) -> str:
    r"""Render a status for a collector such as Prometheus.

    Args:
        status: the sender's status.

    Returns:
        OpenMetrics text, ending in `# EOF\n`.
    """
    text = MetricsText(SENDER_PREFIX)
    answers(text)
    _sender(text, status)
    _counted(text, status)
    _latency(text, status.latency)
    _targets(text, status)
    _book(text, status)
    if status.cluster is not None:
        _cluster(text, status.cluster)
    sandbox_metrics(text, status.sandbox)
    return text.end()


def _sender(text: MetricsText, status: Status) -> None:
    text.family("build_info", "gauge", "", "The sender's version.")
    text.sample("build_info", 1, version=status.version)
    text.family("start_time_seconds", "gauge", "seconds", "When the sender started.")
    text.sample("start_time_seconds", seconds(status.started))
    text.family("uptime_seconds", "gauge", "seconds", "How long the sender has been up.")
    text.sample("uptime_seconds", seconds(status.uptime))
    text.gauge("connections", "Connections of mail servers now.", status.connections)
    text.gauge(
        "connections_limit", "Connections of mail servers at most.", status.connections_limit
    )
    text.gauge("watchers", "Watchers now.", status.watchers)
    text.gauge("watchers_limit", "Watchers at most.", status.watchers_limit)
    text.counter("log_suppressed", "Log lines held back or not written.", status.log_suppressed)


def _counted(text: MetricsText, status: Status) -> None:
    for name, explained, label, counts in (
        ("inputs", "Lines, events and datagrams by how they ended.", "outcome", status.inputs),
        ("rings", "Rings by how they ended.", "outcome", status.rings),
        ("local_events", "Events at the control socket.", "event", status.local),
    ):
        text.family(name, "counter", "", explained)
        for value, count in counts.items():
            text.sample(f"{name}_total", count, **{label: value})


def _latency(text: MetricsText, latency: Latency) -> None:
    text.counter("delays", "Notifications whose way to the wire was measured.", latency.count)
    explained = "From the word of the mail server to the wire, since the start."
    text.family("delay_seconds", "gauge", "seconds", explained)
    for share, microseconds in (("0.5", latency.p50), ("0.99", latency.p99)):
        # No sample means "none was measured" to a collector.
        if microseconds is not None:
            text.sample("delay_seconds", seconds(microseconds), share=share)


def _targets(text: MetricsText, status: Status) -> None:
    text.gauge("accounts_listed", "Accounts in the configuration.", status.accounts_listed)
    text.gauge("targets", "Targets that have a state now.", status.targets_known)
    text.gauge("pending", "Targets with a notification that is not sent.", status.pending)
    text.gauge("backing_off", "Targets that are out of reach.", status.backing_off)
    text.gauge("sending", "Connections to targets now.", status.sending)
    text.gauge("sending_limit", "Connections to targets at most.", status.sending_limit)
    text.family("names", "gauge", "", "What the resolver's client knows, by kind.")
    for kind, count in status.names.items():
        text.sample("names", count, kind=kind)


def _book(text: MetricsText, status: Status) -> None:
    book, store = status.book, status.store
    text.gauge("book_accounts", "Accounts in the address book.", book.accounts)
    text.gauge("book_addresses", "Addresses in the address book.", book.addresses)
    text.gauge("book_capacity", "Accounts the address book can hold.", book.capacity)
    text.counter("book_evictions", "Accounts forgotten because it was full.", book.evicted)
    text.gauge("store_failing", "1: the address book is not saved.", int(store.failing is not None))
    aside = "1: another file was found in its place at the start."
    text.gauge("store_set_aside", aside, int(store.set_aside is not None))


def _cluster(text: MetricsText, cluster: Cluster) -> None:
    alone = "1: the engine is away, and this sender rings alone."
    text.gauge("cluster_failing", alone, int(cluster.failing is not None))
    living = sum(node.lives for node in cluster.nodes)
    text.gauge("cluster_nodes", "Nodes of the cluster that live.", living)
    text.gauge("cluster_waiting", "Logins and accounts to be handed over.", cluster.waiting)
    text.counter("cluster_alone", "What the engine may not have got.", cluster.alone)
    text.counter(
        "cluster_dropped", "What was to be handed over and found no place.", cluster.dropped
    )
    text.counter("cluster_refused", "What other nodes said and was not obeyed.", cluster.refused)
    own = [node for node in cluster.nodes if node.name == cluster.node]
    for node in own:
        text.counter("cluster_taken", "Rings that this node has taken.", node.taken)
        text.gauge("cluster_inbox", "Entries that wait for this node.", node.waiting)
        text.family("cluster_lag_seconds", "gauge", "seconds", "How long its latest entry waited.")
        text.sample("cluster_lag_seconds", seconds(node.lag))
