"""The systems themselves: what they have, that they end, and that nothing of them gets out."""

from packages.roots import clean_root, require_roots
from packages.system import booted


def test_a_system_boots_serves_and_leaves_its_root_as_it_was() -> None:
    require_roots()
    root = clean_root("trixie")
    with booted(root) as system:
        assert system.run("ps -o comm= -p 1").strip() == "systemd"
        assert system.ran("ip route get 192.0.2.1").code != 0
        assert system.run("ls /sys/class/net").split() == ["lo"]
        system.write("/etc/systemd/system/x.service", "[Service]\nExecStart=sleep 1000\n")
        system.run("systemctl daemon-reload; systemctl start x")
        pid = int(system.shows("x")["MainPID"])
        assert system.path(f"/proc/{pid}").exists()
        person = system.person()
        state = "systemctl --user is-system-running --wait"
        assert system.run(f"id -un; {state}", user=person).split() == [person, "running"]
        assert system.ran("echo 1 >/proc/sys/kernel/pid_max").code != 0
        first = system.pid
    assert not (root / "etc/systemd/system/x.service").exists()
    assert not system.path("/").exists(), first
