"""Builds the add-on's file: a ZIP archive whose bytes follow from its contents alone.

The archive has no time, no user, no compression and no order but that of the names. So two
machines that build the same version have the same bytes, whatever their clock, umask, locale
and version of Python are. The layout is that of APPNOTE.TXT, "General Format of a .ZIP file".
"""

import json
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Final

__all__ = ["IDENTITY", "build", "is_built", "is_packed"]

IDENTITY: Final = "thunderbird@mailbell.org"
"""The add-on's id, which Thunderbird expects as the name of its file."""

_MANIFEST: Final = "manifest.json"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*", re.ASCII)
_PACKED: Final = (".js", ".json", ".html", ".css", ".svg")
_NOT_PACKED: Final = (".md",)
# A manifest accepts one to four numbers. What follows them in a version of Python is left out.
_VERSION: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}", re.ASCII)
# More than that, and the numbers of the archive would need the fields of ZIP64.
_MOST_BYTES: Final = 1 << 24
_MOST_FILES: Final = 1000

# 1 January 1980 at midnight is the first time that the format has.
_DATE: Final = 1 << 5 | 1
_TIME: Final = 0
_NEEDS: Final = 10  # version 1.0 of the format: stored files
_MADE_BY: Final = 3 << 8 | 20  # Unix, so that the mode means something
_MODE: Final = 0o100644 << 16

_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")


def is_packed(name: str) -> bool:
    """Tell whether a file of the sources is part of the add-on.

    Args:
        name: its path below the folder of the sources, with "/".

    Returns:
        False for a hidden file and for a text that only people read.

    Raises:
        ValueError: the name is none that an add-on may have, or its suffix is not known. Then
            nobody has decided whether the file belongs to the add-on.
    """
    if name.rpartition("/")[2].startswith(".") or name.endswith(_NOT_PACKED):
        return False
    if not _NAME.fullmatch(name) or not name.endswith(_PACKED):
        raise ValueError(f"{name!r} is no file of an add-on")
    return True


def build(files: Mapping[str, bytes], version: str) -> bytes:
    """Build the add-on.

    Args:
        files: the contents of the sources by their paths below their folder, as `is_packed`
            permits them. One of them is manifest.json.
        version: of mailbell; the manifest of the add-on gets it.

    Returns:
        The bytes of the .xpi.

    Raises:
        ValueError: the manifest is missing or is no JSON object, the version has no number, a
            name is not permitted, or there is too much.
    """
    packed = {name: data for name, data in files.items() if is_packed(name)}
    if len(packed) > _MOST_FILES or sum(map(len, packed.values())) > _MOST_BYTES:
        raise ValueError("too much for an add-on")
    packed[_MANIFEST] = _manifest(packed.get(_MANIFEST, b""), version)
    return _archive(packed)


def is_built(data: bytes) -> bool:
    """Tell whether a file is the add-on of some version, as `build` writes it.

    Args:
        data: the bytes of the file, from anybody.

    Returns:
        False also for an archive with the same contents that another program has packed.
    """
    files = {}
    place = 0
    while data.startswith(b"PK\3\4", place) and len(data) - place >= _LOCAL.size:
        *_, length, _, long, _ = _LOCAL.unpack_from(data, place)
        begin = place + _LOCAL.size + long
        place = begin + length
        files[data[begin - long : begin]] = data[begin:place]
    try:
        manifest = json.loads(files.get(_MANIFEST.encode(), b""))
        identity = manifest["browser_specific_settings"]["gecko"]["id"]
        named = {name.decode("ascii"): content for name, content in files.items()}
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    if identity != IDENTITY or len(named) > _MOST_FILES:
        return False
    # Whatever its fields say, it is ours only if the same files give the same bytes.
    return data == _archive(named)


def _manifest(text: bytes, version: str) -> bytes:
    manifest = json.loads(text)  # its error is a ValueError
    numbers = _VERSION.match(version)
    if not isinstance(manifest, dict) or not numbers:
        raise ValueError(f"no manifest with the version {version!r}")
    manifest["version"] = numbers[0]
    return json.dumps(manifest, indent=2, ensure_ascii=True).encode() + b"\n"


def _archive(files: Mapping[str, bytes]) -> bytes:
    bodies, entries = bytearray(), bytearray()
    for name, data in sorted(files.items()):
        what = (_TIME, _DATE, zlib.crc32(data), len(data), len(data), len(name), 0)
        place = len(bodies)
        bodies += _LOCAL.pack(b"PK\3\4", _NEEDS, 0, 0, *what) + name.encode() + data
        entries += _CENTRAL.pack(
            b"PK\1\2", _MADE_BY, _NEEDS, 0, 0, *what, 0, 0, 0, _MODE, place
        ) + name.encode()  # fmt: skip
    end = _END.pack(b"PK\5\6", 0, 0, len(files), len(files), len(entries), len(bodies), 0)
    return bytes(bodies + entries) + end
