"""Writes a file so that readers find either all of it or what was there before."""

import fcntl
import os
import tempfile
from contextlib import suppress

__all__ = ["is_being_written", "replace_file"]


def replace_file(path: str, data: bytes, mode: int) -> None:
    """Write a file in the place of what is there, all of it or nothing.

    The new file gets its name when its bytes are on the disk. A link at the path is replaced,
    and what it leads to is not touched. Until then the new file is beside the path, its name
    begins with that of the path between two dots, and `is_being_written` tells it from one that a
    killed process has left.

    Args:
        path: the path of the file. Its folder exists, and no other user can write to it.
        data: all that the file is to contain.
        mode: its permissions, whatever the umask is.

    Raises:
        OSError: the file cannot be written. It names the path. Nothing has changed.
    """
    folder, name = os.path.split(path)
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    try:
        with open(descriptor, "wb") as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException as error:
        with suppress(FileNotFoundError):  # somebody else has removed it
            os.unlink(temporary)
        if isinstance(error, OSError):
            # The error of a full disk or of a limit has no file name.
            raise OSError(error.errno, error.strerror, path) from error
        raise


def is_being_written(temporary: str) -> bool:
    """Tell whether a process is about to put a file in its place.

    Args:
        temporary: the path of a new file that has not got its name yet.

    Returns:
        Whether a process still holds it, or has just given it its name. False also if this user
        may not read it.

    Raises:
        OSError: it cannot be looked at.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
