"""Makes inputs for mailbell-sender: lines of hooks, events of Dovecot, datagrams."""

import json
from random import Random
from typing import Final

from torture.inputs.lines import cut
from torture.inputs.speaking import Ends, Input

__all__ = ["SENTINEL", "Words", "cyrus_datagram", "make_comsat", "make_cyrus", "make_hook"]

_FOLDERS: Final = (
    "INBOX", "Junk", "INBOX.Junk", "junk/2026", "Lists", "Lists/trio", "Junkyard", "a b", "Ünal",
    "Sent", "Archive/Sent/x", ".Junk", "x" * 300,
)  # fmt: skip
_ADDRESSES: Final = (
    "192.0.2.9", "203.0.113.77", "2001:db8::25", "2001:db8:1:2:3:4:5:6", "::ffff:192.0.2.9",
    "198.51.100.3", "127.0.0.1", "::1", "0.0.0.1", "224.0.0.1", "255.255.255.255", "169.254.1.1",
    "fe80::1", "ff02::1", "::ffff:127.0.0.1", "fe80::1%eth0", "192.0.2", "192.0.2.256", "01.2.3.4",
    "localhost", "", "192.0.2.9 x", "::", "fec0::1", "::5",
)  # fmt: skip
_ODD: Final = (
    b"", b"new", b"new ", b"seen", b"seen anna", b"seen anna ", b"NEW anna", b"new  anna",
    b"new anna ", b"new anna  x", b"new anna\r", b"new an\0na", b"new an\tna", b"new \xff",
    b"new anna Junk ", b" new anna", b"GET / HTTP/1.1\r", b"[]", b"{}", b"{", b'{"event":1}',
    b"new \xc2\xa0", b"new \xe2\x80\x8bx", b"ring anna", b"new an\xcc\x88na", b"new \xed\xa0\x80",
)  # fmt: skip
_BAD_JSON: Final = (
    b'{"event":"x"', b'{"event":null}', b'{"event":"x","fields":[]}',
    b'{"event":"x","fields":null}',
    b'{"fields":{}}', b'{"event":"x"}x', b'{"event":"x",}', b'{"event":"x","fields":{"user":1}}',
    b'{"event":"x"}\r', b'{"event":"x","fields":{"user":"a\0"}}', b'{"event":"\xff"}',
    b'{"event":"x","event":1}', b'{ "event" : "mail_delivery_finished" }',
)  # fmt: skip
_LONG: Final = (512, 513, 4096, 4097, 16_384, 16_385)
SENTINEL: Final = ("127.0.0.1", "refused_address")
"""An address and what a login from there counts as: no other datagram of Cyrus counts as that."""


class Words:
    """What the generator says.

    Args:
        names: accounts, listed and not.
        own: the account of the user who speaks; "": it is never named by a login.
    """

    def __init__(self, names: tuple[str, ...], own: str) -> None:
        self._names = names
        self._with_own = (*names, own) if own else names

    def account(self, rng: Random, *, login: bool = False) -> str:
        """Return the name of an account.

        Args:
            rng: decides.
            login: whether it is for a login.
        """
        kind = rng.random()
        if kind < 0.75:
            names = self._names if login else self._with_own
            return names[int(rng.random() * len(names))]
        if kind < 0.95:
            return f"u{int(rng.random() * 1e6)}"
        return "x" * (252 + int(rng.random() * 5))


def _line(rng: Random, words: Words) -> bytes:
    kind = rng.random()
    if kind < 0.45:
        folder = f" {rng.choice(_FOLDERS)}" if rng.random() < 0.4 else ""
        return f"new {words.account(rng)}{folder}".encode()
    if kind < 0.6:
        return f"seen {words.account(rng, login=True)} {rng.choice(_ADDRESSES)}".encode()
    if kind < 0.78:
        return _event(rng, words)
    if kind < 0.9:
        return _changed(rng, f"new {words.account(rng)}".encode())
    return _bad_line(rng)


def _bad_line(rng: Random) -> bytes:
    kind = rng.random()
    if kind < 0.6:
        return rng.choice(_ODD)
    if kind < 0.8:
        return rng.choice(_BAD_JSON)
    if kind < 0.9:
        return rng.randbytes(int(rng.random() * 60)).replace(b"\n", b"\r")
    return (rng.choice((b"new ", b"{", b"")) + b"x" * 16_385)[: rng.choice(_LONG)]


