"""The types of the values in a configuration: durations, rates, endpoints, modes, paths.

Each type reads one textual form with `parse`, describes that form in `form`, and writes it
with `str`. A duration is a float, a mode an int, a path a str, so they can be used directly.
The functions at the end make the annotations that limit a value.
"""

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from msgspec import Meta

from mailbell.core.account_name import ACCOUNT_NAME_FORM, ACCOUNT_NAME_PATTERN
from mailbell.core.networks import Family, format_address, parse_address

__all__ = [
    "ACCOUNT_NAME",
    "MAX_SOCKET_PATH",
    "Duration",
    "Endpoint",
    "Mode",
    "Rate",
    "SocketPath",
    "array",
    "between",
    "whole",
]

# `\Z`, because `$` also matches before a newline at the end.
ACCOUNT_NAME = Meta(pattern=rf"\A{ACCOUNT_NAME_PATTERN}\Z", description=ACCOUNT_NAME_FORM)
"""The annotation of a field that holds the name of an account."""

MAX_SOCKET_PATH = 107
"""The most bytes of a socket's path. unix(7): sun_path has 108, and the last one is NUL."""

# Nine digits exceed every bound, and a float still holds them exactly.
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)", re.ASCII)
_RATE = re.compile(r"([0-9]{1,9})/(s|m|h)", re.ASCII)
_MODE = re.compile(r"0?([0-7]{3})", re.ASCII)
_PORT = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)

# The order in which a unit for writing is chosen. Days are read only.
_MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1, "d": 86_400_000}
_SECONDS = {"s": 1, "m": 60, "h": 3600}

_OWNER_MAY_CONNECT = 0o600


class Duration(float):
    """A length of time, in seconds."""

    __slots__ = ()
    form: ClassVar[str] = 'a duration such as "500ms", "5s", "1m" or "1h"'

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a whole number with its unit: `ms`, `s`, `m`, `h` or `d`.

        Args:
            text: as it is written in the configuration.

        Returns:
            The duration.

        Raises:
            ValueError: the text is anything else; the message says what to write.
        """
        found = _DURATION.fullmatch(text)
        if found is None:
            raise ValueError(f"write {cls.form}")
        number, unit = found.groups()
        return cls(int(number) * _MILLISECONDS[unit] / 1000)

    def __str__(self) -> str:
        milliseconds = round(self * 1000)
        if milliseconds == 0:
            return "0s"
        unit = next(unit for unit, length in _MILLISECONDS.items() if milliseconds % length == 0)
        return f"{milliseconds // _MILLISECONDS[unit]}{unit}"


class Rate(float):
    """How often something may happen, per second."""

    __slots__ = ()
    form: ClassVar[str] = 'a rate such as "1/s", "30/m" or "100/h"'

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a whole number per `s`, `m` or `h`.

        Args:
            text: as it is written in the configuration.

        Returns:
            The rate.

        Raises:
            ValueError: the text is anything else; the message says what to write.
        """
        found = _RATE.fullmatch(text)
        if found is None:
            raise ValueError(f"write {cls.form}")
        number, unit = found.groups()
        return cls(int(number) / _SECONDS[unit])

    def __str__(self) -> str:
        # The shortest unit that gives a whole number. If none does, hours.
        whole = (unit for unit, length in _SECONDS.items() if round(self * length) / length == self)
        unit = next(whole, "h")
        return f"{round(self * _SECONDS[unit])}/{unit}"


