"""Puts a changed source in the place of an installed file: for one process, or for its children.

What a test imports comes from a `Finder`. What a program imports that a test starts comes from the
disk: there the changed file is mounted over the installed one, in a mount namespace that only this
test and its children have. So several tests may run at once, and nothing is to be put back.
"""

import ctypes
import os
import zlib
from collections.abc import Sequence
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

__all__ = ["Finder", "mount"]

CLONE_NEWNS: Final = 0x20000
MS_BIND: Final = 0x1000
MS_PRIVATE_AND_BELOW: Final = (1 << 18) | (1 << 14)


def mount(file: str, source: str, scratch: str) -> None:
    """Mount a changed source over an installed file, for this process and its children.

    Args:
        file: where it is installed.
        source: what is seen instead.
        scratch: a folder for the changed file.

    Raises:
        OSError: this process is not root.
    """
    changed = Path(scratch, "changed.py")
    changed.write_text(source)
    # Python keeps the code of a file by its time and size, where others find it too.
    own_time = zlib.crc32(source.encode()) >> 1
    os.utime(changed, (own_time, own_time))
    changed.chmod(0o644)
    libc = ctypes.CDLL(None, use_errno=True)
    _require(libc.unshare(CLONE_NEWNS), "unshare")
    _require(libc.mount(None, b"/", None, MS_PRIVATE_AND_BELOW, None), "mount")
    _require(libc.mount(bytes(changed), file.encode(), None, MS_BIND, None), file)


def _require(result: int, what: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)


class Finder(MetaPathFinder):
    """Is asked first for each module, and answers for one.

    Args:
        module: its dotted name.
        file: where it is installed.
        source: what is imported instead.
    """

    def __init__(self, module: str, file: str, source: str) -> None:
        self._module = module
        self._loader = _Loader(file, source)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002  Python's interface
        target: ModuleType | None = None,  # noqa: ARG002  Python's interface
    ) -> ModuleSpec | None:
        """Return how to import a module; None: this is none of ours.

        Args:
            fullname: of the module.
            path: where its package looks.
            target: the module, if it is imported again.
        """
        if fullname != self._module:
            return None
        file = self._loader.get_filename(fullname)
        where = [file.removesuffix("/__init__.py")] if file.endswith("/__init__.py") else None
        return spec_from_file_location(
            fullname, file, loader=self._loader, submodule_search_locations=where
        )


class _Loader(SourceLoader):
    def __init__(self, file: str, source: str) -> None:
        self._file = file
        self._source = source

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002  Python's interface
        return self._file

    def get_data(self, path: str) -> bytes:  # noqa: ARG002  Python's interface
        return self._source.encode()

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002  Python's interface
        """Without the cache, which has the code of what is installed."""
        return compile(self._source, self._file, "exec", dont_inherit=True)
