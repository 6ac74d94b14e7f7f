"""Reads the shipped presets and the person's agent.toml.

agent.toml names programs that run with all rights of the person. A user who can write the
file has these rights too. So the file is refused if users other than the person and root
can write it, or put another file in its place.
"""

import os
import shlex
import stat
from collections.abc import Callable, Mapping
from importlib import resources
from typing import TypeVar

from mailbell._sys.trusted_path import Way, examine_way
from mailbell.agent.configuration import Job, parse
from mailbell.agent.folders import configuration_folder
from mailbell.agent.preset import Preset
from mailbell.agent.preset import parse as parse_preset
from mailbell.cli._toml_file import in_file
from mailbell.configuration.reader import MAX_BYTES
from mailbell.core.errors import ConfigurationError, MailbellError, PrivilegeError, Problem

__all__ = ["default_path", "load", "presets"]

_T = TypeVar("_T")

_SUFFIX = ".toml"


def presets() -> dict[str, Preset]:
    """Read every shipped preset.

    Returns:
        The presets by name, in the order of their names.

    Raises:
        ConfigurationError: a preset is damaged.
    """
    shipped = resources.files("mailbell") / "agent" / "presets"
    files = (file for file in shipped.iterdir() if file.name.endswith(_SUFFIX))
    found = {}
    for file in sorted(files, key=lambda file: file.name.removesuffix(_SUFFIX)):
        preset = _parsed(parse_preset, file.read_bytes(), str(file))
        found[preset.name] = preset
    return found


def default_path(environ: Mapping[str, str]) -> str:
    """Return the default path of agent.toml.

    Args:
        environ: the environment.

    Raises:
        ConfigurationError: HOME names no home folder.
    """
    return os.path.join(configuration_folder(environ), "mailbell", "agent.toml")


def load(path: str, known: Mapping[str, Preset]) -> tuple[Job, ...]:
    """Read and validate agent.toml.

    Args:
        path: the path of the file.
        known: the presets.

    Returns:
        The jobs. This does not look for their programs.

    Raises:
        ConfigurationError: there is no such file, other users may write it, or it has
            mistakes. The path of each mistake begins with the file's name.
        PrivilegeError: this process may not read the file.
    """
    return _parsed(lambda data: parse(data, known), _read(path), path)


def _parsed(read: Callable[[bytes], _T], data: bytes, name: str) -> _T:
    try:
        return read(data)
    except ConfigurationError as error:
        problems = tuple(in_file(name, problem) for problem in error.problems)
        raise ConfigurationError(error.what, error.remedy, problems) from error


def _read(path: str) -> bytes:
    try:
        # Before it is opened: then no other user can lead the path to another file.
        way = examine_way(path)
        with open(path, "rb") as file:
            _refuse_others(path, os.fstat(file.fileno()), way)
            # One byte more than the reader accepts, so that it can refuse a longer file.
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: no such file", "create it") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> MailbellError:
    if isinstance(error, PermissionError):
        return PrivilegeError(f"{path}: may not be read", "let this user read it")
    return ConfigurationError(f"{path}: {error.strerror}", "name a regular file")


def _refuse_others(path: str, status: os.stat_result, way: Way) -> None:
    """Refuse a file that another user can write or replace, also through a link on the way."""
    weaknesses = way.weaknesses[::-1]
    owners = [(path, status.st_uid)] if status.st_uid not in {os.geteuid(), 0} else []
    owners += [(each.path, each.owner) for each in weaknesses if each.owner is not None]
    owned = [Problem(name, f"it belongs to another user (uid {owner})") for name, owner in owners]
    open_to_others = [path] if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else []
    open_to_others += [each.path for each in weaknesses if each.owner is None]
    problems = owned.copy()
    if not open_to_others and not problems:
        _refuse_newcomer(path, status, way)
        return
    remedies = []
    if open_to_others:
        names = shlex.join(open_to_others)
        problems += [Problem(name, "others may write it") for name in open_to_others]
        remedies.append(f"chmod go-w {names}")
    if owned:
        remedies.append("make a copy of your own, in a folder of your own")
    raise ConfigurationError(
        f"{path} names programs to run, so no other user may change it",
        ", and ".join(remedies),
        tuple(problems),
    )


def _refuse_newcomer(path: str, status: os.stat_result, way: Way) -> None:
    """Refuse a file that was not there when the way to it was looked at.

    A pipe of the shell has no name, and neither has a file that was removed (/dev/fd/3).
    """
    if way.missing is not None and stat.S_ISREG(status.st_mode) and status.st_nlink:
        what = f"{path} was made or moved while it was looked at"
        raise ConfigurationError(what, "see who has made it, and try again")
