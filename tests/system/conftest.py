"""Fixtures of the tests with a whole daemon."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that other users can reach too; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory(prefix="mailbell-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def empty_path() -> Iterator[Path]:
    """A directory to mount something on, outside of what may be closed to others."""
    with tempfile.TemporaryDirectory(prefix="mailbell-") as name:
        yield Path(name)
