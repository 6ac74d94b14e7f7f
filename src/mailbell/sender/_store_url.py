"""Where the sender keeps what must survive a restart: a file, or an engine that nodes share.

Each type reads one textual form with `parse`, as `mailbell.configuration.values` explains.
"""

import re
from enum import Enum
from typing import ClassVar, Final, NamedTuple, Self

from mailbell.configuration.values import SocketPath
from mailbell.core.networks import Address
from mailbell.sender._host_port import read_host_port

__all__ = ["USUAL_PORT", "EngineUrl", "FileUrl", "Kind", "StoreUrl"]

_SQLITE: Final = "sqlite://"
USUAL_PORT: Final = 6379
"""The port of an engine that names none."""
_SENTINELS_PORT: Final = 26379
_MOST_HOSTS: Final = 16
_USER: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_SERVICE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_DATABASE: Final = re.compile(r"[0-9]{1,4}", re.ASCII)


class Kind(Enum):
    """How an engine is reached."""

    TCP = "redis"
    SENTINEL = "redis+sentinel"
    CLUSTER = "redis+cluster"
    UNIX = "unix"


class EngineUrl(NamedTuple):
    """An engine that speaks the protocol of Redis.

    Attributes:
        kind: how it is reached.
        is_tls: whether by TLS.
        user: the name of an ACL; None: the engine's default user.
        hosts: numeric addresses or names, with their ports; none with `Kind.UNIX`.
        service: the name that the sentinels know it by.
        database: its number.
        path: of the Unix socket.
    """

    kind: Kind
    is_tls: bool = False
    user: str | None = None
    hosts: tuple[tuple[Address | str, int], ...] = ()
    service: str = ""
    database: int = 0
    path: str = ""

    @property
    def announces(self) -> bool:
        """Whether the engine says itself where its machines are reached."""
        return self.kind in {Kind.SENTINEL, Kind.CLUSTER}


class FileUrl(str):
    """The URL of a file of SQLite."""

    __slots__ = ()
    default: ClassVar[str] = "sqlite:///var/lib/mailbell-sender/state.db"
    form: ClassVar[str] = f"sqlite:// and an absolute path, such as {default}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the URL of a file.

        Args:
            text: as it is written in the configuration.

        Returns:
            The URL.

        Raises:
            ValueError: the text is anything else; the message says what to write.
        """
        path = text.removeprefix(_SQLITE)
        sound = path.startswith("/") and not path.endswith("/") and path.isprintable()
        # `?` and `#` begin other parts of a URL, which this one does not have.
        if path == text or not sound or len(path.encode()) > 4000 or set(path) & set("?#%"):
            raise ValueError(f"write {cls.form}")
        return cls(text)

    @property
    def path(self) -> str:
        """The path of the file."""
        return self.removeprefix(_SQLITE)


class StoreUrl(FileUrl):
    """The URL of a store: of a file, or of an engine."""

    __slots__ = ()
    form: ClassVar[str] = (
        f"{FileUrl.form}, or the engine of a cluster, such as redis://redis.example.net"
    )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the URL of a store.

        Args:
            text: as it is written in the configuration.

        Returns:
            The URL.

        Raises:
            ValueError: the text is anything else; the message says what to write.
        """
        if _read_engine(text) is not None:
            return cls(text)
        try:
            return cls(FileUrl.parse(text))
        except ValueError:
            raise ValueError(f"write {cls.form}") from None

    @property
    def engine(self) -> EngineUrl | None:
        """The engine; None: it is a file."""
        return _read_engine(self)


def _read_engine(text: str) -> EngineUrl | None:
    """Read the URL of an engine; return None if the scheme is none of an engine's."""
    scheme, colon, rest = text.partition("://")
    if not colon:
        return None
    if scheme == Kind.UNIX.value:
        return _read_unix(rest)
    is_tls = scheme.startswith("rediss")
    plain = scheme.replace("rediss", "redis", 1)
    if plain not in {Kind.TCP.value, Kind.SENTINEL.value, Kind.CLUSTER.value}:
        return None
    return _read_hosts(Kind(plain), rest, is_tls=is_tls)


def _read_unix(rest: str) -> EngineUrl:
    user, at, path = rest.rpartition("@")
    return EngineUrl(Kind.UNIX, user=_user(user) if at else None, path=SocketPath.parse(path))


def _read_hosts(kind: Kind, rest: str, *, is_tls: bool) -> EngineUrl:
    place, _, path = rest.partition("/")
    user, at, listed = place.rpartition("@")
    parts = [part for part in path.split("/") if part]
    service = ""
    if kind is Kind.SENTINEL:
        if not parts or not _SERVICE.fullmatch(parts[0]):
            raise ValueError(
                "write the name that the sentinels know it by after the hosts, such as"
                " redis+sentinel://10.0.0.1,10.0.0.2/mailbell"
            )
        service = parts.pop(0)
    most = 0 if kind is Kind.CLUSTER else 1
    if len(parts) > most or not all(map(_DATABASE.fullmatch, parts)):
        raise ValueError(f"write {StoreUrl.form}")
    hosts = tuple(_host(each, kind) for each in listed.split(","))
    if len(hosts) > (1 if kind is Kind.TCP else _MOST_HOSTS):
        raise ValueError(f"write {1 if kind is Kind.TCP else _MOST_HOSTS} hosts at most")
    return EngineUrl(
        kind, is_tls, _user(user) if at else None, hosts, service, int(parts[0]) if parts else 0
    )


def _user(text: str) -> str:
    if ":" in text:
        raise ValueError("write the password into a file, and that into store.password_file")
    if not _USER.fullmatch(text):
        raise ValueError("write the user's name with letters, digits, dots and hyphens")
    return text


def _host(text: str, kind: Kind) -> tuple[Address | str, int]:
    host, port = read_host_port(text, StoreUrl.form)
    return host, port or (_SENTINELS_PORT if kind is Kind.SENTINEL else USUAL_PORT)
