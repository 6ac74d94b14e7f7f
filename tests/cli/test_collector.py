"""`mailbell status --prometheus`, read by node_exporter's textfile collector."""

import http.client
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli.support import Run
from harness.daemon import PATIENCE, configuration, ring, started, until
from harness.ports import free_port

# The name in Debian, and the name of the project itself.
PROGRAM = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@contextmanager
def collecting(directory: Path) -> Iterator[int]:
    """Run node_exporter on loopback, with only the files of a directory; yield its port."""
    if PROGRAM is None:
        pytest.skip("prometheus-node-exporter is not installed")
    port = free_port()
    options = [
        f"--web.listen-address=127.0.0.1:{port}", "--collector.disable-defaults",
        "--collector.textfile", f"--collector.textfile.directory={directory}",
    ]  # fmt: skip
    process = subprocess.Popen(
        [PROGRAM, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: process.poll() is not None or _scraped(port), "the start of node_exporter")
        yield port
    finally:
        process.kill()
        process.wait()


def _scraped(port: int) -> str:
    """The text that Prometheus would get; "" while node_exporter does not listen."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    except ConnectionRefusedError:
        return ""
    finally:
        connection.close()


def _samples(parser: Any, text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_node_exporter_takes_every_metric(tmp_path: Path, run: Run) -> None:
    ours = pytest.importorskip("prometheus_client.openmetrics.parser")
    theirs = pytest.importorskip("prometheus_client.parser")
    files = tmp_path / "textfiles"
    files.mkdir()
    toml = configuration(tmp_path, udp=["127.0.0.1:0"])
    with started(tmp_path, toml) as daemon:
        ring(daemon.endpoint())
        until(lambda: daemon.counted() == {"accepted": 1})
        told = run("mailbell", "status", "--prometheus", "--socket", str(daemon.path))
    assert (told.returncode, told.stderr) == (0, "")
    (files / "mailbell.prom").write_text(told.stdout)
    with collecting(files) as port:
        scraped = _samples(theirs, _scraped(port))
    written = _samples(ours, told.stdout)
    assert len(written) > 80
    assert {key: scraped.get(key) for key in written} == written
    assert scraped["node_textfile_scrape_error", frozenset()] == 0


def test_a_file_that_it_refuses_is_noticed(tmp_path: Path) -> None:
    """The control: the type that mailbell once wrote."""
    theirs = pytest.importorskip("prometheus_client.parser")
    (tmp_path / "mailbell.prom").write_text(
        '# TYPE mailbell_build info\nmailbell_build_info{version="1"} 1\n# EOF\n'
    )
    with collecting(tmp_path) as port:
        scraped = _samples(theirs, _scraped(port))
    assert scraped["node_textfile_scrape_error", frozenset()] == 1
