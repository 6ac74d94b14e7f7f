"""Any bytes are our add-on or none, and only what this program packs itself is its own.

The person's mail program has the file. Another program may have written it.
"""

import io
import json
import zipfile

from mailbell.addon.xpi import IDENTITY, build, is_built


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    if not is_built(data):
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files["manifest.json"])
    assert manifest["browser_specific_settings"]["gecko"]["id"] == IDENTITY
    check_again(files, manifest)


def check_again(files: dict[str, bytes], manifest: object) -> None:
    """Builds the add-on of the same files. Of a foreign version or name, that is refused."""
    version = manifest.get("version") if isinstance(manifest, dict) else None
    if not isinstance(version, str):
        return
    try:
        again = build(files, version)
    except ValueError:
        return
    assert is_built(again)
