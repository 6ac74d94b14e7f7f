"""The limits of mailbelld's control group are reached on purpose."""

from machines.claim import claim
from machines.guest import Guest
from machines.service import SERVICE, calls, log_mark, logged_after, running, running_anew

GROUP = f"/sys/fs/cgroup/system.slice/{SERVICE}"
MEBIBYTE = 1 << 20
HOG = """\
some = b"x" * (400 << 20)
print("has 400 MiB", flush=True)
more = b"x" * (400 << 20)
print("has 800 MiB", flush=True)
"""


def inside(command: str) -> str:
    """Return a line of sh(1) that runs a command in mailbelld's control group."""
    return f"sh -c 'echo $$ >{GROUP}/cgroup.procs && {command}'"


def kernel_log(guest: Guest) -> str:
    return guest.run("journalctl --sync; journalctl --no-pager -o cat -b -k")


def others(guest: Guest) -> str:
    """Return the processes of what must live on: systemd, its log, and the way in."""
    units = "dbus.service systemd-journald.service ssh.service"
    return guest.run(f"systemctl show -P MainPID {units}; systemctl is-active {units}")


@claim("mailbelld's control group gets 512 MiB: the kernel ends it, systemd starts mailbelld again")
def test_memory_beyond_the_limit(guest: Guest) -> None:
    before = running(guest)
    mark, lived = log_mark(guest), others(guest)
    assert guest.run(f"cat {GROUP}/memory.max").strip() == str(512 * MEBIBYTE)
    # mailbelld bounds its own memory far below. So another program takes it in its group.
    guest.write("/root/hog.py", HOG)
    line = inside("exec python3 /root/hog.py") + "; echo code $?"
    told = guest.run(line, check=False).split("\n")
    assert (told[0], told[-2]) == ("has 400 MiB", "code 137")
    with calls(guest, number=3) as waiting:
        running_anew(guest, before)
        assert [call.how for call in waiting.all()] == ["served"] * 3
    assert "killed by the OOM killer" in logged_after(guest, mark)
    assert others(guest) == lived


@claim("a mailbelld whose own memory is over MemoryMax= is ended and started again")
def test_memory_of_its_own(guest: Guest) -> None:
    before = running(guest)
    lived = others(guest)
    try:
        guest.run(f"systemctl set-property --runtime {SERVICE} MemoryMax=4M")
        guest.until(f"test $(systemctl show -P MainPID {SERVICE}) != {before}")
        with calls(guest, number=3) as waiting:
            guest.run(f"systemctl set-property --runtime {SERVICE} MemoryMax=512M")
            running_anew(guest, before)
            assert [call.how for call in waiting.all()] == ["served"] * 3
    finally:
        guest.run(
            f"systemctl revert {SERVICE}; rm -rf /run/systemd/system.control/{SERVICE}.d;"
            " systemctl daemon-reload"
        )
    # systemd 252 may learn of the signal before it learns of its reason. The kernel says both.
    assert f"Memory cgroup out of memory: Killed process {before} (mailbelld)" in kernel_log(guest)
    assert others(guest) == lived


@claim("mailbelld's control group gets no third task, and mailbelld serves meanwhile")
def test_a_third_task(guest: Guest) -> None:
    before = running(guest)
    assert guest.run(f"cat {GROUP}/pids.max").strip() == "2"
    refused = guest.ran(inside("/bin/true; mailbell send 127.0.0.1"))
    assert refused.returncode != 0
    assert "fork" in refused.stdout
    assert "max 0" not in guest.run(f"cat {GROUP}/pids.events")
    with calls(guest, number=1) as one:
        assert [call.how for call in one.all()] == ["served"]
    assert running(guest) == before
