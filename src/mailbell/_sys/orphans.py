"""Makes this process the new parent of what its descendants leave behind."""

import os
from typing import Final

from mailbell._sys._libc import ANOTHER_SANDBOX, prctl
from mailbell.core.errors import OperatingSystemError

__all__ = ["adopt_orphans"]

PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h


def adopt_orphans() -> None:
    """Become the parent of each descendant that loses its own: PR_SET_CHILD_SUBREAPER(2const).

    This process must then reap them when they end. Its children do not inherit the
    attribute.

    Raises:
        OperatingSystemError: the kernel refused.
    """
    try:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    except OSError as error:
        raise OperatingSystemError(
            f"cannot adopt orphans: {os.strerror(error.errno or 0)}", ANOTHER_SANDBOX
        ) from error
