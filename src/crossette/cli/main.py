"""The command group. Commands are imported lazily: the engine's settings alone take half a second."""

from __future__ import annotations

import sys
from importlib import import_module

import click
from rich.markup import escape

from crossette import __version__
from crossette.cli.console import err
from crossette.errors import CrossetteError

_COMMANDS = {
    "serve": ("crossette.cli.serve", "serve"),
    "pull": ("crossette.cli.models", "pull"),
    "models": ("crossette.cli.models", "models"),
    "keys": ("crossette.cli.keys", "keys"),
    "usage": ("crossette.cli.usage", "usage"),
    "chat": ("crossette.cli.clients", "chat"),
    "status": ("crossette.cli.clients", "status"),
    "bench": ("crossette.cli.clients", "bench"),
}


class Commands(click.Group):
    """A group that imports its commands lazily."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[name]
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.command(
    cls=Commands,
    help="An OpenAI-compatible server for open models you run yourself.",
    context_settings={"max_content_width": 120, "help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="crossette %(version)s")
def app() -> None:
    """The command line."""


def main() -> None:
    """Run a command. A CrossetteError is printed as a message, without a stack trace."""
    try:
        app(prog_name="crossette")
    except CrossetteError as error:
        err.print(f"[bold red]Error:[/] {escape(str(error))}", soft_wrap=True, markup=True)
        sys.exit(1)
