"""Calls hooks while mailbell-sender is restarted and killed. Runs in the machine, as root.

    python3 hooks.py HOOKS PORT

Each hook speaks for an account of its own, whose only target is an address of its own: 127.0.1.1
for the account "a1", and so on. This program listens there. It prints each hook that failed, and
each whose target was not rung after the hook began. Nothing printed: none was lost.
"""

import socket
import subprocess
import sys
import threading
import time

HOOKS, PORT = int(sys.argv[1]), int(sys.argv[2])
UNIT = "mailbell-sender.service"
PATIENCE = 120.0  # seconds until the last one is rung

rung: "dict[str, float]" = {}
news = threading.Condition()


def listen(listener: socket.socket) -> None:
    """Note when each address was rung last."""
    while True:
        conn, _ = listener.accept()
        with conn, news:
            rung[conn.getsockname()[0]] = time.monotonic()
            news.notify()


def end_it() -> None:
    """Restart the service, and kill it when it has started again."""
    subprocess.run(["systemctl", "restart", UNIT], check=True)
    subprocess.run(["systemctl", "kill", "--signal=KILL", UNIT], check=True)


def main() -> None:
    """Call the hooks, and look what came."""
    listener = socket.create_server(("0.0.0.0", PORT), backlog=1000)
    threading.Thread(target=listen, args=(listener,), daemon=True).start()
    ending = threading.Thread(target=end_it)
    begun: dict[str, float] = {}
    called, left = 0, HOOKS  # left: since it was killed
    while left:
        number = called % HOOKS + 1
        begun[f"127.0.1.{number}"] = time.monotonic()
        code = subprocess.run(["mailbell-hook", f"--account=a{number}"], check=False).returncode
        if code:
            print(f"hook {number} ended with {code}")
        called += 1
        if called == 5:
            ending.start()
        if called > 5 and not ending.is_alive():
            left -= 1
    with news:
        news.wait_for(lambda: not lost(begun), PATIENCE)
        for address in lost(begun):
            print(f"{address} was not rung after its hook")


def lost(begun: "dict[str, float]") -> "list[str]":
    """Return the addresses that were not rung since their hooks began."""
    return [address for address, when in begun.items() if rung.get(address, 0.0) < when]


if __name__ == "__main__":
    main()
