"""The commands: parse, then call one function each."""

from __future__ import annotations

import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from crossette import __version__
from crossette.cli_keys import keys_app, usage
from crossette.cli_numbers import decimal, whole
from crossette.errors import ConfigError, CrossetteError
from crossette.log import FIELDS
from crossette.models.catalogue import DEFAULT
from crossette.models.fetch import Progress as ProgressCallback
from crossette.remote import KEY_VARIABLE

if TYPE_CHECKING:
    from crossette.banner import Banner
    from crossette.models.store import ModelRecord
    from crossette.serve import ServerSettings

logger = logging.getLogger(__name__)

app = typer.Typer(
    name="crossette",
    help="The OpenAI API, answered by open models you run yourself.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
models_app = typer.Typer(help="The models in the store.", invoke_without_command=True)
app.add_typer(models_app, name="models")
app.add_typer(keys_app, name="keys")
app.command("usage")(usage)

URL = "The server, or the base URL of its API: http://HOST:8000, http://HOST:8000/v1"
ApiKey = Annotated[str | None, typer.Option(envvar=KEY_VARIABLE, help="Key for the server.")]
AdminKey = Annotated[
    str | None, typer.Option(envvar=KEY_VARIABLE, help="An admin's key, once keys were made or with --allow-anonymous.")
]

_LONGEST_S = 31_536_000
"""Between two looks: a year, as in settings."""

_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)


def main() -> None:
    """Run a command; an error that a user can mend is one sentence, not a stack trace."""
    try:
        app()
    except CrossetteError as error:
        _err.print(f"[bold red]Error:[/] {escape(str(error))}", soft_wrap=True, markup=True)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    if version:
        _out.print(f"crossette {__version__}")
        raise typer.Exit


