"""A listening socket is found by its path: in the real /proc, and in one made for the test."""

import os
import socket
from pathlib import Path

import pytest

from mailbell._sys import local_listener
from mailbell._sys.local_listener import find_local_holder, inodes, listens
from mailbell._sys.port_holder import Holder


@pytest.mark.parametrize("name", ["s", "a b", "\u00fc", " s ", "x\udcffy"])
def test_it_is_found_with_and_without_its_file(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.fsencode(path))
        assert not listens(path)  # bound, and not listening
        sock.listen()
        assert listens(path)
        os.unlink(os.fsencode(path))
        assert inodes(path) == {str(os.fstat(sock.fileno()).st_ino)}
        assert not listens(path + "2")
        assert not listens(str(tmp_path))
    assert not listens(path)


def test_datagrams_and_connections_do_not_listen(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        assert not listens(path)
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as sock, socket.socket(socket.AF_UNIX) as other:
        sock.bind(path)
        sock.listen()
        other.connect(path)
        accepted, _ = sock.accept()
        sock.close()
        with accepted:
            assert not listens(path)  # this socket has the path too, but it is a connection


HEAD = "Num       RefCount Protocol Flags    Type St Inode Path\n"
ROW = "0000000000000000: 00000002 00000000 00010000 0001 01 4711 /run/s\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    return tmp_path


def test_rows_that_count(proc: Path) -> None:
    (proc / "net" / "unix").write_text(HEAD + ROW + ROW.replace("4711", "4712"))
    assert inodes("/run/s", proc=str(proc)) == {"4711", "4712"}


@pytest.mark.parametrize(
    "row",
    [
        "", "\n", "short row\n", ROW.replace(" /run/s", ""), ROW.replace("00010000", "zz"),
        ROW.replace("00010000", "00000000"), ROW.replace("0001 01", "0002 01"),
        ROW.replace("/run/s", "/run/s/s"), ROW.replace("/run/s", "@/run/s"),
    ],
)  # fmt: skip
def test_rows_that_do_not_count(proc: Path, row: str) -> None:
    (proc / "net" / "unix").write_text(HEAD + row)
    assert not listens("/run/s", proc=str(proc))


def test_no_proc_at_all(tmp_path: Path) -> None:
    assert not listens("/run/s", proc=str(tmp_path))


def test_an_endless_table_is_not_read_to_its_end(
    proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_listener, "_MAX_ROWS", 10)
    (proc / "net" / "unix").write_text(HEAD + ROW.replace("/run/s", "/run/t") * 9 + ROW)
    assert not listens("/run/s", proc=str(proc))


def test_who_listens_at_a_path_is_found(tmp_path: Path) -> None:
    path = str(tmp_path / "a b")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        assert find_local_holder(path) is None  # bound, and not listening
        sock.listen()
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(path)  # a waiting connection has the path too
            assert find_local_holder(path) == Holder(
                os.getpid(), Path("/proc/self/comm").read_text().strip()
            )
        assert find_local_holder(path + " ") is None
    assert find_local_holder(path) is None


def test_no_table_of_local_sockets(tmp_path: Path) -> None:
    assert find_local_holder("/run/x", proc=str(tmp_path)) is None
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "unix").write_text("Num\nshort row\n")
    assert find_local_holder("/run/x", proc=str(tmp_path)) is None
