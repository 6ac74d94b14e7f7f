"""What mailbell-sender must make of inputs, written from docs/inputs.md alone.

It shares no code with the sender: JSON is read by `json`, an address by the C library, and a
character is judged by its category.
"""

import ipaddress
import json
import re
import socket
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torture.inputs.channel import Verdict
from torture.inputs.speaking import Input

__all__ = ["ByWords"]

_NEW: Final = re.compile(r"new (?P<account>[^ ]+)(?: (?P<folder>[^ ](?:.*[^ ])?))?", re.DOTALL)
_SEEN: Final = re.compile(r"seen (?P<account>[^ ]+) (?P<address>.*)", re.DOTALL)
_PLAIN: Final = re.compile("[ -~]*")  # nearly every text; the categories say the same of it
_NEVER: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "::/96",
        "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip
_MOST_OF_LINE: Final = 512
_MOST_OF_DATAGRAM: Final = 512
_MOST_OF_CYRUS: Final = 16_384
_MOST_OF_NAME: Final = 254


@dataclass(frozen=True, slots=True)
class ByWords:
    """The documents, as a program.

    Attributes:
        accounts: whether each listed name and alias is enabled, by its normal form.
        names_of_own: the names of the account of the user who speaks.
        is_trusted: whether that user may speak for every account.
        has_default: whether accounts that are not listed have a target.
        quiet: folders whose mail rings nobody.
        deny: networks that are never called.
    """

    accounts: Mapping[str, bool]
    names_of_own: Collection[str]
    is_trusted: bool
    has_default: bool
    quiet: Sequence[str]
    deny: Sequence[str]

    def hook(self, said: Input) -> Sequence[Verdict]:
        """Return the outcomes of the lines of one connection, up to the one that ends it.

        Args:
            said: all of the connection.
        """
        verdicts: list[Verdict] = []
        rest = said.data
        while rest:
            line, _, rest = rest.partition(b"\n")
            outcome = self._line(line)
            verdicts.append((outcome,))
            if outcome in {"malformed", "too_long"}:
                break
            if outcome != "accepted" and not self.is_trusted:
                break
        return verdicts

    def comsat(self, said: Input) -> Sequence[Verdict]:
        """Return the outcome of one biff datagram.

        Args:
            said: the datagram.
        """
        if len(said.data) > _MOST_OF_DATAGRAM:
            return (("too_long",),)
        data = said.data[:-1] if said.data.endswith(b"\0") else said.data
        text = _text(data[:-1] if data.endswith(b"\n") else data)
        if text is None:
            return (("malformed",),)
        for place, letter in enumerate(text):
            offset, colon, path = text[place + 1 :].partition(":")
            digits = offset.removeprefix("-")
            if letter == "@" and place and re.fullmatch("[0-9]{1,20}", digits):
                account = text[:place]
                if " " in account:
                    break
                folder = _last_folder(path, account) if colon else None
                return ((self._new(account, folder, may_speak=True),),)
        return (("malformed",),)

    def cyrus(self, said: Input) -> Sequence[Verdict]:
        """Return the outcome of one datagram of Cyrus; none if it is ignored before that.

        Args:
            said: the datagram.
        """
        if len(said.data) > _MOST_OF_CYRUS:
            return (("too_long",),)
        fields = said.data.split(b"\0")
        if len(fields) < 8 or fields.pop() or not re.fullmatch(rb"[0-9]{1,2}", fields[5]):
            return (("malformed",),)
        if len(fields) != 7 + int(fields[5]):
            return (("malformed",),)
        if fields[1] != b"EVENT":
            return ((),)
        event = _json(fields[-1])
        words = [event.get(name, "") for name in ("event", "user", "uri", "clientIP")]
        if "event" not in event or not all(isinstance(word, str) for word in words):
            return (("malformed",),)
        return (self._cyrus_event(*words),)

    def ring(self, account: str) -> str:
        """Return what a call of `Ring` counts as.

        Args:
            account: its parameter.
        """
        return self._new(account, None, may_speak=True)

    def seen(self, account: str, address: str) -> str:
        """Return what a call of `Seen` counts as.

        Args:
            account: its first parameter.
            address: its second parameter.
        """
        return self._login(account, address, may_speak=True)

    def knows(self, account: str) -> bool:
        """Tell whether there is an account.

        Args:
            account: any text.
        """
        return self._account(account, may_speak=True) != "unknown_account"

    def _cyrus_event(self, name: str, user: str, uri: str, client: str) -> Verdict:
        if name == "Login":
            return (self._login(user, client, may_speak=True),)
        if name != "MessageNew":
            return ()
        found = re.fullmatch(r"imap://[^/]*/([^;]*)(;.*)?", uri, re.DOTALL)
        if not found or not user:
            return ("malformed",)
        # The generator writes no other form of an inbox.
        if found[1] != f"user.{user}":
            return ()
        return (self._new(user, None, may_speak=True),)

    def _line(self, line: bytes) -> str:
        if line.startswith(b"{"):
            most = 16_384 if self.is_trusted else 4096
            return "too_long" if len(line) > most else self._event(line)
        if len(line) > _MOST_OF_LINE:
            return "too_long"
        text = _text(line)
        if text is None:
            return "malformed"
        if new := _NEW.fullmatch(text):
            return self._new(new["account"], new["folder"])
        if seen := _SEEN.fullmatch(text):
            return self._login(seen["account"], seen["address"])
        return "malformed"

    def _event(self, line: bytes) -> str:
        event = {} if b"\0" in line else _json(line)
        fields = event.get("fields", {})
        if not isinstance(event.get("event"), str) or not isinstance(fields, dict):
            return "malformed"
        values = {key: value if isinstance(value, str) else "" for key, value in fields.items()}
        name = event["event"]
        if name == "sieve_action_finished" and values.get("fileinto_mailbox_name"):
            return self._delivery(values.get("user", ""), values["fileinto_mailbox_name"])
        if name == "mail_delivery_finished" and fields.get("error") is None:
            return self._delivery(values.get("user", ""), None)
        if name == "auth_request_finished":
            return self._authentication(fields, values)
        return "accepted"

    def _authentication(self, fields: Mapping[str, Any], values: Mapping[str, str]) -> str:
        protocol = values.get("protocol") or values.get("service") or ""
        success = fields.get("success")
        looks = protocol in {"", "imap", "pop3"} and not fields.get("master_user")
        remote = values.get("remote_ip")
        if not (looks and remote and (success == "yes" or success is True)):
            return "accepted"
        return self._login(values.get("user", ""), remote)

    def _delivery(self, user: str, folder: str | None) -> str:
        return self._new(user, folder) if user else "malformed"

    def _new(self, account: str, folder: str | None, *, may_speak: bool = False) -> str:
        refused = self._account(account, may_speak=may_speak)
        if refused:
            return refused
        return "quiet_folder" if folder and self._is_quiet(folder) else "accepted"

    def _login(self, account: str, address: str, *, may_speak: bool = False) -> str:
        number = _number(address)
        if not account or number is None:
            return "malformed"
        refused = self._account(account, may_speak=may_speak)
        if refused:
            return refused
        never = (*_NEVER, *map(ipaddress.ip_network, self.deny))
        return "refused_address" if any(number in network for network in never) else "accepted"

    def _account(self, account: str, *, may_speak: bool) -> str:
        """Return why an account may not be spoken for; "": it may."""
        local, at, domain = account.rpartition("@")
        name = f"{local}@{domain.lower()}" if at else account
        is_name = all(0 < len(text) <= _MOST_OF_NAME for text in (account, name))
        if not is_name or " " in name or _text(name.encode("utf-8", "surrogatepass")) is None:
            return "unknown_account"
        if name not in self.accounts and not self.has_default:
            return "unknown_account"
        if not (may_speak or self.is_trusted or name in self.names_of_own):
            return "not_permitted"
        return "" if self.accounts.get(name, True) else "disabled"

    def _is_quiet(self, folder: str) -> bool:
        parts = [part for part in re.split("[/.]", folder.lower()) if part]
        for name in self.quiet:
            wanted = [part for part in re.split("[/.]", name.lower()) if part]
            size = len(wanted)
            if any(parts[at : at + size] == wanted for at in range(len(parts) - size + 1)):
                return True
        return False


def _text(data: bytes) -> str | None:
    """Return printable text; None: the bytes are no such text."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    if _PLAIN.fullmatch(text):
        return text
    if any(letter != " " and unicodedata.category(letter)[0] in "CZ" for letter in text):
        return None
    return text


def _json(data: bytes) -> dict[str, Any]:
    """Return a JSON object; without members: the bytes are none."""
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _number(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return a numeric address, an IPv4 one in IPv6 form as IPv4; None: the text is none."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            found = ipaddress.ip_address(socket.inet_pton(family, text))
        except (OSError, ValueError):
            continue
        mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
        return mapped or found
    return None


def _last_folder(path: str, account: str) -> str | None:
    """Return the folder that a message is in, of a path of procmail or of a folder's name."""
    parts = [part for part in path.split("/") if part.strip(".")]
    if len(parts) > 1 and parts[-1] != account:
        in_maildir = parts[-2] in {"cur", "new", "tmp"}
        if in_maildir or re.fullmatch(r"[0-9]+|msg\..+", parts[-1]):
            parts = parts[:-1]
    if parts and parts[-1] in {"cur", "new", "tmp"}:
        parts = parts[:-1]
    return parts[-1] if parts and parts[-1] != account else None
