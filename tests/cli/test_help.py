"""`--help` of every command: what leads, what is in which panel, and what is never in it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner

from crossette import config
from crossette.accounts.access import Limits
from crossette.cli import main as cli
from crossette.cli.help import OTHER, PanelOption
from crossette.server import settings
from crossette.settings import Panel


def contexts(context: click.Context) -> Iterator[click.Context]:
    """The context of a command, and of all commands below it."""
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command is not None
            yield from contexts(click.Context(command, parent=context, info_name=name))


COMMANDS = {context.command_path: context for context in contexts(click.Context(cli.app, info_name="crossette"))}
every_command = pytest.mark.parametrize("path", COMMANDS)


def help_of(path: str, columns: int = 80) -> str:
    ended = CliRunner().invoke(cli.app, [*path.split()[1:], "--help"], terminal_width=columns)
    assert ended.exit_code == 0, ended.output
    return ended.output


@dataclass(frozen=True)
class Shown:
    """A panel of a help text: its title, and the first words of its lines."""

    title: str
    names: list[str]


def panels(text: str) -> list[Shown]:
    """All panels of a help text, in order."""
    found: list[Shown] = []
    for line in text.splitlines():
        if re.fullmatch(r"\w[\w ]*:", line):
            found.append(Shown(line.removesuffix(":"), []))
        elif found and (name := re.match(r"  (-\S*|\w+)", line)):
            found[-1].names.append(name[1])
    return found


def test_the_command_line_leads_with_serve() -> None:
    text = help_of("crossette")

    shown = panels(text)
    assert (shown[0].names[0], shown[-1].title) == ("serve", OTHER)
    assert [name for panel in shown[:-1] for name in panel.names] == list(cli.app.list_commands(COMMANDS["crossette"]))
    assert text.index("serve") < text.index("--help")


def test_every_setting_is_in_the_panel_that_the_settings_declare() -> None:
    shown = panels(help_of("crossette serve"))

    assert [panel.title for panel in shown] == [OTHER, *Panel]
    table = config.table(settings.SECTIONS, settings.PANELS)
    expected = {setting.flag: str(setting.panel) for setting in table.values()}
    assert {name: panel.title for panel in shown[1:] for name in panel.names if name[:1] == "-"} == expected


def test_every_section_has_a_panel() -> None:
    assert settings.PANELS.keys() == settings.SECTIONS.keys()


def test_a_setting_may_be_in_another_panel_than_its_section() -> None:
    table = config.table(settings.SECTIONS, settings.PANELS)

    assert (table["port"].section, table["port"].panel) == ("server", Panel.NETWORK)
    assert (table["log_level"].section, table["log_level"].panel) == ("server", Panel.LOGS)


def test_an_option_without_a_panel_is_in_the_first_one() -> None:
    assert PanelOption(["--plain"]).panel == OTHER


@every_command
def test_help_has_no_technical_bounds(path: str) -> None:
    text = help_of(path, columns=400)

    assert not re.findall(r"[<>]=?\s*x|x\s*[<>]|\[x[<>]|<=|>=|\d{9,}|inf\b", text)


@every_command
def test_every_option_and_command_is_explained(path: str) -> None:
    context = COMMANDS[path]

    assert context.command.help
    for param in context.command.get_params(context):
        if isinstance(param, click.Option):
            assert param.help, param.name
            assert param.help[:1].isupper(), param.help


@every_command
def test_values_have_placeholders_in_capitals_or_are_listed(path: str) -> None:
    context = COMMANDS[path]
    for param in context.command.get_params(context):
        if isinstance(param, click.Option) and not param.is_flag:
            shown = param.make_metavar(context)
            assert re.fullmatch(r"\[?[A-Z][A-Z=@\[\]/]*(\|none|\|never)?|\[?[a-z0-9/]+(\|[a-z0-9/]+)+\]?", shown), shown


@pytest.mark.parametrize(
    "path", [path for path, context in COMMANDS.items() if isinstance(context.command, click.Group)]
)
def test_a_list_of_commands_has_whole_sentences(path: str) -> None:
    assert "..." not in help_of(path).partition("\n")[2]


def test_every_limit_of_a_key_is_explained() -> None:
    text = help_of("crossette keys create")

    assert not [field for field in dataclasses.fields(Limits) if f"--{field.name.replace('_', '-')} " not in text]


# --- errors ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["srve"], "There is no command 'srve'. Did you mean serve?"),
        (["keys", "lst"], "There is no command 'lst'. Did you mean list?"),
        (["models", "rmm"], "There is no command 'rmm'. Did you mean rm?"),
        (["xyzzy"], "There is no command 'xyzzy'. Commands: serve, pull,"),
        (["serve", "--prt", "1"], "--port"),
        (["keys", "create", "a", "--expire", "1d"], "Did you mean '--expires'?"),
        (["serve", "--port", "many"], "--port cannot be 'many'. It must be an integer, at least 0 and at most 65535."),
        (["serve", "--fireworks-stop", "x"], "It must be one of include, omit."),
        (["bench", "--shape", "x"], "'x' is not one of 'short', 'shared', 'long'."),
        (["bench", "-n", "0"], "0 is not at least 1."),
        (["bench", "-c", "x"], "-c"),
        (["usage", "--json", "--csv"], "Give one of them"),
        (["usage", "--since", "x"], "--since: 'x' is not a time"),
        (["usage", "--by", "year"], "--by must be a list of key, model and day, not 'year'"),
        (["keys", "create", "a", "--expires", "soon"], "--expires: 'soon' is not a time"),
        (["keys", "rotate", "a", "--overlap", "soon"], "--overlap: 'soon' is not a duration"),
        (["keys", "create"], "Missing argument 'NAME'"),
    ],
)
def test_an_invalid_command_line_exits_with_2_and_names_what_is_near(arguments: list[str], message: str) -> None:
    ended = CliRunner().invoke(cli.app, arguments)

    assert (ended.exit_code, ended.stdout) == (2, "")
    assert message in ended.stderr
    assert "--help' for help" in ended.stderr
