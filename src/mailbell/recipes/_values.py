"""What the values of a recipe may be."""

from typing import Annotated, Final

from msgspec import Meta

from mailbell.configuration.values import array

__all__ = [
    "LINE",
    "MODE",
    "NAME",
    "ORDER",
    "OWNER",
    "PACKAGE",
    "PACKAGES",
    "PATH",
    "SERVER",
    "TELLS",
    "TEXT",
    "USER",
    "WORD",
    "WORDS",
    "Packages",
    "Words",
    "maybe",
    "sentence",
]

SERVER: Final = Meta(
    pattern=r"\A[a-z][a-z0-9.-]{0,31}\Z",
    description='the file\'s name: 1 to 32 small letters, digits, "-" and ".", such as "postfix"',
)
NAME: Final = Meta(
    pattern=r"\A[a-z][a-z0-9-]{0,31}\Z",
    description='a name of 1 to 32 small letters, digits and "-", such as "forward"',
)
USER: Final = Meta(
    pattern=r"\A[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z",
    description='the name of a user, such as "root"',
)
PACKAGE: Final = Meta(
    pattern=r"\A[a-z0-9][a-z0-9.+-]{0,63}\Z",
    description='the name of a package, such as "lua-socket"',
)
WORD: Final = Meta(
    pattern=r"\A[ -~]{0,1000}\Z",
    description='a word of at most 1000 printable ASCII characters, such as "-e"',
)
LINE: Final = Meta(
    pattern=r"\A[\t -~]{0,1000}\Z",
    description="at most 1000 printable ASCII characters on one line",
)
TEXT: Final = Meta(
    pattern=r"\A[\t\n -~]{0,8000}\Z",
    description="at most 8000 printable ASCII characters in lines",
)
PATH: Final = Meta(
    pattern=r"\A((/|@home@/|@files@/)[!-~]{1,200})?\Z",
    description='an absolute path, such as "/etc/aliases" or "@home@/.forward"',
)
MODE: Final = Meta(pattern=r"\A(0[0-7]{3})?\Z", description='permissions, such as "0644"')
OWNER: Final = Meta(
    pattern=r"\A(@user@|[A-Za-z_][A-Za-z0-9_.-]{0,31})?\Z",
    description='the name of a user, such as "root" or "@user@"',
)
TELLS: Final = Meta(description='"mail", "logins" or "both"')
ORDER: Final = Meta(description='"after", "before" or "race"')


def sentence(least: int, most: int) -> Meta:
    """Return what a sentence is.

    Args:
        least: how many characters it has at least.
        most: how many at most.
    """
    return Meta(
        pattern=rf"\A([ -~]{{{least},{most}}})\Z",
        description=f"{least} to {most} printable ASCII characters on one line",
    )


def maybe(most: int) -> Meta:
    """Return what a line is that may be empty.

    Args:
        most: how many characters it has at most.
    """
    return Meta(
        pattern=rf"\A[ -~]{{0,{most}}}\Z",
        description=f"at most {most} printable ASCII characters on one line",
    )


Words = tuple[Annotated[str, WORD], ...]
WORDS: Final = array(100, '["postconf", "-h", "home_mailbox"]')
Packages = tuple[Annotated[str, PACKAGE], ...]
PACKAGES: Final = array(16, '["lua-socket"]')
