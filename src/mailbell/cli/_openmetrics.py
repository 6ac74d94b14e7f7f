"""Renders a status as OpenMetrics text, for a collector such as Prometheus.

The command line renders it, and never the daemon.

Two kinds of parsers read the text. OpenMetrics parsers know the type "info". The parser of
the older text format, which node_exporter's textfile collector uses, refuses a file with a
type that it does not know. So a metric that only has labels is a gauge with the value 1,
as in node_exporter's own metrics.

Sources: OpenMetrics 1.0, https://prometheus.io/docs/specs/om/open_metrics_spec/, and
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from typing import Final

from mailbell.interfaces.listener import Account, Sandbox, Status, Table

__all__ = [
    "PREFIX",
    "MetricsText",
    "answers",
    "no_answer",
    "openmetrics",
    "sandbox_metrics",
    "seconds",
]

PREFIX: Final = "mailbell_"
"""Begins the name of each metric of mailbelld."""

_MICROSECONDS = 1_000_000


def openmetrics(status: Status) -> str:
    r"""Render a status for a collector such as Prometheus.

    Args:
        status: the daemon's status.

    Returns:
        OpenMetrics text, ending in `# EOF\n`.
    """
    text = MetricsText(PREFIX)
    answers(text)
    _daemon_metrics(text, status)
    _input_metrics(text, status)
    _account_metrics(text, status.accounts)
    _table_metrics(text, status.tables)
    sandbox_metrics(text, status.sandbox)
    return text.end()


class MetricsText:
    """Builds the OpenMetrics text: one family after another, each sample once.

    Args:
        prefix: begins the name of each metric.

    Attributes:
        lines: the lines so far.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.lines: list[str] = []
        self._written: set[str] = set()

    def end(self) -> str:
        """End the text, and return it."""
        return "\n".join([*self.lines, "# EOF\n"])

    def family(self, name: str, kind: str, unit: str, explained: str) -> None:
        """Begin a metric family. Its samples must follow directly: a family is one block."""
        self.lines.append(f"# TYPE {self._prefix}{name} {kind}")
        if unit:
            self.lines.append(f"# UNIT {self._prefix}{name} {unit}")
        self.lines.append(f"# HELP {self._prefix}{name} {explained}")

    def sample(self, name: str, value: int | str, **labels: str) -> None:
        """Add one sample of the last family, unless there is one of that name and these labels.

        A collector refuses the whole text for a second one. Only a daemon that is not ours tells
        of two accounts or tables with one name.
        """
        inside = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
        sample = f"{self._prefix}{name}{{{inside}}}" if inside else f"{self._prefix}{name}"
        if sample not in self._written:
            self._written.add(sample)
            self.lines.append(f"{sample} {value}")

    def counter(self, name: str, explained: str, value: int) -> None:
        """Add a counter that is a family of its own."""
        self.family(name, "counter", "", explained)
        self.sample(f"{name}_total", value)

    def gauge(self, name: str, explained: str, value: int) -> None:
        """Add a gauge that is a family of its own."""
        self.family(name, "gauge", "", explained)
        self.sample(name, value)


def _escape(text: str) -> str:
    # "escaped-char" of the specification: only these three characters are escaped.
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def seconds(microseconds: int) -> str:
    """Write a time in seconds, to the microsecond.

    Args:
        microseconds: the time.

    Returns:
        The number as text.
    """
    # Integers, because a double cannot hold the microseconds of every later time.
    whole, rest = divmod(abs(microseconds), _MICROSECONDS)
    return f"{'-' if microseconds < 0 else ''}{whole}.{rest:06d}"


def answers(text: MetricsText, up: int = 1) -> None:
    """Add whether the daemon answers.

    Args:
        text: where it is added.
        up: 1 if it does, else 0.
    """
    text.gauge("up", "1: the daemon answers.", up)


def no_answer(prefix: str) -> str:
    r"""Render what is known of a daemon that does not answer.

    Without it a collector would keep the last metrics of a daemon that has ended.

    Args:
        prefix: begins the name of each metric of this daemon.

    Returns:
        OpenMetrics text, ending in `# EOF\n`.
    """
    text = MetricsText(prefix)
    answers(text, 0)
    return text.end()


