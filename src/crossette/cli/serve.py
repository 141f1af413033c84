"""The command `crossette serve`."""

from __future__ import annotations

import logging
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from crossette import config, log
from crossette.api.guards.origins import check_origins
from crossette.cli.catalogue import show_fitting
from crossette.cli.completion import complete_model
from crossette.cli.console import err, out, pull
from crossette.cli.help import PanelCommand
from crossette.cli.options import config_file, given_flags, options
from crossette.errors import CrossetteError
from crossette.log import FIELDS
from crossette.models.store import ModelStore, default_root
from crossette.server import build, draining
from crossette.server.banner import Banner
from crossette.server.downloads import pull_with_progress
from crossette.server.listener import bind, check_exposure
from crossette.server.served import takes_default
from crossette.server.settings import PANELS, SECTIONS, Settings, load_settings
from crossette.server.starting import puller_of, start_models
from crossette.server.tls import check_tls

logger = logging.getLogger(__name__)

_TABLE = config.table(SECTIONS, PANELS)


@click.command(
    cls=PanelCommand,
    help="Serve models over HTTP, to clients of OpenAI and Fireworks. The base URL ends in /v1 for the API of OpenAI,"
    " and in /inference/v1 for that of Fireworks. Without MODEL, the default one is served; `best` is the largest of"
    " `crossette pull` that fits this machine.",
    epilog="An option on the command line replaces its variable in the environment, and that replaces the value in the"
    " file of --config.",
)
@click.argument("references", metavar="[MODEL]...", nargs=-1, shell_complete=complete_model)
@config_file
def serve(references: tuple[str, ...], file: Path | None, **flags: Any) -> None:
    """Run the server. Models can be given with or without the flag."""
    if references and flags["model"]:
        given = f"MODEL is {' '.join(references)!r} and --model is {' '.join(flags['model'])!r}"
        raise click.UsageError(f"{given}. Give one of them.")
    flags["model"] = references or flags["model"]
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
    bound = closing(bind(server.host, server.port))
    with bound as listener, build.open_accounts_of(settings) as accounts, build.tracing(settings) as observers:
        address = listener.getsockname()[0]
        check_exposure(address, accounts.access, server)
        store = ModelStore(default_root())
        if takes_default(settings) and not store.names():
            show_fitting()
        models = start_models(settings, store, pull, lambda name: err.status(f"Loading {name}"))
        puller = puller_of(models, settings, store, pull_with_progress)
        app = build.build_app(models, settings, accounts, address, observers, puller)
        listener.listen()  # before the banner: clients may connect once they have read the address
        _announce(build.banner(models, listener, settings, accounts.access), server.log_format)
        draining.run(app, listener, settings)


def _announce(banner: Banner, log_format: str) -> None:
    if log_format == "json":
        logger.info("Listening on %s", banner.roots[0], extra={FIELDS: banner.fields})
    else:
        out.print(banner.text(), markup=False, soft_wrap=True)
