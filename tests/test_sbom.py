"""`make sbom` lists what a wheel brings: what requirements/run.txt locks, and nothing else."""

import json
import re
from email.message import Message
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from scripts import lock, sbom

LOCKED = (Path(__file__).resolve().parents[1] / "requirements" / "run.txt").read_text()

# Packages say their license in other words in other versions, and those that are locked count.
pytestmark = pytest.mark.once


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is locked is installed, also where the tests run with other versions."""
    versions = {name: version for name, (version, _) in sbom.components(LOCKED).items()}
    monkeypatch.setattr(metadata, "version", versions.__getitem__)
    return versions


@pytest.fixture
def document(installed: dict[str, str]) -> dict[str, Any]:
    return sbom.document(LOCKED, "1.2.3", b"a wheel")


def test_the_components_are_the_locked_requirements(
    document: dict[str, Any], installed: dict[str, str]
) -> None:
    listed = {one["name"]: one["version"] for one in document["components"]}
    assert listed == installed
    pins = {Requirement(pin).name for pin in lock.pins(LOCKED)}
    # These are for machines that mailbell does not run on.
    assert pins - set(listed) == {"cffi", "pycparser"}
    for one in document["components"]:
        assert {f"sha256:{found['content']}" for found in one["hashes"]} == (
            lock.pins(LOCKED)[f"{one['name']}=={one['version']}"]
        )


def test_each_component_is_needed_by_another_one(document: dict[str, Any]) -> None:
    graph = {one["ref"]: one["dependsOn"] for one in document["dependencies"]}
    (root,) = graph.keys() - {ref for refs in graph.values() for ref in refs}
    assert root == document["metadata"]["component"]["bom-ref"] == "pkg:pypi/mailbell@1.2.3"
    assert graph.keys() == {root, *(one["bom-ref"] for one in document["components"])}


def test_it_says_of_each_component_which_license_it_has(document: dict[str, Any]) -> None:
    for one in [document["metadata"]["component"], *document["components"]]:
        (said,) = one["licenses"]
        words = said.get("expression") or said["license"]["id"]
        assert set(re.split(r" OR | AND ", words)) <= {
            "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT",
        }  # fmt: skip


def test_it_is_the_same_each_time_and_another_wheel_has_another_number(
    document: dict[str, Any], installed: dict[str, str]
) -> None:
    again = sbom.document(LOCKED, "1.2.3", b"a wheel")
    assert json.dumps(again) == json.dumps(document)
    assert "timestamp" not in document["metadata"]
    other = sbom.document(LOCKED, "1.2.3", b"another wheel")
    assert other["serialNumber"] != document["serialNumber"]


def test_another_version_than_the_locked_one_is_refused(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {**installed, "trio": "0.1"}
    monkeypatch.setattr(metadata, "version", versions.__getitem__)
    with pytest.raises(ValueError, match=r"trio 0\.1 is installed, and not "):
        sbom.document(LOCKED, "1.2.3", b"a wheel")


def test_a_package_without_a_license_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "metadata", lambda _: Message())
    with pytest.raises(ValueError, match="trio does not say its license"):
        sbom.license_of("trio")


@pytest.mark.parametrize(
    ("said", "license_"),
    [
        ({"License-Expression": "MIT OR Apache-2.0"}, {"expression": "MIT OR Apache-2.0"}),
        ({"License": "MIT"}, {"license": {"id": "MIT"}}),
        (
            {
                "License": "Apache 2.0",
                "Classifier": "License :: OSI Approved :: Apache Software License",
            },
            {"license": {"id": "Apache-2.0"}},
        ),
    ],
    ids=["expression", "a word", "a classifier"],
)
def test_licenses_are_said_in_three_ways(
    said: dict[str, str], license_: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    message = Message()
    for key, value in said.items():
        message[key] = value
    monkeypatch.setattr(metadata, "metadata", lambda _: message)
    assert sbom.license_of("trio") == license_
