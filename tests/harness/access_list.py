"""Access control lists, as setfacl(1) makes them: acl(5), linux/posix_acl_xattr.h."""

import os
import struct
from pathlib import Path
from typing import Final

__all__ = ["LISTED", "has_access_list", "let_user_in_by_default"]

LISTED: Final = 12345 if os.geteuid() == 0 else os.geteuid()
"""A user for a list. A user namespace of an ordinary user may have no other user."""

_VERSION: Final = 2
_NO_ID: Final = 0xFFFFFFFF
_OWNER, _USER, _GROUP, _MASK, _OTHERS = 1, 2, 4, 16, 32


def let_user_in_by_default(folder: Path, uid: int) -> None:
    """Let a user do all with every file that is made in a folder (setfacl -d -m u:UID:rwx)."""
    entries = [(_OWNER, 7, _NO_ID), (_USER, 7, uid), (_GROUP, 5, _NO_ID), (_MASK, 7, _NO_ID),
               (_OTHERS, 5, _NO_ID)]  # fmt: skip
    data = struct.pack("<I", _VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(folder, "system.posix_acl_default", data)


def has_access_list(path: Path) -> bool:
    """Return whether a file has a list beside its mode."""
    return "system.posix_acl_access" in os.listxattr(path)