@contextmanager
def _progress() -> Iterator[ProgressCallback]:
    """A progress bar on a terminal, drawn for `models.pull`; quiet where nobody looks."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_err, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show


def _convert(gguf: Path, folder: Path) -> Any:
    from crossette.engines.openvino.convert import convert  # 0.1 s that only a GGUF file that is new should cost

    return convert(gguf, folder)


def _pull(reference: str) -> Any:
    from crossette.models.pull import pull
    from crossette.models.store import ModelStore, default_root

    with _progress() as progress:
        return pull(ModelStore(default_root()), reference, _convert, progress)


@app.command("pull")
def pull_command(reference: Annotated[str, typer.Argument(metavar="REF")]) -> None:
    """Fetch a model: a catalogue name, hf:ORG/REPO[:FILE.gguf], a .gguf file, or an OpenVINO folder."""
    stored = _pull(reference)
    _out.print(f"{stored.name} is ready in {stored.path}", soft_wrap=True)


@models_app.callback()
def list_models(context: typer.Context) -> None:
    """List the models in the store."""
    if context.invoked_subcommand is not None:
        return
    from crossette.machine import show_memory
    from crossette.models.store import ModelStore, default_root

    store = ModelStore(default_root())
    listing = Table(box=None)
    for heading in ("name", "architecture", "quantization", "context", "size", "path"):
        listing.add_column(heading, no_wrap=True)
    for model in store.models():
        record = model.record
        size, context_length = show_memory(model.size), str(record.context_length)
        quantization = _show_quantization(record)
        listing.add_row(model.name, record.architecture, quantization, context_length, size, str(model.path))
    if listing.row_count:
        # Whole names and paths, also in a narrow terminal: they are there to be copied.
        Console(width=max(_out.width, 250), highlight=False).print(listing)
    else:
        _out.print(f"No models in {store.root}. Fetch one with: crossette pull smollm2-135m-instruct", soft_wrap=True)


def _show_quantization(record: ModelRecord) -> str:
    """The name of the weights' type, and how far they are from the file's where that is more than rounding."""
    if record.difference is None or record.difference.is_rounding:
        return record.quantization
    return f"{record.quantization} (up to {record.difference.weights:.1%} off, KL {record.difference.kl:.4f})"


@models_app.command("rm")
def remove_model(name: Annotated[str, typer.Argument()]) -> None:
    """Remove a model from the store."""
    from crossette.models.store import ModelStore, default_root

    ModelStore(default_root()).remove(name)
    _out.print(f"{name} is removed.")


def _serve(values: dict[str, Any]) -> None:
    """Serve. With JSON as the form of the log, nothing else is written: no bars, no banner, and errors as lines."""
    from crossette import config, log, serve

    settings = config.fill(serve.ServerSettings, values)
    log.configure(settings.log_level, settings.log_format)
    if settings.log_format != "json":
        return _run_server(settings, values)
    _err.quiet = True
    try:
        _run_server(settings, values)
    except CrossetteError as error:
        logger.error("%s", error)
        raise typer.Exit(1) from error


def _run_server(settings: ServerSettings, values: dict[str, Any]) -> None:
    from crossette import config, serve
    from crossette.api.origins import OriginSettings, check_origins
    from crossette.engines.openvino.engine import OpenVINOSettings
    from crossette.store.open import open_store
    from crossette.store.settings import StoreSettings
    from crossette.tls import TlsSettings, check_tls

    tls = config.fill(TlsSettings, values)
    check_tls(tls)
    check_origins(config.fill(OriginSettings, values))
    stores = open_store(config.fill(StoreSettings, values), allow_anonymous=settings.allow_anonymous)
    bound = closing(serve.bind(settings.host, settings.port))
    with bound as listener, stores as store, serve.tracing(values) as observers:
        serve.guard(listener, store.access, settings)
        stored = _pull(settings.model)
        with _err.status(f"Loading {stored.name}"):
            engine = serve.load_engine(stored, config.fill(OpenVINOSettings, values), settings.tool_format)
        server = serve.build_app(engine, values, store, listener, observers)
        listener.listen()  # who reads the address may ask at once
        _announce(serve.banner(engine, listener, values, store.access), settings.log_format)
        serve.run(engine, server, listener, settings, tls)


def _announce(banner: Banner, log_format: str) -> None:
    if log_format == "json":
        logger.info("Listening on %s", banner.roots[0], extra={FIELDS: banner.fields})
    else:
        _out.print(banner.text(), markup=False, soft_wrap=True)


def _with_settings(run: Callable[[dict[str, Any]], None], *, help: str) -> None:
    """Add a command whose flags are the table of settings. MODEL may also stand without its flag."""
    from crossette import config, serve

    table = config.table(serve.SECTIONS)

    def command(**given: Any) -> None:
        reference, file = given.pop("reference"), given.pop("config")
        if reference is not None and given["model"] is not None:
            raise ConfigError(f"MODEL is {reference!r} and --model is {given['model']!r}: give one of them.")
        given["model"] = given["model"] if reference is None else reference
        flags = {name: value for name, value in given.items() if value is not None and value != []}
        path = file or (Path(os.environ["CROSSETTE_CONFIG"]) if os.environ.get("CROSSETTE_CONFIG") else None)
        run(config.gather(table, flags=flags, environ=os.environ, file=path))

    command.__signature__ = inspect.Signature(_parameters(table))  # type: ignore[attr-defined]  # read by typer
    command.__annotations__ = {p.name: p.annotation for p in _parameters(table)}
    app.command("serve", help=help)(command)


def _parameters(table: dict[str, Any]) -> list[inspect.Parameter]:
    """Typer's view of the settings. No flag has a default of its own: what was not given must stay visible."""
    reference = Annotated[str | None, typer.Argument(metavar="[MODEL]", help=table["model"].help)]
    file = Annotated[Path | None, typer.Option(help="Configuration file (TOML). \\[env: CROSSETTE_CONFIG]")]
    annotations: dict[str, Any] = {"reference": reference, "config": file}
    for name, setting in table.items():
        default = "none" if setting.default in (None, ()) else str(setting.default)
        help = f"{setting.help} [env: {setting.variable}] [default: {default}]".replace("[", "\\[")
        kind: Any = bool if setting.type is bool else list[str] if setting.repeatable else str
        flag = f"{setting.flag}/--no-{setting.flag[2:]}" if kind is bool else setting.flag
        metavar = None if kind is bool else setting.metavar
        annotations[name] = Annotated[kind | None, typer.Option(flag, help=help, metavar=metavar, show_default=False)]
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in annotations.items()
    ]


