"""The real Thunderbird: without a screen, run by an ordinary user, with the add-on."""

import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

import pytest
from harness.daemon import until
from harness.netns import Namespace
from mail_programs import profile
from mail_programs.marionette import Marionette
from mail_programs.profile import Account, Place

__all__ = ["ADDON", "OWNER", "Thunderbird", "thunderbirds"]

ADDON: Final = "thunderbird@mailbell.org"
"""What the add-on is called."""

OWNER: Final = "anna"
"""The ordinary user of the machine that runs Thunderbird."""

_PROGRAM: Final = "/usr/lib/thunderbird/thunderbird"

_INBOX: Final = """
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const server = MailServices.accounts.getIncomingServer(args[0]);
const inbox = server.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox);
"""

# The file's name is not always INBOX or Inbox.
_STORE: Final = f"{_INBOX} return inbox?.filePath.exists() ? inbox.filePath.path : null;"

_SUBJECTS: Final = f"{_INBOX} return inbox ? [...inbox.messages].map(one => one.subject) : [];"

# The text that a person sees who opens a message; it is fetched from the server for that.
_TEXT: Final = f"""{_INBOX}
const {{ MsgHdrToMimeMessage }} = ChromeUtils.importESModule(
  "resource:///modules/gloda/MimeMessage.sys.mjs");
const header = [...inbox.messages].find(one => one.subject === args[1]);
return await new Promise(resolve => MsgHdrToMimeMessage(header, null,
  (_, message) => resolve(message.coerceBodyToPlaintext(inbox)), true));
"""

_STARTED: Final = """
const policy = WebExtensionPolicy.getByID(args[0]);
return !!policy && (await policy.readyPromise, true);
"""

# Of an add-on that begins anew there is no status yet.
_UNLESS_STARTED: Final = f"""
if (!WebExtensionPolicy.getByID("{ADDON}")?.extension?.apiManager) {{
  return {{ state: null, accounts: [] }};
}}
"""

# The functions of the add-on, as its page has them: `browser.mailbell`.
_API: Final = f"""
const extension = WebExtensionPolicy.getByID("{ADDON}").extension;
const api = (await extension.apiManager.asyncGetAPI("mailbell", extension, "addon_parent"))
  .getAPI({{ extension }}).mailbell;
"""


@dataclass
class Thunderbird:
    """A Thunderbird that runs, with a mail account of each kind.

    Attributes:
        machine: where it runs.
        home: the user's, as this process reaches it.
        accounts: of mail.
        marionette: runs scripts in it.
        pid: its process id in the machine.
    """

    machine: Place
    home: Path
    accounts: Sequence[Account]
    marionette: Marionette
    pid: int

    def run(self, script: str, *args: object) -> Any:
        """Run a script in its main process."""
        return self.marionette.run(script, *args)

    def version(self) -> str:
        """Its name and version, as Debian has it."""
        return f"thunderbird {self.run('return Services.appinfo.version;')}esr"

    def lines(self) -> list[str]:
        """What the add-on has noted so far."""
        text = (self.home / "said").read_text(errors="replace")
        return [line for line in text.splitlines() if line.startswith("mailbell:")]

    def counted(self, text: str) -> int:
        """How many lines of the add-on have this text."""
        return sum(text in line for line in self.lines())

    def until_noted(self, text: str, count: int = 1) -> None:
        """Wait for lines of the add-on."""
        until(lambda: self.counted(text) >= count, f"{text!r} in {self.lines()[-8:]}")

    def status(self) -> Any:
        """What the add-on tells its page."""
        return self.run(f"{_UNLESS_STARTED}{_API} return await api.getStatus();")

    def until_state(self, state: str) -> None:
        """Wait for a state of the connection to mailbelld."""
        until(lambda: self.status()["state"] == state, f"the state {state} in {self.lines()[-8:]}")

    def set(self, **settings: object) -> None:
        """Change settings, as the page does."""
        assert self.problems(**settings) == {}

    def problems(self, **settings: object) -> Any:
        """Change settings, as the page does, and return what is wrong with them."""
        return self.run(f"{_API} return await api.setSettings(args[0]);", settings)["problems"]

    def prefer(self, name: str, value: str | bool) -> None:
        """Set a preference."""
        kind = "Bool" if isinstance(value, bool) else "String"
        self.run(f"Services.prefs.set{kind}Pref(args[0], args[1]);", name, value)

    def answers(self) -> float:
        """How long its main process takes to answer, in seconds."""
        begun = monotonic()
        assert self.run("return 1 + 1;") == 2
        return monotonic() - begun

    def memory(self) -> int:
        """How much memory of the machine its main process has, in bytes."""
        text = self.machine.path(f"/proc/{self.pid}/status").read_text()
        (line,) = (line for line in text.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def has(self, account: Account, subject: str) -> bool:
        """Whether a message lies in its own store."""
        path = self.run(_STORE, account.key)
        return path is not None and f"Subject: {subject}\n" in _text(self.machine.path(path))

    def lists(self, account: Account, subject: str) -> bool:
        """Whether a person sees a message in an inbox."""
        return subject in self.run(_SUBJECTS, account.key)

    def opened(self, account: Account, subject: str) -> str:
        """The text that a person sees who opens a message in an inbox."""
        return str(self.run(_TEXT, account.key, subject))


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace").replace("\r\n", "\n")


@contextmanager
def thunderbirds(
    machine: Place,
    accounts: Sequence[Account],
    *,
    environ: Mapping[str, str] | None = None,
    preferences: Mapping[str, profile.Value] | None = None,
    host: Namespace | None = None,
) -> Iterator[Thunderbird]:
    """Run Thunderbird until the end of the block, with a new profile.

    Args:
        machine: with Thunderbird, the user, and the add-on for all users.
        accounts: of mail.
        environ: added to its environment.
        preferences: added to those of the profile.
        host: the network of the machine; None: that of this process.
    """
    inside = machine.shared / "home"
    folder = inside / "profile"
    home = machine.path(str(inside))
    shutil.rmtree(home, ignore_errors=True)
    for path in (home, home / "profile", home / "run"):
        path.mkdir(mode=0o700)
        shutil.chown(path, *machine.ids(OWNER))
    profile.make(machine, OWNER, str(folder), accounts, preferences or {})
    own = {
        "HOME": inside, "XDG_RUNTIME_DIR": inside / "run", "LC_ALL": "C.UTF-8",
        "DBUS_SESSION_BUS_ADDRESS": "disabled:", "MOZ_CRASHREPORTER_DISABLE": "1",
        **(environ or {}),
    }  # fmt: skip
    with (home / "said").open("wb") as said:
        process = machine.popen(
            "env", *(f"{name}={value}" for name, value in own.items()), _PROGRAM, "--headless",
            "--marionette", "--remote-allow-system-access", "--profile", str(folder),
            user=OWNER, stdout=said, stderr=said,
        )  # fmt: skip
    pid = 0
    try:
        port = home / "profile" / "MarionetteActivePort"
        until(lambda: process.poll() is not None or (port.exists() and port.read_text()), "a start")
        if process.poll() is not None:
            pytest.fail(_text(home / "said"))
        with Marionette(int(port.read_text()), host) as marionette:
            pid = marionette.run("return Services.appinfo.processID;")
            until(lambda: marionette.run(_STARTED, ADDON), "the start of the add-on")
            yield Thunderbird(machine, home, accounts, marionette, pid)
    finally:
        # The process of this side only waits for the one inside.
        if pid:
            machine.run("kill", "-KILL", str(pid))
        process.send_signal(signal.SIGTERM)
        process.wait(20)
