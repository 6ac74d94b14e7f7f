"""Text for people. Both programs use it, so it imports nothing."""

__all__ = ["one_line", "printable"]


def printable(text: str) -> str:
    r"""Escape what a terminal could obey or a reader could mistake.

    Args:
        text: anything, from anyone.

    Returns:
        Printable ASCII; everything else, and the backslash, as a Python escape.
    """
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    if " " <= character <= "~" and character != "\\":
        return character
    # Not .encode("unicode_escape"): Python imports that codec at its first use,
    # and the locked daemon can import nothing any more.
    return ascii(character)[1:-1]


def one_line(program: str, message: str) -> str:
    """Form the one line in which a program says what is wrong.

    Args:
        program: who says it.
        message: what; it may quote a peer or a file.

    Returns:
        The line, without its end; white space, line ends too, is one blank.
    """
    return f"{program}: {printable(' '.join(message.split()))}"
