"""For all topologies: the wire that their hosts are on."""

from collections.abc import Iterator

import pytest
from end_to_end.wire import Wire, wire
from packages.roots import require_roots


@pytest.fixture(scope="module")
def street() -> Iterator[Wire]:
    """A wire without hosts."""
    require_roots("mail software", "`e2e`")
    with wire() as made:
        yield made
