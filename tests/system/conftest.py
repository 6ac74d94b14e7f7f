"""Chooses the tests that run while their daemons are watched."""

import os

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests that cannot be watched (`harness.watch`); the marker gives the reason."""
    watched = "MAILBELL_WATCH" in os.environ
    left_out = [item for item in items if watched and item.get_closest_marker("unwatched")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
