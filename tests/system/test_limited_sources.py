"""The status names the sources that are over their limits, and no others."""

from pathlib import Path

from harness.daemon import LISTED, configuration, ring, started

# A source that was refused stays refused for longer than any test takes.
SLOW = """
[limits]
rate = "1/h"
burst = 2
"""


def test_whoever_is_refused_is_named(tmp_path: Path) -> None:
    with started(tmp_path, configuration(tmp_path, more=SLOW + LISTED)) as daemon:
        endpoint, endpoint6 = daemon.endpoint(), daemon.endpoint(host="::1")
        assert daemon.status().limited == ()
        for last, times in ((2, 2), (3, 3), (4, 6)):
            for _ in range(times):
                ring(endpoint, source=f"127.0.0.{last}")
        for _ in range(4):
            ring(endpoint6)
        named = daemon.status().limited
        assert [(source.table, source.source, source.refused) for source in named] == [
            ("tcp/ipv4/listed/32", "127.0.0.4", 4),
            ("tcp/ipv6/128", "::1", 2),
            ("tcp/ipv4/listed/32", "127.0.0.3", 1),
        ]
        hour = 3_600_000_000
        assert all(0 < source.wait <= hour for source in named)
