"""Chance that can be repeated."""

import random

__all__ = ["chance_of"]


def chance_of(*seeds: object) -> random.Random:
    """Return a source of chance, the same for the same seeds.

    Args:
        seeds: what tells it from others.
    """
    return random.Random(" ".join(map(str, seeds)))  # noqa: S311 - it must be repeatable
