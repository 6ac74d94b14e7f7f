"""Presets and recipes that are sound but for a part.

Their keys depend on each other. So most files that are made of the keys alone are refused.
"""

from typing import Final

from fuzz.grammar import Chars, Expression, Many, mostly

__all__ = ["PRESET", "RECIPE"]

PRESET: Final[dict[str, Expression]] = {
    "start": mostly("sound", "tables", ("sound", "tables"), ("noise", "sound")),
    "sound": (
        b'name = "mbsync"\ntitle = "mbsync"\nwhat = "It fetches all mail."\n',
        b'verified = "not tried"\n',
        ["run", b'kind = "none"\nsetup = "Set it to a second."\n'],
        Many("key", 0, 3),
    ),
    "run": (
        b'kind = "',
        [b"run", b"poke"],
        b'"\nneeds = ["mbsync"]\ncommand = ["mbsync"',
        Many((b", ", "word"), 0, 3),
        b"]\n",
    ),
    "word": [
        b'"-q"', b'"{account}"', b'"{acount}"', b'"a{account}b"', b'"sava{sv}"', b'"a{so}"',
        b'"{e2fda1a4-762b-4020-b5ad-a41df1933103}"',
        (b'"', Chars(b"{}aCsvo(){account", 1, 9), b'"'),
    ],
    "key": [
        b'lock = "show"\nonly_rung = true\n',
        b"ok_codes = [0, 1]\nbusy_codes = [9]\n",
        b'words = "channels"\nwords_needed = true\n',
        (b"args = [", "word", b']\nwords = "channels"\n'),
        (b'then = ["mbsync", ', "word", b"]\n"),
        b'helper = ["~/.x/*/y.so"]\n',
        b'traps = ["It has no lock of its own."]\n',
        (b'setup = """\n', Chars(b"abc \n", 0, 90), b'"""\n'),
    ],
}  # fmt: skip
"""Rules beside those of the keys."""

RECIPE: Final[dict[str, Expression]] = {
    "start": mostly("sound", "tables", ("sound", "noise"), ("noise", "sound")),
    "sound": (
        b'name = "postfix"\ntitle = "Postfix"\nsummary = "It runs the hook."\n',
        [b'verified = "not tried here"\nreason = "None."\n', b'verified = "Debian 12"\n'],
        Many("way", 1, 2),
    ),
    "way": (
        b'[[way]]\nname = "',
        Chars(b"abcdefgh", 3, 6),
        b'"\ntitle = "A way"\nsuits = "all users"\n',
        [b'tells = "logins"\n', (b'tells = "mail"\norder = "', "order", b'"\n')],
        b'fails = "Nothing."\nhangs = "It waits."\n',
        "lines",
        Many("step", 0, 2),
        Many("check", 0, 2),
    ),
    "order": [b"after", b"before", b"race"],
    "lines": (b"text = '''\n", Many(("words", b"\n"), 1, 5), b"'''\n"),
    "words": [
        b"A paragraph of words",
        b"    @hook@ --account=@user@",
        b"@home@/x",
        b"",
        Chars(bytes(range(0x20, 0x27)) + b"@abcz", 0, 30),
    ],
    "step": [
        (
            b'[[way.step]]\nwhy = "It is so."\nfile = "',
            [b"/etc/aliases", b"@home@/.forward"],
            b'"\n',
            "lines",
            Many("of_file", 0, 2),
        ),
        (
            b'[[way.step]]\nwhy = "It is so."\ncommand = ["postconf", "-e", "x = @hook@"]\n',
            [
                b"",
                b'shows = ["postconf"]\nexpect = "x = "\n',
                b'undo = ["postconf", "-X"]\n',
                b'replaces = ["postconf", "-h"]\n',
            ],
        ),
    ],
    "of_file": [
        b'owner = "@user@"\n', b'mode = "0644"\n', b'below = "# end"\n', b'without = "x = 1"\n',
    ],
    "check": (
        b'[[way.check]]\ncommand = ["postconf"]\nsay = "It is set elsewhere."\n',
        [b"expect = '", b"forbid = '"],
        "pattern",
        b"'\n",
    ),
    "pattern": [
        b"^x = 1$", b"@hook@", b"(a|b)c", b"[a-", b"(?i)x", b"a{99999999999}",
        (Many(b"((((((((((", 1, 40), b"a", Many(b"))))))))))", 1, 40)),
        Chars(b"()[]ab+?|^$\\{}1", 1, 9),
    ],
}  # fmt: skip
"""The same of a recipe."""
