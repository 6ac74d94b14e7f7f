"""Evolution as an ordinary user of a machine has it: with a screen, a session bus, a keyring.

Each session has a home of its own, whose accounts ask their servers every ten hours, and without
IDLE. So a message comes in only when a test makes Evolution fetch.
"""

import re
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.daemon import until
from harness.machine import Machine
from harness.mailserver import HOST, PASSWORD, MailServer
from harness.sender import PATIENCE
from mail_programs.support import Home

__all__ = ["NAME", "PACKAGES", "USER", "Account", "HeldServer", "Session", "build", "build_online",
           "configure", "held_servers", "sessions"]  # fmt: skip

NAME: Final = "org.gnome.Evolution"
USER: Final = "anna"
PACKAGES: Final = (
    "evolution", "gnome-keyring", "libsecret-tools", "libglib2.0-bin", "dbus-daemon", "xvfb",
    "passwd", "util-linux",
    # These build the module.
    "gcc", "libc6-dev", "make", "pkg-config", "evolution-dev", "libebook1.2-dev",
    "libecal2.0-dev",
)  # fmt: skip

# The settings that programs have, what loads pictures and modules, and types of files.
_CONFIGURES: Final = (
    "glib-compile-schemas /usr/share/glib-2.0/schemas",
    "/usr/lib/*/gdk-pixbuf-2.0/gdk-pixbuf-query-loaders --update-cache",
    "/usr/lib/*/glib-2.0/gio-querymodules /usr/lib/*/gio/modules",
    "update-mime-database /usr/share/mime",
)
_SOURCES: Final = Path(__file__).parents[2] / "clients" / "evolution"

# The key file of an account; the second one is of the person's address.
_ACCOUNT: Final = """[Data Source]
DisplayName={name}
Enabled=true
Parent=

[Mail Account]
BackendName={backend}
IdentityUid={uid}-identity

[Refresh]
Enabled={refreshes}
IntervalMinutes=600

[Authentication]
Host={host}
Method=PLAIN
Port={port}
RememberPassword=true
User={user}

[Security]
Method=none

[Offline]
StaySynchronized=true

[Imapx Backend]
UseIdle=false

[Pop Backend]
KeepOnServer=true

[Spool Backend]
Path={path}
ListenNotifications={listens}
"""
_IDENTITY: Final = """[Data Source]
DisplayName={name}
Enabled=true
Parent={uid}

[Mail Identity]
Address=anna@example.org
Name=Anna
"""


@dataclass(frozen=True)
class Account:
    """An account of Evolution.

    Attributes:
        name: what Evolution shows.
        backend: `imapx`, `pop` or `spool`.
        user: at the mail server.
        port: of the mail server.
        path: of the file, for `spool`.
        listens: whether Evolution listens for changes of that file: `true` or `false`.
        refreshes: whether Evolution asks by itself, at its interval and when it goes online.
    """

    name: str
    backend: str
    user: str = ""
    port: int = 0
    path: str = ""
    listens: str = "true"
    refreshes: str = "true"

    @property
    def uid(self) -> str:
        """How Evolution names it in files."""
        return f"test-{self.name.lower()}"

    @property
    def files(self) -> dict[str, str]:
        """The key files that Evolution reads at its start."""
        values = {"uid": self.uid, "host": HOST, **vars(self)}
        return {
            f"{self.uid}.source": _ACCOUNT.format(**values),
            f"{self.uid}-identity.source": _IDENTITY.format(**values),
        }


