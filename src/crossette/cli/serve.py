"""The command that serves: settings to a running server."""

from __future__ import annotations

import logging
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from crossette import config, log
from crossette.accounts.open import open_store
from crossette.api.guards.origins import check_origins
from crossette.cli.console import err, out, pull
from crossette.cli.options import config_file, given, options
from crossette.engines.registry import load_engine
from crossette.errors import ConfigError, CrossetteError
from crossette.log import FIELDS
from crossette.server import build, draining
from crossette.server.banner import Banner
from crossette.server.listener import bind, guard
from crossette.server.settings import SECTIONS, Settings, load_settings
from crossette.server.tls import check_tls

logger = logging.getLogger(__name__)

_TABLE = config.table(SECTIONS)


@click.command(help="Serve a model over HTTP, in OpenAI's dialect (/v1) and Fireworks' (/inference/v1).")
@click.argument("reference", metavar="[MODEL]", required=False)
@config_file
def serve(reference: str | None, file: Path | None, **flags: Any) -> None:
    """Run the server. MODEL may also stand without its flag."""
    if reference is not None and flags["model"] is not None:
        raise ConfigError(f"MODEL is {reference!r} and --model is {flags['model']!r}: give one of them.")
    flags["model"] = flags["model"] if reference is None else reference
    settings = load_settings(given(flags), os.environ, config.chosen_file(file, os.environ))
    log.configure(settings.server.log_level, settings.server.log_format)
    if settings.server.log_format == "json":
        _run_quietly(settings)
    else:
        _run(settings)


serve.params.extend(options(_TABLE))


def _run_quietly(settings: Settings) -> None:
    """With JSON as the form of the log, nothing else is written: no bars, no banner, and errors as lines."""
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
    stores = open_store(settings.accounts, allow_anonymous=server.allow_anonymous)
    bound = closing(bind(server.host, server.port))
    with bound as listener, stores as store, build.tracing(settings) as observers:
        guard(listener, store.access, server)
        stored = pull(server.model)
        with err.status(f"Loading {stored.name}"):
            engine = load_engine(build.model_files(stored, server.tool_format), settings.engines)
        app = build.build_app(engine, settings, store, listener, observers)
        listener.listen()  # who reads the address may ask at once
        _announce(build.banner(engine, listener, settings, store.access), server.log_format)
        draining.run(engine, app, listener, settings)


def _announce(banner: Banner, log_format: str) -> None:
    if log_format == "json":
        logger.info("Listening on %s", banner.roots[0], extra={FIELDS: banner.fields})
    else:
        out.print(banner.text(), markup=False, soft_wrap=True)
