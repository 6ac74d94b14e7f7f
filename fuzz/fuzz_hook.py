"""Whatever mailbell-hook is called with, it sends one line that the sender reads as it was meant.

An input is a letter, and words between zeros. After `a` they are arguments, and variables with a
`=` behind an empty word. After `h` they are the header of a mail.
"""

import types
from unittest import mock

from mailbell import hook
from mailbell.sender._hook_line import parse_line_untrusted
from mailbell.sender._line_decoder import LineDecoder
from mailbell.sender._requests import Malformed, NewMail, Seen

_MARKS = {b"x-spam-flag": b"yes", b"x-spam-status": b"yes", b"x-virus-status": b"infected"}


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    kind, rest = data[:1], data[1:]
    if kind == b"h":
        assert hook._is_marked(rest) == is_marked(rest)  # noqa: SLF001  the hook has no public names
    else:
        arguments, _, variables = rest.partition(b"\0\0")
        check_arguments(arguments.split(b"\0"), variables.split(b"\0"))


def check_arguments(words: list[bytes], variables: list[bytes]) -> None:
    """Makes the line of a call, and reads it as the sender does."""
    environ = {name: value for name, _, value in (each.partition(b"=") for each in variables)}
    end = hook._separator(words)  # noqa: SLF001  the hook has no public names
    assert end >= len(words) or words[end] == b"--"
    # Of the module only this is read.
    try:
        with mock.patch.object(hook, "posix", types.SimpleNamespace(environ=environ)):
            options = hook._options(words[:end])  # noqa: SLF001  as above
            line = hook._line(options)  # noqa: SLF001  as above
    except hook._NotSentError as error:  # noqa: SLF001  as above
        check_reason(error)
        return
    check_line(line, options)


def check_reason(error: Exception) -> None:
    """Checks that the log can have it as it is."""
    assert str(error).isprintable()


def check_line(line: bytes, options: dict[bytes, bytes]) -> None:
    """Checks that the sender gets one line, which says what the options say."""
    decoder = LineDecoder()
    lines = decoder.feed_untrusted(line)
    assert lines == [line.removesuffix(b"\n")]
    assert not decoder.finish()
    found = parse_line_untrusted(lines[0])
    if b"--login" in options:
        assert isinstance(found, Seen | Malformed)  # an address may be none
        assert line.startswith(b"seen ")
        return
    folder = options.get(b"--folder", b"").decode()
    if folder == folder.strip() and not line.startswith(b"{"):
        assert isinstance(found, NewMail)
        assert found.folder == (folder or None)
        assert options.get(b"", found.account.encode()) == found.account.encode()


def is_marked(mail: bytes) -> bool:
    """Tells in the slow and obvious way whether a filter has marked a mail."""
    fields: list[bytes] = []
    for line in mail.lower().replace(b"\r\n", b"\n").split(b"\n"):
        if not line:
            break
        if line[:1] in {b" ", b"\t"} and fields:
            fields[-1] += b" " + line[1:]
        else:
            fields.append(line)
    pairs = [field.split(b":", 1) for field in fields if b":" in field]
    return any(
        (mark := _MARKS.get(name.rstrip())) is not None and value.lstrip().startswith(mark)
        for name, value in pairs
    )
