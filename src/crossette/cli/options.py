"""Flags of settings, and flags that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from crossette import config
from crossette.cli.help import OTHER, PanelOption
from crossette.client.remote import KEY_VARIABLE, ServerURL
from crossette.config import Setting
from crossette.errors import ConfigError, InvalidRequest
from crossette.settings import Panel

F = TypeVar("F", bound=Callable[..., Any])

config_file = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read settings from this TOML file.  [env: CROSSETTE_CONFIG]",
)
api_key = click.option(
    "--api-key", envvar=KEY_VARIABLE, show_envvar=True, help="The key to send to the server.", metavar="KEY"
)
admin_key = click.option(
    "--api-key",
    envvar=KEY_VARIABLE,
    metavar="KEY",
    help=f"An admin key. The server requires one once keys exist, and with --allow-anonymous.  [env: {KEY_VARIABLE}]",
)


@contextmanager
def usage_errors(flag: str = "", ctx: click.Context | None = None) -> Iterator[None]:
    """Convert an error about the value of an option to a click.UsageError, which exits with status 2."""
    try:
        yield
    except (ValueError, ConfigError, InvalidRequest) as error:
        message = f"{flag}: {error}" if flag else str(error)
        raise click.UsageError(message, ctx or click.get_current_context()) from None


def options(settings: Mapping[str, Setting]) -> list[click.Parameter]:
    """A flag for each setting, by panel, without defaults, so that flags that were not given can be detected."""
    order = list(Panel)
    panels = sorted(settings.values(), key=lambda setting: order.index(setting.panel) if setting.panel else -1)
    return [_option(setting) for setting in panels]


def given_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were given on the command line."""
    return {name: value for name, value in flags.items() if value is not None and value != ()}


class _URL(click.ParamType[str]):
    """The URL of a server, validated before the command connects to it."""

    name = "URL"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        with usage_errors(ctx=ctx):
            ServerURL.parse(value)
        return value


def url_option(default: str | None = None, more: str = "") -> Callable[[F], F]:
    """The option `--url` of a client."""
    help = f"The server, or its API: http://HOST:8000 or http://HOST:8000/v1.{more}"
    return click.option("--url", type=_URL(), default=default, show_default=default is not None, help=help)


class _Value(click.ParamType[str]):
    """The text of a setting, validated as in every other source, with the same message."""

    name = "text"

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        with usage_errors(ctx=ctx):
            config.convert(self._setting, [value] if self._setting.repeatable else value, self._setting.flag)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if self._setting.metavar == "FILE":
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(choice) for choice in self._setting.choices if choice.startswith(incomplete)]


def _option(setting: Setting) -> click.Option:
    help = f"{setting.help}  [env: {setting.variable}] [default: {setting.shown_default}]"
    panel = setting.panel or OTHER
    if setting.type is bool:
        declared = f"{setting.flag}/--no-{setting.flag[2:]}"
        return PanelOption([declared, setting.name], panel=panel, default=None, help=help)
    return PanelOption(
        [setting.flag, setting.name],
        panel=panel,
        type=_Value(setting),
        default=None,
        metavar=setting.metavar,
        multiple=setting.repeatable,
        help=help,
    )
