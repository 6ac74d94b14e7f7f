"""What is installed, and where: fixtures of all tests of packages."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
from packages.built import wheel as built_wheel
from packages.debs import debs as built_debs
from packages.roots import clean_root, require_roots
from packages.system import System, booted


class Boot(Protocol):
    """Boots a clean Debian, which lasts as long as the test."""

    def __call__(self, suite: str, *packages: str) -> System:
        """Boot it.

        Args:
            suite: as Debian names it.
            packages: what it has beside a minimal system with systemd.
        """
        ...


@pytest.fixture(scope="session")
def wheel() -> Path:
    """The wheel of this source tree."""
    require_roots()
    return built_wheel()


@pytest.fixture(scope="session")
def debs() -> list[Path]:
    """Debian's packages of this source tree: python3-mailbell, mailbell, mailbell-sender."""
    require_roots()
    return built_debs()


@pytest.fixture
def boot() -> Iterator[Boot]:
    """What boots systems for one test."""
    require_roots()
    with ExitStack() as stack:
        yield lambda suite, *packages: stack.enter_context(booted(clean_root(suite, *packages)))
