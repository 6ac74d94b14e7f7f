"""Calls that a client of the local socket should not make."""

import json
from typing import Any

from system.support import LISTENER

__all__ = ["WRONG", "call"]


def call(method: str, parameters: object = None, **more: Any) -> bytes:
    return json.dumps({"method": method, "parameters": parameters or {}, **more}).encode() + b"\0"


NOTIFY, SUBSCRIBE = f"{LISTENER}Notify", f"{LISTENER}Subscribe"

# What the client sends, and how the connection ends.
WRONG = {
    "noise": (bytes(range(1, 256)) + b"\0", "garbage"),
    "a finger query": (b"root\r\n\0", "garbage"),
    "an empty message": (b"\0", "garbage"),
    "not UTF-8": (b'{"method":"\xff\xfe"}\0', "garbage"),
    "half an object": (b'{"method":\0', "garbage"),
    "a list": (b"[]\0", "garbage"),
    "a number with 4,000 digits": (b'{"method":' + b"9" * 4000 + b"}\0", "garbage"),
    "deep arrays": (b"[" * 4000 + b"\0", "garbage"),
    "deep and well formed": (b"[" * 2000 + b"]" * 2000 + b"\0", "garbage"),
    "deep objects": (
        b'{"method":"x","parameters":' + b'{"a":' * 600 + b"1" + b"}" * 601 + b"\0",
        "garbage",
    ),
    "a key twice": (b'{"method":"a","method":"b"}\0', "garbage"),
    "a method that is a number": (b'{"method":1}\0', "garbage"),
    "parameters that are a list": (b'{"method":"' + NOTIFY.encode() + b'","parameters":[]}\0', ""),
    "more that is text": (call(SUBSCRIBE, more="yes"), ""),
    "an account that is a number": (call(NOTIFY, {"account": 1}), ""),
    "an account that is null": (call(NOTIFY, {"account": None}), ""),
    "accounts that are text": (call(SUBSCRIBE, {"accounts": "work"}, more=True), ""),
    "a cursor that is a list": (call(SUBSCRIBE, {"after": [1]}, more=True), ""),
    "a sequence that is a fraction": (
        call(SUBSCRIBE, {"after": {"epoch": "e", "sequence": 0.5}}, more=True),
        "",
    ),
    "10 MiB without a NUL": (b"x" * (10 << 20), "too_long"),
    "10 MiB of blanks": (b" " * (10 << 20), "too_long"),
    "one byte too many": (b'{"method":"' + b"x" * 4084 + b'"}\0', "too_long"),
    "eleven calls at once": (call("org.varlink.service.GetInfo") * 11, "too_fast"),
}
