"""Text that came from outside, made safe to show: on a terminal, in a log, in a message.

Everyone who shows what a peer, a file or another process said uses this.
"""

__all__ = ["printable"]


def printable(text: str, also: str = "") -> str:
    r"""Escape what a terminal could obey or a reader could mistake.

    Args:
        text: anything, from anyone.
        also: more characters of ASCII to be escaped, such as the quotation mark
            that the text will stand in.

    Returns:
        Printable ASCII; everything else, and the backslash, as an escape of Python's.
    """
    special = "\\" + also
    return "".join(_escaped(character, special) for character in text)


def _escaped(character: str, special: str) -> str:
    if character in special:
        return "\\" + character
    if " " <= character <= "~":
        return character
    # Not the codec "unicode_escape": Python imports a codec when it is first
    # used, and in the sandbox nothing can be imported any more.
    return ascii(character)[1:-1]
