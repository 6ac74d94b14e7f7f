"""Collects what the companion for the cluster must know before it is locked in."""

import os
import socket
import stat
from collections.abc import Mapping
from typing import Final

from mailbell.cluster.report import NAME_FORM, is_name
from mailbell.core.errors import ConfigurationError, TemporaryError
from mailbell.core.networks import Address
from mailbell.sender._node_settings import Settings
from mailbell.sender._store_url import EngineUrl
from mailbell.sender.configuration import Configuration, Store

__all__ = ["find_settings", "node_name"]

_MOST: Final = 1 << 20  # bytes of a file of certificates
_LONGEST_PASSWORD: Final = 1024
# Where Debian and its like, and Fedora and its like, have those that they trust.
_SYSTEMS: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


def find_settings(configuration: Configuration, engine: EngineUrl) -> Settings:
    """Read the files that `[store]` names, and look up the hosts of its URL.

    Args:
        configuration: a valid configuration.
        engine: what its `store.url` names.

    Returns:
        What the companion needs.

    Raises:
        ConfigurationError: a file or the name of this node cannot be used.
        TemporaryError: a host cannot be looked up.
    """
    store, last_used = configuration.store, configuration.last_used
    return Settings(
        url=engine,
        ports=frozenset(store.ports),
        password=_password(store),
        certificates=_certificates(store.ca_file) if engine.is_tls else None,
        addresses=_addresses(engine),
        node=node_name(store),
        state=store.path,
        ttl=last_used.ttl,
        logins=last_used.addresses,
    )


def node_name(store: Store) -> str:
    """Return the name of this node.

    Args:
        store: of the configuration.

    Raises:
        ConfigurationError: the name of the host cannot be that of a node.
    """
    name = store.node or socket.gethostname()
    if not is_name(name):
        raise ConfigurationError(
            f"store.node: the host's name {name!r} cannot be that of a node",
            f"write store.node: {NAME_FORM}",
        )
    return name


def _password(store: Store) -> str | None:
    path = store.password_file
    if not path:
        return None
    key = "store.password_file"
    data, mode = _read(path, key)
    if mode & (stat.S_IRWXG | stat.S_IRWXO) & ~stat.S_IRGRP:
        raise ConfigurationError(f"{key}: other users may read {path}", f"chmod o= {path}")
    line = data.partition(b"\n")[0].rstrip(b"\r")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text = ""
    if not 0 < len(line) <= _LONGEST_PASSWORD or not text.isprintable() or not text:
        raise ConfigurationError(
            f"{key}: the first line of {path} is no password",
            f"write 1 to {_LONGEST_PASSWORD} printable characters",
        )
    return text


def _certificates(path: str) -> str:
    # A folder of certificates would be read at each connection, when no file can be opened.
    found = path or next(filter(os.path.exists, _SYSTEMS), None)
    if found is None:
        raise ConfigurationError(
            "store.ca_file: this system has no file of certificates",
            "apt-get install ca-certificates, or write the file that the engine's is checked with",
        )
    return _read(found, "store.ca_file")[0].decode("ascii", "replace")


def _read(path: str, key: str) -> tuple[bytes, int]:
    """Return the bytes of a file and its mode."""
    try:
        with open(path, "rb", buffering=0, opener=_opener) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise ConfigurationError(f"{key}: {path} is no regular file", "name another file")
            data = file.read(_MOST + 1) or b""
    except OSError as error:
        raise ConfigurationError(
            f"{key}: {path}: {error.strerror}",
            "name a file that the sender can read when it starts",
        ) from error
    if len(data) > _MOST:
        raise ConfigurationError(f"{key}: {path} is too long", f"at most {_MOST} bytes")
    return data, mode


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _addresses(engine: EngineUrl) -> Mapping[str, tuple[str, ...]]:
    names = [host for host, _ in engine.hosts if not isinstance(host, Address)]
    return {name: _look_up(name) for name in names}


def _look_up(name: str) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TemporaryError(
            f"store.url: {name}: {error.strerror or error}",
            "correct the name, or write a numeric address",
        ) from error
    return tuple(dict.fromkeys(str(where[0]) for *_, where in found))
