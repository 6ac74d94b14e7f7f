"""A group of commands, each in a module of its own that is imported when it is called."""

import difflib
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

__all__ = ["LazyGroup"]


class LazyGroup(click.Group):
    """A group whose commands are modules of this package.

    Args:
        commands: their names, in the order of the help text.
        modules: begins the name of each module.
        **more: as for `click.Group`.
    """

    def __init__(self, *, commands: Sequence[str], modules: str = "", **more: Any) -> None:
        super().__init__(**more)
        self._names = tuple(commands)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """Return the commands in the order of the help text."""
        return list(self._names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's signature)
        """Import one command."""
        if cmd_name not in self._names:
            return None
        module = import_module(f"mailbell.cli.{self._modules}{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for a wrong name, suggest the nearest one."""
        if args and args[0] not in self._names and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self._names, n=1)
            perhaps = f"; perhaps '{near[0]}'" if near else ""
            ctx.fail(f"No such command '{args[0]}'{perhaps}")
        return super().resolve_command(ctx, args)
