"""Any bytes as the sender's database get one verdict, and with each of them a store can be begun.

After an `r` the input is the report of the process that looks at the file: an intruder who came in
by the file may have written it. Else it is the file. A good one can be read, and written to.
"""

import tempfile
from pathlib import Path

from mailbell.core.networks import Address, Family
from mailbell.logs.journal import Journal
from mailbell.sender import _store_file
from mailbell.sender._address_book import AddressBook
from mailbell.sender._store import Store
from mailbell.sender._store_file import COMPANIONS, Examined, Verdict

_LONGEST = 1 << 16
_NOW, _WALL = 1000.0, 1_800_000_000.0
_LOGIN = Address(Family.IPV4, 0xC633_6401)
_REPORTED = {*Verdict, "unsafe", "InternalError", "OperatingSystemError", "PrivilegeError"}


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    if data[:1] == b"r":
        check_report(data[1:])
    elif len(data) <= _LONGEST:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "state.db")
            path.write_bytes(data)
            check_file(path)


def check_report(data: bytes) -> None:
    """Reads what the child says, and writes it again."""
    words = _store_file._read_report(data)  # noqa: SLF001  the public function starts a child
    assert words[0] in _REPORTED
    again = _store_file._read_report(_store_file._report_of(*words))  # noqa: SLF001  as above
    assert again[0] == words[0]


def check_file(path: Path) -> None:
    """Judges a file as the child does, but in this process. Then begins a store with it."""
    empty = not path.stat().st_size
    try:
        verdict, detail, _ = _store_file._judge(str(path))  # noqa: SLF001  as above
    except MemoryError:  # the child says that it is corrupt
        return
    finally:
        while _store_file._held:  # noqa: SLF001  the child ends with them
            _store_file._held.pop().close()  # noqa: SLF001  as above
    assert verdict in set(Verdict)
    assert (verdict == Verdict.ABSENT) == empty
    assert detail or verdict in {Verdict.ABSENT, Verdict.GOOD}
    check_store(Examined(str(path), Verdict(verdict), detail))


def check_store(examined: Examined) -> None:
    """Begins a run of the sender with it."""
    lines: list[str] = []
    journal = Journal(lines.append, lambda: _NOW)
    book = AddressBook(1800.0, 4, 100, secret="of the target")  # noqa: S106  it is no password
    store = Store.open(
        examined, book=book, journal=journal, steady=lambda: _NOW, wall=lambda: _WALL
    )
    status = store.status()
    assert status.working != (examined.verdict in {Verdict.LOCKED, Verdict.UNUSABLE})
    store.load()
    assert len(book) <= 100
    book.see("anna", _LOGIN, _NOW)
    store.note("anna", _LOGIN)
    list(store.names())
    store.close(["anna"])
    assert all(line.isprintable() for line in lines)
    moved = status.moved_aside
    assert (moved is not None) == (
        examined.verdict in {Verdict.CORRUPT, Verdict.FOREIGN, Verdict.NEWER}
    )
    assert moved is None or not moved.endswith(COMPANIONS)
