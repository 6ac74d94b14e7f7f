"""Thunderbird from inside: scripts that run in its main process, through its own Marionette.

Marionette listens on loopback. A message is its length in decimal, a colon, and JSON: firefox's
source docs, "testing/marionette/Protocol".
"""

import itertools
import json
import socket
from contextlib import suppress
from typing import Any, Final, Self

from harness.netns import Namespace
from harness.sender import PATIENCE

__all__ = ["Marionette", "ScriptError"]

_COMMAND: Final = 0  # the first element of a command; an answer has 1
_LENGTH: Final = 12  # digits of a length at most
_WINDOW: Final = 600_000  # ms that a script may take: our own deadline is shorter


class ScriptError(Exception):
    """A script has failed, or Marionette has refused a command."""


class Marionette:
    """A session, whose scripts have the rights of Thunderbird itself.

    Args:
        port: on loopback.
        host: whose loopback that is; None: that of this process.
    """

    def __init__(self, port: int, host: Namespace | None = None) -> None:
        self._numbers = itertools.count(1)
        make = host.socket if host else socket.socket
        self._socket = make(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(("127.0.0.1", port))
        self._file = self._socket.makefile("rb")
        try:
            assert self._read()["marionetteProtocol"] == 3
            self.call("WebDriver:NewSession", {})
            self.call("WebDriver:SetTimeouts", {"script": _WINDOW})
            self.call("Marionette:SetContext", {"value": "chrome"})
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        with suppress(OSError):
            self._file.close()
        self._socket.close()

    def call(self, name: str, parameters: dict[str, object]) -> Any:
        """Have one command done, and return its value.

        Raises:
            ScriptError: Marionette says that it has failed.
            TimeoutError: it did not answer in time.
        """
        number = next(self._numbers)
        body = json.dumps([_COMMAND, number, name, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(body), body))
        _, answered, error, value = self._read()
        assert answered == number
        if error is not None:
            raise ScriptError(f"{error['error']}: {error['message']}\n{error['stacktrace']}")
        return value

    def run(self, script: str, *args: object) -> Any:
        """Run the body of an asynchronous function, whose `args` are these.

        Returns:
            What it returns, as JSON can say it.
        """
        body = f"const args = arguments; return (async () => {{ {script} }})();"
        words = {"script": body, "args": list(args), "sandbox": "system", "newSandbox": False}
        return self.call("WebDriver:ExecuteScript", words)["value"]

    def _read(self) -> Any:
        length = b""
        while not length.endswith(b":"):
            byte = self._file.read(1)
            if not byte or len(length) > _LENGTH:
                raise ScriptError(f"Marionette has hung up or writes nonsense: {length!r}")
            length += byte
        return json.loads(self._file.read(int(length[:-1])))
