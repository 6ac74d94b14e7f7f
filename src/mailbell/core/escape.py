"""Makes text from outside safe to show on a terminal, in a log line or in a message.

All code that shows text of a peer, of a file or of another process uses this.
"""

__all__ = ["printable"]


def printable(text: str, also: str = "") -> str:
    r"""Escape everything that a terminal could obey or a reader could misread.

    Args:
        text: any text, from any source.
        also: further ASCII characters to escape, such as the quotation mark that
            encloses the text.

    Returns:
        Printable ASCII. The backslash and all else are escaped as Python escapes them.
    """
    special = "\\" + also
    return "".join(_escaped(character, special) for character in text)


def _escaped(character: str, special: str) -> str:
    if character in special:
        return "\\" + character
    # Printable ASCII stays as it is. Not the codec "unicode_escape": Python imports a codec when
    # it is first used, and in the sandbox nothing can be imported any more.
    return ascii(character)[1:-1]
