"""Any environment of a service manager is taken or refused in words, and no variable is left.

An input is the variables, one a line. No descriptor is touched: the only name that a socket may
have here cannot be written into LISTEN_FDNAMES.
"""

import math

from mailbell._sys.inheritance import _passed
from mailbell._sys.systemd import PASSED, Notifier, activated_local_sockets, logs_to_journal
from mailbell.core.errors import ConfigurationError
from mailbell.core.escape import printable

_PID = 4321
_UNWRITABLE = "no:name"  # the names are split at each colon
_MOST = 10**9  # descriptors of a process


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    lines = data.decode("utf-8", "surrogateescape").replace("\0", "").split("\n")
    environ = {name: value for name, _, value in (line.partition("=") for line in lines)}
    count = _passed(environ, _PID)
    assert 0 <= count < _MOST
    check_notifier(environ)
    logs_to_journal(environ, -1)
    try:
        taken = activated_local_sockets(environ, _PID, {_UNWRITABLE: 1})
    except ConfigurationError as error:
        check_error(error)
    else:
        assert not taken
    assert not {name for name in environ if name.startswith("LISTEN_")} & PASSED


def check_error(error: ConfigurationError) -> None:
    """Checks that an operator is told what is wrong and what to do."""
    assert error.what
    assert error.remedy
    assert all(problem.message for problem in error.problems)


def check_notifier(environ: dict[str, str]) -> None:
    """Reads the variables for notification. The socket is one that nobody has made."""
    address = environ.get("NOTIFY_SOCKET", "")
    if address[:1] in {"/", "@"}:
        address = f"{address[0]}nonexistent/{address[1:]}"
    notifier = Notifier({**environ, "NOTIFY_SOCKET": address}, _PID)
    assert not notifier.connected
    assert notifier.watchdog_interval is None
    assert all(printable(text) for text in notifier.unusable)
    interval = notifier._interval(environ, _PID)  # noqa: SLF001  told only if there is a manager
    assert interval is None or 0 < interval < math.inf
