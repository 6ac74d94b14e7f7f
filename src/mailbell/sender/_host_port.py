"""A host and perhaps a port, as the operator writes them."""

import re
from typing import Final

from mailbell.core.networks import Address, parse_address

__all__ = ["read_host_port"]

_PORT: Final = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
# RFC 1035, section 2.3.1, and RFC 1123, section 2.1. Underscores occur in names of hosts too.
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}", re.ASCII)
# A name whose last label is a number is an address that is written wrongly: "192.0.2".
_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)
_LONGEST_NAME: Final = 253


def read_host_port(text: str, form: str) -> tuple[Address | str, int | None]:
    """Read an address or a name, with or without a port.

    An IPv6 address with a port is in brackets (RFC 3986, section 3.2.2).

    Args:
        text: as it is written in the configuration.
        form: what to write, for the message.

    Returns:
        The numeric address, or the name in lower case without a dot at its end; the port, or
        None.

    Raises:
        ValueError: the text is anything else; the message says what to write.
    """
    host, port = _split_port(text, form)
    return _host(host, form), port


def _split_port(text: str, form: str) -> tuple[str, int | None]:
    """Return the host without brackets, and the port that the text has."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            raise ValueError(f"write {form}")
        return host, _port(rest[1:]) if rest else None
    if text.count(":") == 1:
        host, _, digits = text.partition(":")
        return host, _port(digits)
    return text, None


def _port(digits: str) -> int:
    if not _PORT.fullmatch(digits) or int(digits) > 0xFFFF:
        raise ValueError("write a port from 1 to 65535 after the colon")
    return int(digits)


def _host(text: str, form: str) -> Address | str:
    try:
        address = Address(*parse_address(text))
    except ValueError as error:
        if "IPv4" in str(error):
            raise
    else:
        if not address.value:
            raise ValueError("this address stands for every address: write that of one host")
        return address
    name = text.lower().removesuffix(".")
    is_name = text.isascii() and _NAME.fullmatch(name)  # the Kelvin sign's small letter is a k
    if not is_name or len(name) > _LONGEST_NAME or _NUMBER.fullmatch(name):
        raise ValueError(f"write {form}")
    return name
