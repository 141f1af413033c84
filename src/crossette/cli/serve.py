"""The command `crossette serve`."""

from __future__ import annotations

import logging
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from crossette import config, log
from crossette.accounts.open import open_accounts
from crossette.api.guards.origins import check_origins
from crossette.cli.completion import complete_model
from crossette.cli.console import err, out, pull
from crossette.cli.help import PanelCommand
from crossette.cli.options import config_file, given_flags, options
from crossette.engines.registry import load_engine
from crossette.errors import CrossetteError
from crossette.log import FIELDS
from crossette.server import build, draining
from crossette.server.banner import Banner
from crossette.server.listener import bind, check_exposure
from crossette.server.settings import PANELS, SECTIONS, Settings, load_settings
from crossette.server.tls import check_tls

logger = logging.getLogger(__name__)

_TABLE = config.table(SECTIONS, PANELS)


@click.command(
    cls=PanelCommand,
    help="Serve a model over HTTP, to clients of OpenAI and Fireworks. The base URL ends in /v1 for the API of OpenAI,"
    " and in /inference/v1 for that of Fireworks. Without MODEL, the default one is served.",
    epilog="An option on the command line replaces its variable in the environment, and that replaces the value in the"
    " file of --config.",
)
@click.argument("reference", metavar="[MODEL]", required=False, shell_complete=complete_model)
@config_file
def serve(reference: str | None, file: Path | None, **flags: Any) -> None:
    """Run the server. MODEL can be given with or without its flag."""
    if reference is not None and flags["model"] is not None:
        raise click.UsageError(f"MODEL is {reference!r} and --model is {flags['model']!r}. Give one of them.")
    flags["model"] = flags["model"] if reference is None else reference
    settings = load_settings(given_flags(flags), os.environ, config.chosen_file(file, os.environ))
    log.configure(settings.server.log_level, settings.server.log_format)
    if settings.server.log_format == "json":
        _run_with_json_log(settings)
    else:
        _run(settings)


serve.params.extend(options(_TABLE))


def _run_with_json_log(settings: Settings) -> None:
    """Run the server without output other than JSON log lines: no progress bars, no banner, errors as log lines."""
    err.quiet = True
    try:
        _run(settings)
    except CrossetteError as error:
        logger.error("%s", error)
        raise click.exceptions.Exit(1) from error


def _run(settings: Settings) -> None:
    server = settings.server
    check_tls(settings.tls)
    check_origins(settings.origins)
    opening = open_accounts(settings.accounts, allow_anonymous=server.allow_anonymous)
    bound = closing(bind(server.host, server.port))
    with bound as listener, opening as accounts, build.tracing(settings) as observers:
        check_exposure(listener, accounts.access, server)
        stored = pull(server.model)
        with err.status(f"Loading {stored.name}"):
            engine = load_engine(build.model_files(stored, server.tool_format), settings.engines)
        app = build.build_app(engine, settings, accounts, listener, observers)
        listener.listen()  # before the banner: clients may connect once they have read the address
        _announce(build.banner(engine, listener, settings, accounts.access), server.log_format)
        draining.run(engine, app, listener, settings)


def _announce(banner: Banner, log_format: str) -> None:
    if log_format == "json":
        logger.info("Listening on %s", banner.roots[0], extra={FIELDS: banner.fields})
    else:
        out.print(banner.text(), markup=False, soft_wrap=True)
