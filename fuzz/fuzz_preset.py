"""Any bytes give a Preset that runs as it says, or a ConfigurationError with printable problems.

A preset may come from any person. Each of its words stays as it is, but for `{account}`.
"""

from fuzz.fuzz_config import check_problems
from mailbell.agent.preset import ACCOUNT, Preset, parse, similar
from mailbell.core.errors import ConfigurationError


def check(data: bytes) -> None:
    """Raises AssertionError when an input breaks the invariant."""
    try:
        preset = parse(data)
    except ConfigurationError as error:
        check_problems(error)
    else:
        check_preset(preset)


def check_preset(preset: Preset) -> None:
    """Checks what the agent relies on."""
    words = (*preset.command, *preset.args, *preset.then)
    assert all(word.isascii() and (word.isprintable() or not word) for word in words)
    assert (preset.kind == "none") == (not preset.command)
    assert preset.kind != "none" or not words
    assert not preset.command or preset.command[0] in preset.needs
    assert preset.name in similar(preset.name, {preset.name: preset})
    account = [word for word in words if ACCOUNT in word]
    assert all("{account}" in word for word in account)
