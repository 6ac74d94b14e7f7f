"""The native libraries in the locked processes: docs/libraries.md names each with its reason."""

import os
import re
import socket
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import ring, started, until
from harness.engine import engine, needs_coredis
from harness.ringer import ringing, settings
from harness.sending import sender_configuration, sending
from harness.tracee import mappings

ROOT: Final = Path(__file__).resolve().parents[2]
ROW: Final = re.compile(
    r"^\| `([^`]+)` \| (all|mailbell-sender|mailbell-cluster) \| [^|]+ \| [^|]+ \|$", re.MULTILINE
)
LISTED: Final = dict(ROW.findall((ROOT / "docs" / "libraries.md").read_text()))

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may look into the daemon's memory"
)


def name_of(path: str) -> str:
    """Return what stands for a file in docs/libraries.md: no folder, version or architecture.

    A module of a package has the name of its package before it.
    """
    *_, folder, file = path.split("/")
    name = re.sub(r"\.(cpython-3|abi3|so\b).*", "", file)
    if name.startswith("ld-linux"):
        name = "ld-linux"
    elif name.startswith("libpython3"):
        name = "libpython3"
    packages = folder in {"site-packages", "dist-packages"}
    in_package = re.search(r"/(site|dist)-packages/", path) and not packages
    return f"{folder}/{name}" if in_package else name


def code(pid: int) -> set[str]:
    """Return the files that a process has mapped as code, without the interpreter itself."""
    found = {one.path for one in mappings(pid) if "x" in one.rights and one.path.startswith("/")}
    return found - {os.path.realpath(sys.executable)}


def unlisted(program: str, files: set[str]) -> set[str]:
    """Return those files for which a program has no row in docs/libraries.md."""
    # The companion for a cluster begins as a copy of the sender.
    begun = {"mailbell-sender"} if program == "mailbell-cluster" else set()
    rows = [row for row, who in LISTED.items() if who in {"all", program, *begun}]
    return {file for file in files if not any(fnmatchcase(name_of(file), row) for row in rows)}


def test_mailbelld_has_only_what_the_page_names(tmp_path: Path) -> None:
    with started(tmp_path) as daemon:
        ring(daemon.endpoint())
        until(lambda: daemon.counted() == {"accepted": 1})
        files = code(daemon.pid)
    assert {"libc", "msgspec/_core"} <= {name_of(file) for file in files}
    assert unlisted("mailbelld", files) == set()


def test_the_sender_and_its_companions_have_only_what_the_page_names(open_path: Path) -> None:
    """With every input, and with a name, for which the resolver is started."""
    toml = settings(
        open_path,
        '[[account]]\nname = "anna"\ntargets = ["localhost:9"]\n',
        listen=f'comsat = ["127.0.0.1:0"]\ncyrus = "{open_path}/cyrus"',
    )
    with ringing(open_path, toml) as sender:
        sender.say("new anna", "seen anna 192.0.2.1")
        sender.until_logged("event=not_allowed account=anna")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as cyrus:
            cyrus.sendto(b"rubbish", f"{open_path}/cyrus")
        until(lambda: sum(sender.inputs().values()) >= 3)
        companions = sender.status()["companions"]
        files = {name: code(pid) for name, pid in companions.items()}
        files["mailbell-sender"] = code(sender.pid)
    assert set(files) == {"mailbell-sender", "mailbell-resolver", "mailbell-cyrus"}
    extra = {name: unlisted("mailbell-sender", some) for name, some in files.items()}
    assert [name for name in extra if extra[name]] == [], extra
    assert "libsqlite3" in {name_of(file) for file in files["mailbell-sender"]}


def test_the_companion_for_a_cluster_has_only_what_the_page_names(
    tmp_path: Path, open_path: Path
) -> None:
    needs_coredis()
    with engine(tmp_path) as server:
        toml = sender_configuration(open_path, store=f'url = "{server.url}"')
        with sending(open_path, toml) as sender:
            until(lambda: not sender.status().cluster.failing)  # type: ignore[union-attr]
            companions = sender.status().companions
            files = code(companions["mailbell-cluster"])
            own = code(sender.pid)
    assert unlisted("mailbell-cluster", files) == set()
    assert "libssl" in {name_of(file) for file in files}
    assert unlisted("mailbell-sender", own) == set(), "the sender needs no library for a cluster"


def test_each_row_is_read() -> None:
    table = [
        line for line in (ROOT / "docs" / "libraries.md").read_text().splitlines() if "| `" in line
    ]
    assert len(table) == len(LISTED)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "ld-linux"),
        ("/usr/lib/ld-linux-aarch64.so.1", "ld-linux"),
        ("/usr/lib/libpython3.11.so.1.0", "libpython3"),
        ("/usr/lib/libseccomp.so.2.5.4", "libseccomp"),
        ("/x/lib-dynload/_queue.cpython-313-x86_64-linux-gnu.so", "_queue"),
        ("/x/site-packages/msgspec/_core.cpython-311-x86_64-linux-gnu.so", "msgspec/_core"),
        ("/usr/lib/python3/dist-packages/seccomp.cpython-313-x86_64-linux-gnu.so", "seccomp"),
        ("/x/site-packages/some/_core.abi3.so", "some/_core"),
        ("/usr/lib/libcrypto.so.3", "libcrypto"),
    ],
)
def test_a_file_has_one_name_in_every_version(path: str, name: str) -> None:
    assert name_of(path) == name


@pytest.mark.parametrize("name", ["libcrypto", "liblzma", "libbz2", "other/_core", "libsqlite3"])
def test_one_more_library_fails(name: str) -> None:
    assert unlisted("mailbelld", {f"/x/site-packages/{name}.so.1"}) != set()