@dataclass
class Session:
    """A person's session; Evolution may be open in it.

    Attributes:
        machine: where it is.
        home: the person's, with the same path inside and outside.
        server: the mail server of the accounts.
    """

    machine: Machine
    home: Home
    server: MailServer
    started: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def run(self, *command: str, stdin: str = "", check: bool = True) -> str:
        """Run a program of the person to its end; return what it prints."""
        return self.machine.run(*self._with(*command), stdin=stdin, check=check)

    def code(self, *command: str) -> int:
        """Run a program of the person to its end; return its exit code."""
        return self.start(*command).wait(PATIENCE)

    def start(self, *command: str, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a program of the person. It ends with the session at the latest."""
        with (self.home.path / "said").open("ab") as said:
            options = {"stdout": said, "stderr": said, **options}
            self.started.append(self.machine.popen(*self._with(*command), **options))
        return self.started[-1]

    def end(self) -> None:
        """End all that was started, the last one first."""
        for process in reversed(self.started):
            process.kill()
            process.communicate(timeout=PATIENCE)

    def call(self, member: str, *arguments: str, check: bool = True) -> str:
        """Call a method of Evolution's actions on the bus."""
        return self.run(
            "gdbus", "call", "--session", "--dest", NAME, "--object-path", "/org/gnome/Evolution",
            "--method", f"org.gtk.Actions.{member}", *arguments, check=check,
        )  # fmt: skip

    def on_bus(self, name: str = NAME, method: str = "NameHasOwner") -> bool:
        """Whether a name has an owner on the bus."""
        bus = "org.freedesktop.DBus"
        return "true" in self.run(
            "gdbus", "call", "--session", "--dest", bus, "--object-path", "/org/freedesktop/DBus",
            "--method", f"{bus}.{method}", name,
        )  # fmt: skip

    @contextmanager
    def evolution(self, *options: str) -> Iterator[None]:
        """Have Evolution open, and its actions on the bus, until the end of the block.

        The test fails if it does not end by itself when it is asked to.
        """
        process = self.start("evolution", "--component=mail", *options)
        until(self.on_bus, "Evolution on the bus")
        yield
        assert process.poll() is None, "Evolution has ended"
        assert self.code("gapplication", "action", NAME, "quit") == 0
        assert process.wait(PATIENCE) == 0

    def has(self, subject: str, account: Account | None = None) -> bool:
        """Whether Evolution has a message, in the store of an account or in any store."""
        for place in (".cache/evolution/mail", ".local/share/evolution/mail"):
            for path in (self.home.path / place / (account.uid if account else "")).rglob("*"):
                with suppress(OSError):  # Evolution renames and removes files meanwhile
                    if path.is_file() and subject.encode() in path.read_bytes():
                        return True
        return False

    def until_has(self, subject: str) -> None:
        """Wait for a message."""
        until(lambda: self.has(subject), f"{subject} in Evolution's store")

    def logins(self, account: Account) -> int:
        """How often somebody has logged in to an account's mail server."""
        log = (self.server.base / "log").read_text(errors="replace")
        return len(re.findall(rf"Login: user=<{account.user}>", log))

    def _with(self, *command: str) -> tuple[str, ...]:
        uid, gid = map(str, self.machine.ids(USER))
        # What it starts is the only child of nsenter(1), and ends with that.
        return (
            "setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", "--pdeathsig", "KILL",
            "env", "-C", self.home.environ["HOME"],
            *(f"{name}={value}" for name, value in self.home.environ.items()), *command,
        )  # fmt: skip


@contextmanager
def sessions(
    machine: Machine, server: MailServer, name: str, accounts: Sequence[Account]
) -> Iterator[Session]:
    """Have a session until the end of the block: a screen, a bus, an unlocked keyring.

    Args:
        machine: where.
        server: the accounts' mail server.
        name: of the session; another one for each.
        accounts: what Evolution has when it starts. The keyring has their passwords.
    """
    machine.user(USER)
    folder = machine.shared / name
    sources = folder / ".config" / "evolution" / "sources"
    sources.mkdir(parents=True)
    for file, text in (pair for account in accounts for pair in account.files.items()):
        (sources / file).write_text(text)
    (folder / "run").mkdir(mode=0o700)
    machine.run("chown", "-R", f"{USER}:", str(folder))
    environ = {
        "HOME": str(folder), "XDG_RUNTIME_DIR": f"{folder}/run", "LC_ALL": "C.UTF-8",
        "PATH": "/usr/bin:/bin", "DBUS_SESSION_BUS_ADDRESS": f"unix:path={folder}/run/bus",
        "GSETTINGS_BACKEND": "memory", "NO_AT_BRIDGE": "1",
        # WebKit cannot make a sandbox in a machine that is itself a root directory.
        "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1",
    }  # fmt: skip
    session = Session(machine, Home(folder, environ), server)
    try:
        _furnish(session)
        for account in accounts:
            if account.user:
                session.run("secret-tool", "store", "--label=mail", "e-source-uid", account.uid,
                            "eds-origin", "evolution-data-server", stdin=PASSWORD)  # fmt: skip
        yield session
    finally:
        session.end()


def _furnish(session: Session) -> None:
    screen = session.start("Xvfb", "-displayfd", "1", "-nolisten", "tcp",
                           "-screen", "0", "800x600x24", stdout=subprocess.PIPE)  # fmt: skip
    assert screen.stdout
    session.home.environ["DISPLAY"] = f":{screen.stdout.readline().decode().strip()}"
    address = session.home.environ["DBUS_SESSION_BUS_ADDRESS"]
    session.start("dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={address}")
    until((session.home.path / "run" / "bus").exists, "the session's bus")
    # Without a window it asks for no password: the first one that it is given becomes its own.
    with session.home.write("password", "of the keyring").open("rb") as password:
        session.start("gnome-keyring-daemon", "--unlock", "--components=secrets", "--foreground",
                      stdin=password)  # fmt: skip
    until(lambda: session.on_bus("org.freedesktop.secrets"), "the keyring")


def configure(machine: Machine) -> None:
    """Do what the maintainer scripts of GTK's packages do, in a Debian that is only unpacked."""
    for command in _CONFIGURES:
        machine.run("sh", "-c", command)


def build(machine: Machine, *words: str) -> str:
    """Run `make` in a copy of the module's sources; any warning is an error.

    Returns:
        What it printed; the test fails if it fails.
    """
    folder = "/usr/src/mailbell-evolution"
    for file in ("Makefile", "module-mailbell.c"):
        machine.install(_SOURCES / file, f"{folder}/{file}", 0o644)
    return machine.run("make", "-C", "/tmp", "-f", f"{folder}/Makefile", "CC=gcc", *words)


def build_online(machine: Machine, place: str) -> None:
    """Add the module that lets a test set Evolution online, as its menu does."""
    source = "/usr/src/mailbell-evolution/evolution_online.c"
    machine.install(Path(__file__).with_name("evolution_online.c"), source, 0o644)
    build(machine, "install", place, f"SOURCE={source}", "MODULE=module-online.so")


@dataclass
class HeldServer:
    """A POP3 server that sends no message while it is closed.

    Attributes:
        port: on `HOST`.
        open: whether messages are sent.
        asked: whether somebody has asked for a message while it was closed.
    """

    port: int
    open: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)


@contextmanager
def held_servers(behind: int) -> Iterator[HeldServer]:
    """Run such a server, which is open, until the end of the block.

    Args:
        behind: the port of the real POP3 server on `HOST`.
    """
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server((HOST, 0)))
        server = HeldServer(listening.getsockname()[1])
        server.open.set()
        stack.callback(server.open.set)
        threading.Thread(target=_accept, args=(listening, behind, server), daemon=True).start()
        yield server


def _accept(listening: socket.socket, behind: int, server: HeldServer) -> None:
    with suppress(OSError):  # the block has ended
        while True:
            client, _ = listening.accept()
            real = socket.create_connection((HOST, behind), PATIENCE)
            for one, other in ((client, real), (real, client)):
                threading.Thread(target=_pass_on, args=(one, other, server), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket, server: HeldServer) -> None:
    with suppress(OSError), other:
        while data := one.recv(65536):
            if b"RETR" in data and not server.open.is_set():
                server.asked.set()
                server.open.wait(PATIENCE)
            other.sendall(data)
