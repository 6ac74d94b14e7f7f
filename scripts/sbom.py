"""Write what an installed wheel of mailbell consists of, as CycloneDX 1.6 (JSON).

    python -m scripts.sbom [FOLDER]

`make sbom` runs it. The file is FOLDER/mailbell-VERSION.cdx.json, and FOLDER is dist/ unless
another one is named. Versions and hashes are those of requirements/run.txt. Licenses, and which
package needs which, are what the packages say that are installed here. The wheel that it describes
is the one of `make dist`. Two runs write the same bytes: the file has no time, and its serial
number comes from its content. It is written only if it is valid by the schema of CycloneDX.
"""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import dist, lock

ROOT: Final = Path(__file__).resolve().parent.parent
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What all supported machines have in common. What only other machines need is left out.
MACHINE: Final = {
    "os_name": "posix",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "extra": "",
}
_EXPRESSION: Final = re.compile(r"[A-Za-z0-9.-]+( (OR|AND|WITH) [A-Za-z0-9.-]+)*")
# What packages say that are older than PEP 639.
_CLASSIFIERS: Final = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: ISC License (ISCL)": "ISC",
    "License :: OSI Approved :: MIT License": "MIT",
}


def components(text: str) -> dict[str, tuple[str, list[str]]]:
    """Read what a wheel brings.

    Args:
        text: of requirements/run.txt.

    Returns:
        For each package that Linux needs, its version and the hashes of its files.
    """
    found = {}
    for pin, hashes in lock.pins(text).items():
        requirement = Requirement(pin)
        if requirement.marker is None or requirement.marker.evaluate(MACHINE):
            version = str(requirement.specifier).removeprefix("==")
            found[canonicalize_name(requirement.name)] = (version, sorted(hashes))
    return dict(sorted(found.items()))


def license_of(name: str) -> dict[str, Any]:
    """Return what an installed package says of its license, as CycloneDX has it.

    Args:
        name: of the package.

    Raises:
        ValueError: it says nothing that is understood.
    """
    said = metadata.metadata(name)
    texts = [said[key] for key in ("License-Expression", "License") if key in said]
    for text in texts:
        if _EXPRESSION.fullmatch(text):
            return {"expression": text} if " " in text else {"license": {"id": text}}
    for classifier in said.get_all("Classifier") or []:
        if classifier in _CLASSIFIERS:
            return {"license": {"id": _CLASSIFIERS[classifier]}}
    raise ValueError(f"{name} does not say its license")


def needs(requirements: list[str], known: dict[str, Any]) -> list[str]:
    """Return those packages of the list that some requirements ask for.

    Args:
        requirements: as a package says them.
        known: the packages of the list.
    """
    asked = [Requirement(text) for text in requirements]
    wanted = [one for one in asked if one.marker is None or one.marker.evaluate(MACHINE)]
    return sorted({canonicalize_name(one.name) for one in wanted} & set(known))


def address(name: str, version: str) -> str:
    """Return the package URL (purl) of a version."""
    return f"pkg:pypi/{name}@{version}"


def document(text: str, version: str, wheel: bytes) -> dict[str, Any]:
    """Make the list of components.

    Args:
        text: of requirements/run.txt.
        version: of mailbell.
        wheel: the wheel that is described.

    Returns:
        The document, as JSON has it.

    Raises:
        ValueError: an installed package is not the version of the list, or is not as expected.
    """
    known = components(text)
    for name, (pinned, _) in known.items():
        if metadata.version(name) != pinned:
            raise ValueError(f"{name} {metadata.version(name)} is installed, and not {pinned}")
    root = {
        "type": "application",
        "bom-ref": address("mailbell", version),
        "name": "mailbell",
        "version": version,
        "description": PROJECT["description"],
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(wheel).hexdigest()}],
        "licenses": [{"license": {"id": PROJECT["license"]}}],
        "purl": address("mailbell", version),
    }
    listed = [
        {
            "type": "library",
            "bom-ref": address(name, pinned),
            "name": name,
            "version": pinned,
            "scope": "required",
            "hashes": [
                {"alg": "SHA-256", "content": one.removeprefix("sha256:")} for one in hashes
            ],
            "licenses": [license_of(name)],
            "purl": address(name, pinned),
        }
        for name, (pinned, hashes) in known.items()
    ]
    graph = {address("mailbell", version): needs(PROJECT["dependencies"], known)} | {
        address(name, pinned): needs(metadata.requires(name) or [], known)
        for name, (pinned, _) in known.items()
    }
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": root},
        "components": listed,
        "dependencies": [
            {"ref": ref, "dependsOn": [address(name, known[name][0]) for name in names]}
            for ref, names in sorted(graph.items())
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return {**content, "serialNumber": f"urn:uuid:{serial}"}


def require_valid(text: str) -> None:
    """Ask the schema of CycloneDX.

    Args:
        text: the document.

    Raises:
        ValueError: it is not valid.
    """
    # `make sbom` installs it. The tests, which make documents too, do without.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        raise ValueError(f"it is no CycloneDX: {problem}")


def main() -> int:
    """Write the file and print its SHA-256; return the exit code."""
    if len(sys.argv) > 2 or sys.argv[1:2] == ["--help"]:
        print("usage: sbom.py [FOLDER]", file=sys.stderr)
        return 64
    folder = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "dist"
    try:
        with tempfile.TemporaryDirectory() as place:
            wheel, _ = dist.build(ROOT, Path(place))
            version = wheel.name.split("-")[1]
            made = document((lock.FOLDER / "run.txt").read_text(), version, wheel.read_bytes())
        text = json.dumps(made, indent=2, sort_keys=True) + "\n"
        require_valid(text)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"mailbell-{version}.cdx.json"
        path.write_text(text)
    except (OSError, ValueError, metadata.PackageNotFoundError) as error:
        print(f"sbom: {error}", file=sys.stderr)
        return 70
    except subprocess.CalledProcessError as error:
        print(f"sbom: {error}", file=sys.stderr)
        return 69
    print(f"{hashlib.sha256(text.encode()).hexdigest()}  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