class Mode(int):
    """The permission bits of the local socket."""

    __slots__ = ()
    form: ClassVar[str] = (
        'an octal mode in quotes that lets the owner read and write such as "0660" or "0600"'
    )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read three octal digits, with or without a leading zero (chmod(1)).

        Args:
            text: as it is written in the configuration.

        Returns:
            The mode.

        Raises:
            ValueError: the text is anything else, or the owner could not connect.
                The message says what to write.
        """
        found = _MODE.fullmatch(text)
        # unix(7): a process that connects needs write permission on the socket.
        if found is None or int(found[1], 8) & _OWNER_MAY_CONNECT != _OWNER_MAY_CONNECT:
            raise ValueError(f"write {cls.form}")
        return cls(int(found[1], 8))

    def __str__(self) -> str:
        return f"{int(self):04o}"


class SocketPath(str):
    """The path of the local socket."""

    __slots__ = ()
    form: ClassVar[str] = (
        f"an absolute path of at most {MAX_SOCKET_PATH} bytes such as /run/mailbell/mailbell.sock"
    )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an absolute path that fits into a socket address (unix(7)).

        Abstract names (`@name`) are refused: any process in the network namespace can
        take the name first, and no permission guards it.

        Args:
            text: as it is written in the configuration.

        Returns:
            The path.

        Raises:
            ValueError: the text is anything else; the message says what to write.
        """
        # isprintable() also refuses NUL, newlines, and the surrogates that Python uses for
        # undecodable bytes of a command line.
        printable = text.isprintable() and text.startswith("/") and not text.endswith("/")
        if not printable or len(text.encode()) > MAX_SOCKET_PATH:
            raise ValueError(f"write {cls.form}")
        return cls(text)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen: a numeric address and a port.

    Attributes:
        family: of the address.
        address: as an integer in network byte order; 0 means every address.
        port: 0 means that the kernel chooses a free one.
    """

    form: ClassVar[str] = 'a numeric address and a port such as "0.0.0.0:79" or "[::]:79"'

    family: Family
    address: int
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `HOST:PORT` or `[IPV6]:PORT` (RFC 3986, section 3.2.2). HOST must be numeric.

        Args:
            text: as it is written in the configuration.

        Returns:
            The endpoint.

        Raises:
            ValueError: the text is anything else; the message says what to write.
        """
        host, _, digits = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if not _PORT.fullmatch(digits) or int(digits) > 0xFFFF:
            raise ValueError(f"write {cls.form}")
        try:
            family, address = parse_address(host[1:-1] if bracketed else host)
        except ValueError as error:
            # Only the message about IPv4 in IPv6 form is kept. Our own form says more otherwise.
            mapped = str(error) if "IPv4" in str(error) else f"write {cls.form}"
            raise ValueError(mapped) from None
        if bracketed is not (family is Family.IPV6):
            raise ValueError(f"write {cls.form}")
        return cls(family, address, int(digits))

    @property
    def host(self) -> str:
        """The address in its canonical form, without brackets (RFC 5952)."""
        return format_address(self.family, self.address)

    @property
    def wildcard(self) -> bool:
        """Whether it stands for every address of the machine."""
        return self.address == 0

    def __str__(self) -> str:
        host = f"[{self.host}]" if self.family is Family.IPV6 else self.host
        return f"{host}:{self.port}"


def whole(least: int, most: int, example: int) -> Meta:
    """Limit a whole number, and describe the accepted form in words.

    Args:
        least: the smallest accepted number.
        most: the largest accepted number.
        example: an accepted number, for the message.

    Returns:
        The annotation of the field.
    """
    form = f"a whole number from {least} to {most}, such as {example}"
    return Meta(ge=least, le=most, description=form)


def between(kind: type[Duration | Rate], least: str, most: str, example: str) -> Meta:
    """Limit a duration or a rate, and describe the accepted form in words.

    Args:
        kind: which of the two.
        least: the smallest accepted value, as it is written.
        most: the largest accepted value, as it is written.
        example: an accepted value, for the message.

    Returns:
        The annotation of the field.

    Raises:
        ValueError: a bound does not have the form of the kind; a bug of the caller.
    """
    form = f'a {kind.__name__.lower()} from "{least}" to "{most}", such as "{example}"'
    return Meta(ge=float(kind.parse(least)), le=float(kind.parse(most)), description=form)


def array(most: int, example: str, least: int = 0) -> Meta:
    """Limit the length of an array, and describe the accepted form in words.

    Args:
        most: the most values it may have.
        example: an accepted value, for the message.
        least: the fewest values it must have.

    Returns:
        The annotation of the field.
    """
    number = f"{least} to {most}" if least else f"at most {most}"
    form = f"an array of {number} values, such as {example}"
    return Meta(min_length=least, max_length=most, description=form)