_with_settings(_serve, help="Serve a model over HTTP, in OpenAI's dialect (/v1) and Fireworks' (/inference/v1).")


@app.command("chat")
def chat_command(
    model: Annotated[str | None, typer.Argument(help="As for serve; with --url, a name served there.")] = None,
    url: Annotated[str | None, typer.Option(help=f"{URL}; without it the model runs here.")] = None,
    api_key: ApiKey = None,
) -> None:
    """Talk with a model in the terminal."""
    from crossette.chat import ChatClient, RemoteChat, chat

    client: ChatClient
    if url is not None:
        client = RemoteChat(url, model, api_key)
    else:
        from crossette import serve
        from crossette.engines.openvino.engine import OpenVINOSettings

        stored = _pull(model or DEFAULT.name)
        with _err.status(f"Loading {stored.name}"):
            client = serve.LocalChat(serve.load_engine(stored, OpenVINOSettings()))
    chat(client, _out)


@app.command("status")
def status_command(
    url: Annotated[str, typer.Option(help=f"{URL}.")] = "http://127.0.0.1:8000",
    once: Annotated[bool, typer.Option("--once", help="Show it once, for scripts.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
    interval: Annotated[float, decimal(least=0.1, most=_LONGEST_S, help="Seconds between two looks.")] = 1.0,
    api_key: AdminKey = None,
) -> None:
    """Show what a server is doing: streams, speed, queue, caches, memory. Once keys were made, it takes an admin's."""
    from crossette.status.scrape import MetricsPage
    from crossette.status.screen import show

    with closing(MetricsPage(url, api_key)) as page:
        show(page, _out, once=once, as_json=as_json, interval_s=interval)


@app.command("bench")
def bench_command(
    url: Annotated[str, typer.Option(help=f"{URL}. Any that is compatible will do.")] = "http://127.0.0.1:8000",
    concurrency: Annotated[str, typer.Option("-c", "--concurrency", help="Streams at once: 1,8,32")] = "1,8,32",
    num_requests: Annotated[int | None, whole("-n", help="Requests per level. [default: 4 per stream]")] = None,
    endpoint: Annotated[str, typer.Option(help="completions or chat/completions")] = "completions",
    shape: Annotated[str, typer.Option(help="Prompts: short, shared (a system prompt) or long")] = "short",
    prompt_tokens: Annotated[int | None, whole(help="Length of the prompt, or of its shared part")] = None,
    token_ids: Annotated[bool, typer.Option("--token-ids", help="Prompts as token ids: exact lengths.")] = False,
    max_tokens: Annotated[int, whole(help="Output tokens asked for")] = 256,
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help="Do not stop before max-tokens.")] = False,
    temperature: Annotated[float, decimal(help="Of the sampling.")] = 0.0,
    model: Annotated[str | None, typer.Option(help="[default: the first of GET /models]")] = None,
    api_key: ApiKey = None,
    seed: Annotated[int | None, whole(help="Of the prompts, for repeatable text. [default: random]")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every request and the summary.")] = None,
) -> None:
    """Measure a server under load: streaming, closed loop, counts from the server's usage."""
    from crossette.bench import BenchOptions, parse_concurrency, run_bench

    if shape not in ("short", "shared", "long") or endpoint not in ("completions", "chat/completions"):
        raise ConfigError("--shape is short, shared or long; --endpoint is completions or chat/completions.")
    options = BenchOptions(
        url=url,
        concurrency=parse_concurrency(concurrency),
        num_requests=num_requests,
        endpoint=endpoint,
        shape=shape,
        prompt_tokens=prompt_tokens,
        token_ids=token_ids,
        max_tokens=max_tokens,
        ignore_eos=ignore_eos,
        temperature=temperature,
        model=model,
        api_key=api_key,
        seed=seed,
        command=tuple(sys.argv),
    )
    report = run_bench(options, lambda level: _err.print(f"{level.concurrency} at once: done"))
    _out.print(report.render())
    if json_file is not None:
        report.write_json(json_file)
