"""Text for people. The daemon uses it too, so it imports very little."""

from mailbell.core.escape import printable

__all__ = ["one_line"]


def one_line(program: str, message: str) -> str:
    """Return a message as one line that begins with the program's name.

    Args:
        program: the name of the program.
        message: the message. It may quote a peer or a file.

    Returns:
        The line, without its end. Each run of white space, also of line ends, is one blank.
    """
    return f"{program}: {printable(' '.join(message.split()))}"