def _changed(rng: Random, data: bytes) -> bytes:
    """Return bytes of which one is changed, added or lost."""
    place = int(rng.random() * len(data))
    byte = bytes([int(rng.random() * 256)]).replace(b"\n", b"\r")
    return data[:place] + byte * int(rng.random() * 3) + data[place + 1 :]


def _event(rng: Random, words: Words) -> bytes:
    """Return an event of Dovecot."""
    name = rng.choice(
        ("mail_delivery_finished", "sieve_action_finished", "auth_request_finished", "other")
    )
    is_login = name == "auth_request_finished"
    fields: dict[str, object] = {
        "user": words.account(rng, login=is_login),
        "fileinto_mailbox_name": rng.choice(_FOLDERS),
        "success": rng.choice(("yes", "no", True, 1)),
        "remote_ip": rng.choice(_ADDRESSES),
        "protocol": rng.choice(("imap", "pop3", "submission", "", None)),
        "error": rng.choice(("full", None, None, None)),
        "master_user": rng.choice(("root", None, None, None)),
        "service": rng.choice(("imap", "sieve")),
        "bytes": int(rng.random() * 1e6),
    }
    kept = {key: value for key, value in fields.items() if rng.random() < 0.85}
    text = json.dumps({"event": name, "fields": kept}, ensure_ascii=rng.random() < 0.5).encode()
    return _changed(rng, text) if rng.random() < 0.1 else text


def make_hook(words: Words, lines: int, rng: Random) -> Input:
    """Return a connection to the socket of the hooks.

    Args:
        words: what it says.
        lines: how many lines it has at most.
        rng: decides.
    """
    count = 1 if rng.random() < 0.3 else 1 + int(rng.random() * lines)
    data = b"\n".join(_line(rng, words) for _ in range(count))
    data += b"\n" if rng.random() < 0.8 else b""
    return Input(cut(rng, data), Ends.FINISHES if rng.random() < 0.7 else Ends.LEAVES)


def make_comsat(words: Words, rng: Random) -> Input:
    """Return a biff datagram.

    Args:
        words: what it says.
        rng: decides.
    """
    account = words.account(rng).encode()
    kind = rng.random()
    folder = rng.choice(_FOLDERS).encode()
    path = rng.choice((b"", b":" + folder, b":/home/x/Maildir/." + folder + b"/new/1.2_3.x"))
    data = account + b"@" + rng.choice((b"0", b"-1", b"522", b"1" * 21, b"")) + path
    data += rng.choice((b"", b"\0", b"\n", b"\n\0", b"\0\n", b"\r\n"))
    if kind < 0.2:
        data = _changed(rng, data)
    elif kind < 0.5:
        data = _bad_line(rng)[:2000]
    return Input((data,) if data else ())


def make_cyrus(words: Words, rng: Random) -> Input:
    """Return a datagram of Cyrus.

    Args:
        words: what it says.
        rng: decides.
    """
    user = words.account(rng)
    name = rng.choice(("MessageNew", "MessageNew", "Login", "MessageRead", "Logout"))
    event: dict[str, object] = {"event": name, "user": user}
    if rng.random() < 0.9:
        mailbox = rng.choice((f"user.{user}", f"user.{user}", f"user.{user}.Junk", "shared"))
        event["uri"] = f"imap://mail.example.org/{mailbox};UIDVALIDITY=1/;UID=2"
    if rng.random() < 0.9:
        event["clientIP"] = rng.choice(_ADDRESSES[:5])
    data = cyrus_datagram(event, rng.choice((b"EVENT", b"EVENT", b"EVENT", b"MAIL")))
    if rng.random() < 0.15:
        data = _changed(rng, data)
    elif rng.random() < 0.03:
        data = _bad_line(rng) or b"x"
    return Input((data,))


def cyrus_datagram(event: dict[str, object], kind: bytes = b"EVENT") -> bytes:
    """Return a datagram with an event.

    Args:
        event: the members of the JSON object.
        kind: the class.
    """
    fields = (b"x", kind, b"", b"", b"", b"0", json.dumps(event).encode())
    return b"\0".join(fields) + b"\0"
