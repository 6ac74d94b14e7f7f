"""Text for people. Both programs use it, so it imports next to nothing."""

from mailbell.core.escape import printable

__all__ = ["one_line"]


def one_line(program: str, message: str) -> str:
    """Form the one line in which a program says what is wrong.

    Args:
        program: who says it.
        message: what; it may quote a peer or a file.

    Returns:
        The line, without its end; white space, line ends too, is one blank.
    """
    return f"{program}: {printable(' '.join(message.split()))}"
