"""The metrics, alerts and the dashboard of docs/operating.md, in a real Prometheus."""

import http.client
import json
import re
import socket
from functools import partial
from typing import Any
from urllib.parse import urlencode

from cli.support import a_status
from documents.blocks import ROOT
from documents.networked import call, is_let_in
from documents.operated import ANNA, METRICS, PAGE, SENDER_UNITS, Place
from harness.daemon import PATIENCE, until
from harness.fake_sender import STATUS
from harness.netns import Pair

from mailbell.cli._openmetrics import openmetrics
from mailbell.cli._sender_metrics import sender_metrics

RULES = "mailbell.rules.yml"


def metrics() -> set[str]:
    """Return the names of all metrics, without those that only a part of all daemons has."""
    text = openmetrics(a_status()) + sender_metrics(STATUS)
    return set(re.findall(r"^(mailbell_\w+)(?= |\{)", text, re.MULTILINE))


def test_every_metric_is_in_the_page_and_no_other() -> None:
    page = (ROOT / PAGE).read_text()
    part = page[page.index("### What each metric means") : page.index("## Upgrade")]
    named = set(re.findall(r"`(mailbell_\w+)", part))
    assert metrics() - named == set()
    # What no sample is of in a status without rings and names.
    assert named - metrics() <= {"mailbell_sender_names", "mailbell_sender_delay_seconds"}


def monitoring(name: str) -> str:
    return (ROOT / "examples" / "monitoring" / name).read_text()


def queries() -> dict[str, list[str]]:
    """Return the queries of the dashboard by the titles of its panels."""
    panels = json.loads(monitoring("grafana.json"))["panels"]
    return {
        f"{panel['id']} {panel['title']}": [each["expr"] for each in panel.get("targets", [])]
        for panel in panels
    }


def test_what_alerts_and_dashboard_ask_for_exists() -> None:
    rules = re.findall(r"(?m)^        expr: (?:>-\n)?((?:.*\n)+?)        \w+:", monitoring(RULES))
    assert len(rules) == len(alerts())
    asked = " ".join([*rules, *(query for found in queries().values() for query in found)])
    of_node = {"node_textfile_mtime_seconds", "node_textfile_scrape_error"}
    assert set(re.findall(r"\bnode_\w+", asked)) == of_node
    assert set(re.findall(r"\bmailbell_\w+", asked)) <= metrics()


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in json.loads(monitoring("grafana.json"))["panels"]:
        at = panel["gridPos"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert 0 <= x < 24
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def alerts() -> list[str]:
    return re.findall(r"- alert: (\w+)", monitoring(RULES))


def test_every_alert_is_in_the_page_and_is_tested() -> None:
    page = (ROOT / PAGE).read_text()
    part = page[page.index("### Alerts") : page.index("### The dashboard")]
    assert set(re.findall(r"`(Mailbell\w+)`", part)) == set(alerts())
    tests = monitoring("mailbell.rules.test.yml")
    assert [name for name in alerts() if name not in tests] == []


class Prometheus:
    """The Prometheus of a machine."""

    def __init__(self, hosts: Pair) -> None:
        self._hosts = hosts

    def value(self, query: str) -> list[Any]:
        """Return the samples that a query has now; none, too, while it starts."""
        with self._hosts.server.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.settimeout(PATIENCE)
            if sock.connect_ex(("127.0.0.1", 9090)):
                return []
            connection = http.client.HTTPConnection("localhost")
            connection.sock = sock
            connection.request("GET", "/api/v1/query?" + urlencode({"query": query}))
            answer = connection.getresponse()
            text = answer.read().decode()
        if answer.status == http.client.SERVICE_UNAVAILABLE:
            return []
        assert answer.status == http.client.OK, text
        found: list[Any] = json.loads(text)["data"]["result"]
        return found

    def until_fires(self, alert: str) -> None:
        query = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
        until(lambda: self.value(query), f"the alert {alert}")

    def until_silent(self, alert: str) -> None:
        until(lambda: not self.value(f'ALERTS{{alertname="{alert}"}}'), f"the end of {alert}")


def test_a_prometheus_sees_both_programs_and_says_what_is_wrong(clean: Place) -> None:
    system, prometheus = clean.system, Prometheus(clean.hosts)
    clean.follow("Metrics")
    system.run("systemctl stop mailbelld-metrics.timer mailbell-sender-metrics.timer")
    clean.follow("Metrics", 1)
    clean.follow("Alerts")
    # As they are, but for their times: nobody waits for hours here.
    system.run(
        "cd /etc/prometheus; sed -i 's/: 15s/: 1s/' prometheus.yml;"
        "sed -i 's/for: .*/for: 1s/' mailbell.rules.yml; systemctl reload prometheus"
    )
    until(lambda: prometheus.value("mailbell_sender_up == 1"), "the first scrape")
    ill = {name for name in alerts() if "Down" in name or "Old" in name or "Unlocked" in name}
    assert not [name for name in ill if prometheus.value(f'ALERTS{{alertname="{name}"}}')]

    clean.sender(ANNA.format(targets='["last-used"]'))
    scraped(clean)
    seen = 'mailbell_sender_rings_total{outcome="no_target"}'
    until(lambda: prometheus.value(f"{seen} == 0"), "the first scrape after the start")
    system.run("mailbell-hook --account=anna")
    clean.until_logged("mailbell-sender", "event=no_target")
    scraped(clean)
    prometheus.until_fires("MailbellSenderNoTarget")

    # A target: the alert ends.
    clean.sender(ANNA.format(targets='["192.0.2.7"]'))
    scraped(clean)
    until(lambda: prometheus.value('mailbell_sender_rings_total{outcome="sent"} == 0'), "a scrape")
    system.run("mailbell-hook --account=anna")
    clean.until_logged("mailbell-sender", "event=sent")
    scraped(clean)
    prometheus.until_silent("MailbellSenderNoTarget")

    every_panel_shows_something(prometheus)

    flood(clean)
    scraped(clean)
    prometheus.until_fires("MailbelldFlooded")

    system.run(f"systemctl stop {SENDER_UNITS}")
    scraped(clean)
    prometheus.until_fires("MailbellSenderDown")
    assert not prometheus.value('ALERTS{alertname="MailbelldDown"}')
    system.run(f"touch -d '10 minutes ago' {METRICS}/mailbell.prom")
    prometheus.until_fires("MailbelldMetricsOld")
    system.run(f"echo nonsense >{METRICS}/other.prom")
    prometheus.until_fires("MailbellMetricsUnread")


def scraped(place: Place) -> None:
    """Do what the timers do each minute."""
    units = "mailbelld-metrics.service mailbell-sender-metrics.service"
    # systemd would refuse the sixth start within ten seconds.
    place.system.run(f"systemctl reset-failed {units}; systemctl start {units}")


def every_panel_shows_something(prometheus: Prometheus) -> None:
    """Evaluate each query of the dashboard as Grafana would."""
    for panel, found in queries().items():
        for query in found:
            now = query.replace("$__rate_interval", "1m").replace("$instance", ".*")
            until(partial(prometheus.value, now), f"a value in {panel}: {now}")


def flood(place: Place) -> None:
    """Ring 800 times from one stranger: most of it is refused."""
    for _ in range(800):
        with call(place.hosts.client, "192.0.2.66", "192.0.2.7") as connection:
            assert is_let_in(connection, PATIENCE)
