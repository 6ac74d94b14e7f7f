"""What boots systems for the documents."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from documents.operated import clean, place
from packages.conftest import Boot
from packages.roots import clean_root, require_roots
from packages.system import booted

__all__ = ["boot", "clean", "place"]


@pytest.fixture
def boot() -> Iterator[Boot]:
    """What boots systems for one test."""
    require_roots(stages="`documents`")
    with ExitStack() as stack:
        yield lambda suite, *packages: stack.enter_context(booted(clean_root(suite, *packages)))
