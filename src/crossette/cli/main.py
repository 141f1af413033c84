"""The command group. Commands are imported lazily: the engine's settings alone take half a second."""

from __future__ import annotations

import sys
from importlib import import_module

import click
from rich.markup import escape

from crossette import __version__
from crossette.cli.completion import PROGRAM, completion_options
from crossette.cli.console import err
from crossette.cli.help import Group, write_commands
from crossette.errors import CrossetteError

_SERVE, _KEYS, _CLIENT = "Serve models", "Keys and usage", "Clients"

_COMMANDS = {
    "serve": (_SERVE, "crossette.cli.serve"),
    "pull": (_SERVE, "crossette.cli.models"),
    "models": (_SERVE, "crossette.cli.models"),
    "batch": (_SERVE, "crossette.cli.batch"),
    "keys": (_KEYS, "crossette.cli.keys"),
    "usage": (_KEYS, "crossette.cli.usage"),
    "chat": (_CLIENT, "crossette.cli.clients"),
    "status": (_CLIENT, "crossette.cli.clients"),
    "bench": (_CLIENT, "crossette.cli.clients"),
}
"""The panel and the module of each command, which is an attribute of the same name."""


class Commands(Group):
    """A group that imports its commands lazily."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(_COMMANDS[cmd_name][1]), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found = ((name, self.get_command(ctx, name)) for name in _COMMANDS)
        write_commands(formatter, [(_COMMANDS[name][0], command, name) for name, command in found if command])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the commands before the options."""
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)


@click.command(
    cls=Commands,
    help="An OpenAI-compatible server for open models that you run yourself. Start it with: crossette serve",
    epilog="The options of a command: crossette COMMAND --help. Exit status: 0 done, 1 failed, 2 the command line is"
    " invalid.",
    context_settings={"max_content_width": 120, "help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="crossette %(version)s")
def app() -> None:
    """The command line."""


completion_options(app)


def main() -> None:
    """Run a command. A CrossetteError is printed as a message, without a stack trace."""
    try:
        app(prog_name=PROGRAM)
    except CrossetteError as error:
        err.print(f"[bold red]Error:[/] {escape(str(error))}", soft_wrap=True, markup=True)
        sys.exit(1)