def _daemon_metrics(text: MetricsText, status: Status) -> None:
    text.family("build_info", "gauge", "", "The daemon's version.")
    text.sample("build_info", 1, version=status.version)
    text.family("start_time_seconds", "gauge", "seconds", "When the daemon started.")
    text.sample("start_time_seconds", seconds(status.started))
    if status.uptime is not None:
        text.family("uptime_seconds", "gauge", "seconds", "How long the daemon has been up.")
        text.sample("uptime_seconds", seconds(status.uptime))
    text.gauge("connections", "Network connections open now.", status.connections)
    text.gauge("connections_limit", "Network connections at most.", status.connections_limit)
    text.gauge("subscribers", "Subscribers now.", status.subscribers)
    text.gauge("subscribers_limit", "Subscribers at most.", status.subscribers_limit)
    text.counter("log_suppressed", "Log lines held back or not written.", status.log_suppressed)


def _input_metrics(text: MetricsText, status: Status) -> None:
    text.family("inputs", "counter", "", "Connections and datagrams by how they ended.")
    for transport, counts in (("tcp", status.outcomes.tcp), ("udp", status.outcomes.udp)):
        for outcome, count in counts.items():
            text.sample("inputs_total", count, transport=transport, outcome=outcome)
    refused = "Requests that only the rate of all sources together refused."
    text.counter("total_rate_refused", refused, status.refused_by_total)
    leaked = "Datagrams over their source's limits, let through by chance."
    text.counter("leaked", leaked, status.leaked)
    if status.kernel_dropped is not None:
        dropped = "Datagrams the kernel dropped: by the filter, or because the queue was full."
        text.counter("kernel_dropped", dropped, status.kernel_dropped)
    unfiltered = "1: not the kernel but the daemon enforces the allowed sources."
    text.gauge("unfiltered", unfiltered, int(status.unfiltered is not None))
    text.counter("wakeups", "Notifications handed on, after coalescing.", status.wakeups)
    text.family("local_events", "counter", "", "Events at the local socket.")
    for event, count in status.local.items():
        text.sample("local_events_total", count, event=event)


def _account_metrics(text: MetricsText, accounts: tuple[Account, ...]) -> None:
    text.family("notifications", "counter", "", "Notifications by account.")
    for account in accounts:
        text.sample("notifications_total", account.count, account=account.name)
    latest = "When the last notification came."
    text.family("last_notification_time_seconds", "gauge", "seconds", latest)
    for account in accounts:
        # No sample means "never" to a collector; a zero would mean 1970.
        if account.time is not None:
            at = seconds(account.time)
            text.sample("last_notification_time_seconds", at, account=account.name)


def _table_metrics(text: MetricsText, tables: tuple[Table, ...]) -> None:
    text.family("source_entries", "gauge", "", "Sources a table holds now.")
    for table in tables:
        text.sample("source_entries", table.entries, table=table.name)
    text.family("source_capacity", "gauge", "", "Sources a table can hold.")
    for table in tables:
        text.sample("source_capacity", table.capacity, table=table.name)
    text.family("source_evictions", "counter", "", "Sources that gave way while still known.")
    for table in tables:
        text.sample("source_evictions_total", table.evicted, table=table.name)


def sandbox_metrics(text: MetricsText, sandbox: Sandbox) -> None:
    """Add the state of the sandbox.

    Args:
        text: where it is added.
        sandbox: the sandbox, from a daemon's status.
    """
    text.family("sandbox_info", "gauge", "", "The identity the daemon runs under.")
    text.sample(
        "sandbox_info",
        1,
        uid=str(sandbox.uid),
        gid=str(sandbox.gid),
        groups=",".join(str(group) for group in sandbox.groups),
        capabilities=sandbox.capabilities,
        landlock_uncovered=",".join(sandbox.landlock_uncovered),
    )
    # Each is a metric of its own, so that an alert can use it.
    text.gauge("no_new_privs", "1: executing adds no privilege.", int(sandbox.no_new_privs))
    text.gauge("seccomp_mode", "Mode of seccomp(2); 2 is a filter.", sandbox.seccomp)
    text.gauge("threads", "Threads of the daemon.", sandbox.threads)
    text.gauge("permitted_calls", "System calls the filter lets through.", sandbox.permitted_calls)
    text.gauge("landlock_abi", "Version of Landlock in the kernel.", sandbox.landlock_abi)
    if sandbox.landlock_used is not None:
        in_force = "Version of Landlock in force."
        text.gauge("landlock_used", in_force, sandbox.landlock_used)
