"""A Thunderbird profile with accounts and their passwords, made without Thunderbird.

What the preferences mean stands in Thunderbird's own `mailnews.js` and `all-thunderbird.js`.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from harness.mailserver import HOST, PASSWORD

__all__ = ["Account", "Place", "make"]

Value = str | int | bool

_HOURS: Final = 600  # minutes between two polls: no test waits so long

# Thunderbird asks nobody, and calls no host of its makers.
_QUIET: Final[Mapping[str, Value]] = {
    "app.donation.eoy.version.viewed": 999,
    "app.update.enabled": False,
    "browser.dom.window.dump.enabled": True,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.update.enabled": False,
    "mail.inappnotifications.enabled": False,
    "mail.provider.suppress_dialog_on_startup": True,
    "mail.rights.version": 1,
    "mail.shell.checkDefaultClient": False,
    "mail.spotlight.firstRunDone": True,
    "mail.winsearch.firstRunDone": True,
    "mailnews.database.global.indexer.enabled": False,
    "mailnews.start_page.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "toolkit.telemetry.enabled": False,
    # A port of the kernel's choice, and no change to what users have.
    "marionette.port": 0,
    "remote.prefs.recommended": False,
}

# Arguments: the folder of the profile, the password, and "SCHEME://HOST USER" for each account.
# PK11SDR_Encrypt makes key4.db, and what it returns is what Thunderbird keeps in logins.json.
_PASSWORDS: Final = """
import base64, ctypes, json, sys
folder, password, *accounts = sys.argv[1:]
nss = ctypes.CDLL("libnss3.so")
class Item(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("data", ctypes.c_void_p), ("length", ctypes.c_uint)]
def item(data=b""):
    return Item(0, ctypes.cast(ctypes.c_char_p(data or None), ctypes.c_void_p), len(data))
assert nss.NSS_InitReadWrite(f"sql:{folder}".encode()) == 0
nss.PK11_GetInternalKeySlot.restype = ctypes.c_void_p
slot = ctypes.c_void_p(nss.PK11_GetInternalKeySlot())
assert nss.PK11_InitPin(slot, None, None) == 0
def encrypted(text):
    plain, key, out = item(text.encode()), item(), item()
    refs = (ctypes.byref(one) for one in (key, plain, out))
    assert nss.PK11SDR_Encrypt(*refs, None) == 0
    return base64.b64encode(ctypes.string_at(out.data, out.length)).decode()
logins = []
for number, account in enumerate(accounts, 1):
    origin, user = account.split()
    logins.append({
        "id": number, "hostname": origin, "httpRealm": origin, "formSubmitURL": None,
        "usernameField": "", "passwordField": "", "encryptedUsername": encrypted(user),
        "encryptedPassword": encrypted(password), "encType": 1, "guid": "{%032d}" % number,
        "timeCreated": 1, "timeLastUsed": 1, "timePasswordChanged": 1, "timesUsed": 1,
    })
with open(f"{folder}/logins.json", "w") as file:
    json.dump({"nextId": len(logins) + 1, "logins": logins, "version": 3}, file)
nss.NSS_Shutdown()
"""

_SCHEMES: Final = {"imap": "imap", "pop3": "mailbox"}  # of the origins of passwords


@dataclass(frozen=True)
class Account:
    """An account of Thunderbird.

    Attributes:
        key: what Thunderbird calls its server, such as `server1`.
        name: what the user calls it.
        kind: `imap` or `pop3`.
        user: at the mail server.
        port: of the mail server.
        has_password: whether Thunderbird knows the password.
        host: the mail server's; loopback by default.
    """

    key: str
    name: str
    kind: str
    user: str
    port: int
    has_password: bool = True
    host: str = HOST


class Place(Protocol):
    """A machine on which Thunderbird is installed; `harness.machine.Machine` is one.

    Attributes:
        shared: a folder of it.
    """

    @property
    def shared(self) -> Path:
        """A folder for the person's home."""
        ...

    def path(self, inside: str) -> Path:
        """Return how this process reaches a file."""
        ...

    def run(self, *command: str, stdin: str = "", user: str | None = None) -> str:
        """Run a program to its end; return all that it prints."""
        ...

    def popen(
        self, *command: str, user: str | None = None, **options: Any
    ) -> "subprocess.Popen[bytes]":
        """Start a program that stays."""
        ...

    def write(self, inside: str, text: str, *, owner: str) -> None:
        """Write a file; missing folders are made."""
        ...

    def ids(self, user: str) -> tuple[int, int]:
        """Return the number of a user, and of the user's group."""
        ...


def make(
    machine: Place,
    owner: str,
    folder: str,
    accounts: Sequence[Account],
    more: Mapping[str, Value],
) -> None:
    """Make a profile.

    Args:
        machine: where Thunderbird is.
        owner: whose profile it is.
        folder: an empty folder, as the machine calls it.
        accounts: of mail; the local folders come beside.
        more: further preferences.
    """
    preferences = {**_QUIET, **_accounts(accounts), **more}
    text = "".join(
        f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in preferences.items()
    )
    machine.write(f"{folder}/prefs.js", text, owner=owner)
    logins = [
        f"{_SCHEMES[one.kind]}://{one.host} {one.user}" for one in accounts if one.has_password
    ]
    # Thunderbird's own libnss3 and all that belongs to it, before those of the machine.
    line = ("env", "LD_LIBRARY_PATH=/usr/lib/thunderbird", "/usr/bin/python3", "-I", "-")
    machine.run(*line, folder, PASSWORD, *logins, stdin=_PASSWORDS, user=owner)


def _accounts(accounts: Sequence[Account]) -> dict[str, Value]:
    keys = [f"account{number}" for number in range(len(accounts) + 1)]
    local = "mail.server.server0."
    made: dict[str, Value] = {
        "mail.accountmanager.accounts": ",".join(keys),
        "mail.accountmanager.defaultaccount": keys[-1],
        "mail.accountmanager.localfoldersserver": "server0",
        "mail.account.account0.server": "server0",
        f"{local}type": "none",
        f"{local}hostname": "Local Folders",
        f"{local}userName": "nobody",
        f"{local}name": "Local Folders",
        f"{local}directory-rel": "[ProfD]Mail/Local Folders",
    }
    for key, account in zip(keys[1:], accounts, strict=True):
        identity = f"mail.identity.{account.key}."
        made |= {
            f"mail.account.{key}.server": account.key,
            f"mail.account.{key}.identities": account.key,
            f"{identity}fullName": "Anna",
            f"{identity}useremail": f"{account.user}@example.org",
            f"{identity}valid": True,
            **{f"mail.server.{account.key}.{k}": v for k, v in _server(account).items()},
        }
    return made


def _server(account: Account) -> dict[str, Value]:
    base = "ImapMail" if account.kind == "imap" else "Mail"
    return {
        "type": account.kind,
        "hostname": account.host,
        "userName": account.user,
        "name": account.name,
        "port": account.port,
        "socketType": 0,  # in clear
        "authMethod": 3,  # a password
        "check_new_mail": True,
        "check_time": _HOURS,
        "login_at_startup": False,
        "directory-rel": f"[ProfD]{base}/{account.key}",
        "use_idle": False,
        "leave_on_server": True,
        "download_on_biff": False,  # "Automatically download new messages" is off
    }
