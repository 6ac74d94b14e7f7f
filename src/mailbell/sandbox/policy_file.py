"""Reads the policies that were installed with mailbell: one TOML file for each program.

The files are in `policy/syscalls/` of the repository. The package installs them.
"""

import os
from typing import Final

from mailbell.core.errors import ConfigurationError, OperatingSystemError
from mailbell.syscalls.policy import Policy
from mailbell.syscalls.policy_toml import MAX_BYTES, parse

__all__ = ["list_programs", "read_policy"]

FOLDER: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "policy", "syscalls")
SUFFIX: Final = ".toml"
REINSTALL: Final = "install mailbell again: this file is part of it"


def list_programs() -> list[str]:
    """Return the names of all programs that have a policy, sorted.

    Raises:
        OperatingSystemError: the folder of the policies cannot be read.
    """
    try:
        names = os.listdir(FOLDER)
    except OSError as error:
        raise OperatingSystemError(f"{FOLDER}: {error.strerror}", REINSTALL) from error
    return sorted(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX))


def read_policy(program: str) -> Policy:
    """Read the policy of a program.

    Args:
        program: its name, one of `list_programs`. The name becomes part of a path.

    Returns:
        The policy. Its placeholders are not filled yet: only the running program
        knows those numbers (`Policy.bind`).

    Raises:
        OperatingSystemError: the file cannot be read.
        ConfigurationError: the file is damaged.
    """
    path = os.path.join(FOLDER, program + SUFFIX)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise OperatingSystemError(f"{path}: {error.strerror}", REINSTALL) from error
    try:
        return parse(data)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error.what}", REINSTALL) from error
