"""Write the files of `policy/` as the packages install them: `python debian/files.py FOLDER`.

`policy/` is their only source. Here mailbell is in /usr, and Debian's folders are not named.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mailbell.installation.service_files import placed

POLICY: Final = Path(__file__).resolve().parent.parent / "policy"
# debian/mailbell.postinst and its like look for this line.
MARK: Final = "# Put here by the Debian package {package}, which removes it.\n"
# Debian's place for what an operator adds: dh_apparmor makes the file, which is empty at first.
LOCAL: Final = (
    "  # What the operator of this machine adds.\n  include if exists <local/{service}>\n}}\n"
)
PACKAGES: Final = {"mailbelld": "mailbell", "mailbell-sender": "mailbell-sender"}


def files() -> Iterator[tuple[str, str]]:
    """Yield the path of each file below the folder, and its text."""
    for unit in sorted((POLICY / "systemd").iterdir()):
        yield f"system/{unit.name}", _placed(unit)
    for service, package in PACKAGES.items():
        profile = POLICY / "apparmor" / service
        rules = _placed(profile).removesuffix("}\n")
        yield f"apparmor.d/{service}", f"{rules}\n{LOCAL.format(service=service)}"
        drop_in = profile.with_name(f"{service}.service.conf")
        yield f"drop-ins/{service}.conf", MARK.format(package=package) + _placed(drop_in)


def _placed(path: Path) -> str:
    return placed(path.read_text(encoding="utf-8"), programs="/usr/bin", code=["/usr"])


def main() -> None:
    """Write the files."""
    for name, text in files():
        path = Path(sys.argv[1], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
