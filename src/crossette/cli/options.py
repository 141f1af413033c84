"""Flags of settings, and flags that several commands share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from crossette.client.remote import KEY_VARIABLE
from crossette.config import Setting

URL = "URL of the server or of its API: http://HOST:8000, http://HOST:8000/v1"

config_file = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Configuration file (TOML).  [env: CROSSETTE_CONFIG]",
)
api_key = click.option("--api-key", envvar=KEY_VARIABLE, show_envvar=True, help="API key for the server.")
admin_key = click.option(
    "--api-key",
    envvar=KEY_VARIABLE,
    show_envvar=True,
    help="Admin key. Required once keys exist or with --allow-anonymous.",
)


def options(settings: Mapping[str, Setting]) -> list[click.Parameter]:
    """A flag for each setting, without defaults, so that flags that were not given can be detected."""
    return [_option(setting) for setting in settings.values()]


def given_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were given on the command line."""
    return {name: value for name, value in flags.items() if value is not None and value != ()}


def _option(setting: Setting) -> click.Option:
    default = "none" if setting.default in (None, ()) else str(setting.default)
    help = f"{setting.help}  [env: {setting.variable}] [default: {default}]"
    if setting.type is bool:
        return click.Option([f"{setting.flag}/--no-{setting.flag[2:]}", setting.name], default=None, help=help)
    declared: Sequence[str] = [setting.flag, setting.name]
    return click.Option(
        declared, type=str, default=None, metavar=setting.metavar, multiple=setting.repeatable, help=help
    )
