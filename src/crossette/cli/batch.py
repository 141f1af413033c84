"""The command `crossette batch run`: a file of requests, answered in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crossette.cli.completion import complete_model
from crossette.cli.console import counting, err, out, pull
from crossette.cli.help import Group
from crossette.cli.options import config_file
from crossette.errors import ConfigError

if TYPE_CHECKING:
    from crossette.accounts.batches import LineResult
    from crossette.api.app import App
    from crossette.api.batches.input_file import BatchLine
    from crossette.server.settings import Settings


@click.group(cls=Group)
def batch() -> None:
    """Answer a file of requests without a server."""


@batch.command()
@click.argument("requests", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "-o",
    "--out",
    "output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT",
    help="Append the answers to this file.  [default: FILE, with .out.jsonl at its end]",
)
@click.option(
    "--model",
    metavar="MODEL",
    shell_complete=complete_model,
    help="Answer all requests with this model, as for serve.  [default: the models that the requests name]",
)
@config_file
def run(requests: Path, output: Path | None, model: str | None, file: Path | None) -> None:
    """Answer the requests of FILE.

    It has a request in each line, in the format of the batch API. Requests whose answer is in OUT already are left
    out, so that an interrupted run goes on when it is repeated. The settings of the engine are those of serve: from
    the environment, or the file of --config.
    """
    from crossette import config
    from crossette.api.batches.offline import answered
    from crossette.server.settings import load_settings

    output = output or requests.with_suffix(".out.jsonl")
    settings = load_settings({}, os.environ, config.chosen_file(file, os.environ))
    pending, total = _pending(requests, answered(output), settings)
    if not pending:
        out.print(f"All {total} requests have a result in {output}.", soft_wrap=True, markup=False)
        return
    app = _app(settings, model, sorted({line.model for line in pending} - {""}))
    try:
        _run(app, pending, output, total)
    finally:
        app.models.pool.close()


def _pending(requests: Path, done: frozenset[str], settings: Settings) -> tuple[list[BatchLine], int]:
    """The requests without a result, and the number of all. Raises ConfigError for an invalid file."""
    from crossette.api.batches.input_file import lines, parsed, validate
    from crossette.api.dialect import FIREWORKS, OPENAI
    from crossette.api.endpoints import generating_paths

    limit, paths = settings.http.max_body_bytes, generating_paths((OPENAI, FIREWORKS))
    found = validate(_parts(requests), paths.__contains__, limit, max_lines=None)
    if found.errors:
        listed = "\n".join(f"  line {error.line}: {error.message}" for error in found.errors)
        raise ConfigError(f"{requests} is not a file of requests:\n{listed}")
    every = (parsed(line, paths.__contains__) for line in lines(_parts(requests), limit))
    return [line for line in every if line.custom_id not in done], found.total


def _parts(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while part := opened.read(2**20):
            yield part


def _app(settings: Settings, model: str | None, named: list[str]) -> App:
    """The models of the requests, without a queue limit. Raises ModelError for a name that is no model."""
    from dataclasses import replace

    from crossette.api.app import App
    from crossette.api.guards.admission import AdmissionController
    from crossette.api.guards.queue_wait import QueueSettings
    from crossette.api.models import ServedModels
    from crossette.models.store import ModelStore, default_root
    from crossette.server.served import choose_models, loaded_at_start, model_pool

    references = (model,) if model else tuple(named)
    settings = replace(settings, server=replace(settings.server, model=references), models={})
    chosen = choose_models(settings, pull, ModelStore(default_root()))
    pool = model_pool(chosen, settings)
    for name in loaded_at_start(chosen):
        with err.status(f"Loading {name}"):
            pool.start(name)
    targets = chosen if not model else chosen * len(named)
    aliases = {name: one.name for name, one in zip(named, targets, strict=False) if name != one.name}
    patient = AdmissionController(queue=QueueSettings(max_wait=_YEAR_S, max_waiting=1_000_000))
    return App(ServedModels(pool, aliases), settings.http, admissions=patient)


_YEAR_S = 31_536_000.0


def _run(app: App, pending: list[BatchLine], output: Path, total: int) -> None:
    import asyncio
    from time import monotonic

    from crossette.api.batches.offline import OfflineRun
    from crossette.api.batches.slots import Slots

    failed = tokens = 0
    begun = monotonic()
    with output.open("ab") as opened, counting("requests", total, total - len(pending)) as advance:

        def note(result: LineResult) -> None:
            nonlocal failed, tokens
            failed += not result.is_completed
            tokens += result.usage.completion_tokens
            advance(f"{tokens / (monotonic() - begun):.0f} tokens/s")

        async def work() -> None:
            try:
                await OfflineRun(app.in_process(), Slots(app.models), opened, note).run(pending)
            except* OSError as errors:
                raise ConfigError(f"Can't write {output}: {errors.exceptions[0]}") from None

        try:
            asyncio.run(work())
        except KeyboardInterrupt:
            raise ConfigError(
                f"Interrupted. Repeat the command to go on: the answers so far are in {output}."
            ) from None
    seconds = monotonic() - begun
    out.print(
        f"{len(pending)} requests in {seconds:.1f} s, {failed} of them with an error; {tokens} tokens generated, "
        f"{tokens / seconds:.0f} a second. The answers are in {output}.",
        soft_wrap=True,
        markup=False,
    )
