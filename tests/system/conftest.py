"""Chooses the tests that run while their daemons are watched."""

import os

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests that cannot be watched (`harness.watch`); the marker gives the reason."""
    way = os.environ.get("MAILBELL_WATCH", "").partition(":")[0]
    left_out = [
        item for item in items if any(way in mark.args for mark in item.iter_markers("unwatched"))
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
