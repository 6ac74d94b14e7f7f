"""Reads `/proc/self/stat`, in which the kernel describes this process in numbers."""

__all__ = ["own_stat"]

_FIRST_AFTER_THE_NAME = 3


def own_stat() -> dict[int, int]:
    """Return what the kernel says about this process.

    Returns:
        The numbers by their place in proc_pid_stat(5), from 4 on: "(4) ppid".

    Raises:
        OSError: /proc is not mounted.
        ValueError: this is not what the kernel writes.
    """
    with open("/proc/self/stat", "rb") as file:
        text = file.read()
    # The name of the program may contain spaces and brackets.
    _, *numbers = text.rpartition(b")")[2].split()
    return dict(enumerate(map(int, numbers), _FIRST_AFTER_THE_NAME + 1))
