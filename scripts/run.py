"""Run a real daemon on loopback, and print every notification (`make run`).

The script starts the installed `mailbelld` and `mailbell watch` of this environment. The
daemon locks itself in, as on every start. The script waits until the daemon is ready, and
at the end stops what it started.
"""

import argparse
import json
import os
import pwd
import select
import shlex
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

READY_WITHIN = 10.0  # seconds; the daemon needs a fraction of a second

# The socket lies in a private directory: only the user of this script may use it.
CONFIGURATION = """\
[socket]
group = ""
mode = "0600"
"""

BIN = Path(sysconfig.get_path("scripts"))


class Stop(Exception):  # noqa: N818 (the end of a run is no error)
    """Ends the script with an exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Log(threading.Thread):
    """Reads the daemon's log as it comes; a full pipe would make the daemon wait."""

    def __init__(self, stream: IO[str], *, show: bool) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self._show = show
        self.tail: deque[str] = deque(maxlen=20)

    def run(self) -> None:
        """Read until the daemon closes its end."""
        for line in self._stream:
            self.tail.append(line)
            if self._show:
                sys.stderr.write(line)


def endpoints(port: int) -> list[str]:
    """List the loopback endpoints of this machine."""
    hosts = ["127.0.0.1"]
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        print("this machine has no IPv6: mailbelld listens on 127.0.0.1 only")
    else:
        hosts.append("[::1]")
    return [f"{host}:{port}" for host in hosts]


def command_line(directory: Path, port: int) -> list[str]:
    """Build the daemon's command line."""
    configuration = directory / "mailbelld.toml"
    configuration.write_text(CONFIGURATION)
    words = [str(BIN / "mailbelld"), "--config", str(configuration)]
    words += ["--socket", str(directory / "mailbell.sock")]
    for endpoint in endpoints(port):
        words += ["--listen", endpoint, "--udp", endpoint]
    if os.geteuid() == 0:
        words += ["--user", "nobody"]
    return words


def end(process: "subprocess.Popen[str]") -> None:
    """End one process that this script started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def start(stack: ExitStack, words: list[str], **more: Any) -> "subprocess.Popen[str]":
    """Start one process, and end it when the stack is closed."""
    process = subprocess.Popen(words, text=True, stdin=subprocess.DEVNULL, **more)  # noqa: S603 (our own programs)
    stack.callback(end, process)
    return process


def wait_ready(notify: socket.socket, daemon: "subprocess.Popen[str]", log: Log) -> None:
    """Wait until the daemon sends READY=1 (sd_notify(3)). If it does not, give up."""
    ended = os.pidfd_open(daemon.pid)
    try:
        readable, _, _ = select.select([notify.fileno(), ended], [], [], READY_WITHIN)
    finally:
        os.close(ended)
    if notify.fileno() not in readable:
        give_up(daemon, log)


def give_up(daemon: "subprocess.Popen[str]", log: Log) -> None:
    """Show the end of the daemon's log, and end the script with the daemon's exit code."""
    end(daemon)
    log.join(1)
    sys.stderr.writelines(log.tail)
    raise Stop(daemon.returncode if daemon.returncode > 0 else 70)


def wait_for_subscriber(
    watch: "subprocess.Popen[str]", environment: dict[str, str]
) -> dict[str, Any]:
    """Wait until `mailbell watch` is a subscriber, and return the daemon's status."""
    while watch.poll() is None:
        words = [str(BIN / "mailbell"), "status", "--json"]
        answer = subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=False)  # noqa: S603 (our own program)
        if answer.returncode:
            raise Stop(answer.returncode)
        status: dict[str, Any] = json.loads(answer.stdout)
        if status["subscribers"]:
            return status
    raise Stop(watch.returncode or 70)


def introduce(status: dict[str, Any], port: int, local: str) -> None:
    """Print the daemon's user, limits and addresses, how to ring it, and how to reach it."""
    sandbox = status["sandbox"]
    try:
        name = pwd.getpwuid(sandbox["uid"]).pw_name
    except KeyError:
        name = "a user without a name"
    became = "dropped to" if os.geteuid() == 0 else "runs as"
    print(f"mailbelld {became} {name} (uid {sandbox['uid']}, gid {sandbox['gid']}); ", end="")
    print(f"{sandbox['permitted_calls']} system calls permitted, ", end="")
    print(f"Landlock ABI {sandbox['landlock_used']}; {', '.join(status['listening'])}")
    target = "127.0.0.1" if port == 79 else f"127.0.0.1:{port}"
    by_hand = rf"printf 'nm_notifyuser\r\n' | nc -N 127.0.0.1 {port}"
    # Absolute paths: another terminal is in another folder, and lacks our MAILBELL_SOCKET.
    mailbell = shlex.quote(str(BIN / "mailbell"))
    reach = f"MAILBELL_SOCKET={shlex.quote(local)} {mailbell} status"
    print(f"ring it: {by_hand}   or: {mailbell} send {target}   (Ctrl-C ends)")
    print(f"look at it from another terminal: {reach}   (or top, watch)", flush=True)


def wait_end(daemon: "subprocess.Popen[str]", watch: "subprocess.Popen[str]", log: Log) -> None:
    """Wait until the daemon or the watcher has ended."""
    ends = [os.pidfd_open(process.pid) for process in (daemon, watch)]
    select.select(ends, [], [])
    if daemon.poll() is not None:
        give_up(daemon, log)
    raise Stop(watch.wait())


def serve(stack: ExitStack, port: int, *, show_log: bool) -> None:
    """Run the daemon and the watcher until one ends or a person ends them."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
    notify = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    notify.bind(str(directory / "notify.sock"))
    environment = os.environ | {"MAILBELL_SOCKET": str(directory / "mailbell.sock")}
    told = environment | {"NOTIFY_SOCKET": str(directory / "notify.sock")}
    daemon = start(stack, command_line(directory, port), env=told, stderr=subprocess.PIPE)
    if daemon.stderr is None:
        raise Stop(70)
    log = Log(daemon.stderr, show=show_log)
    log.start()
    wait_ready(notify, daemon, log)
    watch = start(stack, [str(BIN / "mailbell"), "watch"], env=environment)
    status = wait_for_subscriber(watch, environment)
    introduce(status, port, environment["MAILBELL_SOCKET"])
    wait_end(daemon, watch, log)


def main() -> int:
    """Run until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Try mailbell on this machine, loopback only.")
    parser.add_argument("--port", type=int, default=79 if os.geteuid() == 0 else 7979)
    parser.add_argument("--log", action="store_true", help="show the daemon's log too")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with ExitStack() as stack:
            serve(stack, arguments.port, show_log=arguments.log)
    except KeyboardInterrupt:
        return 0
    except Stop as stop:
        return stop.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
