"""Without systemd: the commands of docs/service.md, word by word, and a ring is heard."""

import json
from pathlib import Path

from machines.documents import commands
from machines.wheels import wheels
from packages.conftest import Boot
from packages.roots import SUITES


def test_mailbelld_started_by_hand_serves(boot: Boot, wheel: Path) -> None:
    system = boot("trixie", "python3-venv")
    found = wheels("amd64", SUITES["trixie"])
    system.put(found, "/root")
    system.put(wheel, "/root")
    system.run(
        "python3 -m venv /opt/mailbell; /opt/mailbell/bin/pip install -q --no-index"
        f" --find-links /root/{found.name} /root/{wheel.name}"
    )
    system.person("anna")
    *prepare, check, start = commands("docs/service.md", "useradd --system")
    system.run("\n".join(prepare))
    told = system.run(check)
    assert "FAIL" not in told
    with system.popen("sh", "-c", f"exec {start}") as daemon:
        system.until("mailbell status", "an answer of mailbelld")
        system.run("mailbell send 127.0.0.1")
        status = json.loads(system.run("mailbell status --json", user="anna"))
        assert status["outcomes"]["tcp"]["accepted"] == 1
        ids = system.run("ps -C mailbelld -o user= -o group=").split()
        assert ids == ["mailbell", "mailbell"]
        daemon.terminate()
