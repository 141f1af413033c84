"""The commands that connect to a server: `chat`, `status` and `bench`."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import click

from crossette.cli.accounts import database_options
from crossette.cli.completion import complete_model
from crossette.cli.console import err, out, pull
from crossette.cli.numbers import decimal, integer
from crossette.cli.options import admin_key, api_key, url_option, usage_errors
from crossette.client.bench.options import ENDPOINTS, SHAPES
from crossette.models.catalogue import DEFAULT

_MAX_INTERVAL_S = 31_536_000
"""A year, as in settings."""
LOCAL = "http://127.0.0.1:8000"

_PROMPT_TOKENS = ", ".join(f"{tokens} for {shape}" for shape, tokens in SHAPES.items())


@click.command()
@click.argument("model", required=False, shell_complete=complete_model)
@url_option(more="  [default: no server, the model runs in this process]")
@api_key
def chat(model: str | None, url: str | None, api_key: str | None) -> None:
    """Chat with a model in the terminal.

    MODEL is as for serve, or with --url the name of a model on that server. Without MODEL, the default one.
    """
    from crossette.client.chat import ChatClient, RemoteChat
    from crossette.client.chat import chat as run_chat

    client: ChatClient
    if url is not None:
        client = RemoteChat(url, model, api_key)
    else:
        from crossette.cli.local_chat import LocalChat
        from crossette.engines.registry import load_engine
        from crossette.server.served import model_files
        from crossette.server.settings import Settings

        stored = pull(model or DEFAULT.name)
        with err.status(f"Loading {stored.name}"):
            client = LocalChat(load_engine(model_files(stored), Settings().engines))
    run_chat(client, out)


@click.command()
@url_option(LOCAL)
@click.option("--once", is_flag=True, help="Print the status once and exit, instead of updating it.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each update.")
@click.option(
    "--interval", type=decimal(0.1, _MAX_INTERVAL_S), default=1.0, show_default=True, help="Seconds between updates."
)
@click.option("--replicas", is_flag=True, help="List the servers that share the database instead, once.")
@admin_key
@database_options
def status(
    url: str,
    once: bool,
    as_json: bool,
    interval: float,
    replicas: bool,
    api_key: str | None,
    database_url: str | None,
    file: Path | None,
) -> None:
    """Watch a server: streams, speed, queue, caches, memory."""
    if replicas:
        from crossette.cli.replicas import print_replicas

        print_replicas(database_url, file, as_json=as_json)
        return
    from crossette.client.status.scrape import MetricsPage
    from crossette.client.status.screen import show

    with closing(MetricsPage(url, api_key)) as page:
        show(page, out, once=once, as_json=as_json, interval_s=interval)


@click.command()
@url_option(LOCAL, " Any OpenAI-compatible one.")
@click.option(
    "-c",
    "--concurrency",
    default="1,8,32",
    show_default=True,
    metavar="LIST",
    help="Measure with this many concurrent requests, one level after the other.",
)
@click.option("-n", "--num-requests", type=integer(1), help="Requests per level.  [default: 4 per stream, at least 16]")
@click.option(
    "--endpoint", type=click.Choice(ENDPOINTS), default="completions", show_default=True, help="The API to measure."
)
@click.option(
    "--shape",
    type=click.Choice(tuple(SHAPES)),
    default="short",
    show_default=True,
    help="Kind of prompts: short ones, ones that share a long system prompt, or long ones.",
)
@click.option(
    "--prompt-tokens",
    type=integer(1),
    help=f"Tokens of a prompt, or with --shape shared of its shared part.  [default: {_PROMPT_TOKENS}]",
)
@click.option("--token-ids", is_flag=True, help="Send prompts as token ids, whose length is exact on any server.")
@click.option(
    "--max-tokens", type=integer(1), default=256, show_default=True, help="Generate at most this many tokens."
)
@click.option("--ignore-eos", is_flag=True, help="Generate all of --max-tokens, also after an end token.")
@click.option(
    "--temperature", type=decimal(0), default=0.0, show_default=True, help="Sampling temperature; 0 is greedy."
)
@click.option("--model", metavar="NAME", help="The model to measure.  [default: the first of GET /models]")
@api_key
@click.option("--seed", type=integer(), help="Seed of the prompts; the same one repeats them.  [default: random]")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write the summary and every request to this file, as JSON.",
)
def bench(
    url: str,
    concurrency: str,
    num_requests: int | None,
    endpoint: str,
    shape: str,
    prompt_tokens: int | None,
    token_ids: bool,
    max_tokens: int,
    ignore_eos: bool,
    temperature: float,
    model: str | None,
    api_key: str | None,
    seed: int | None,
    json_file: Path | None,
) -> None:
    """Measure the speed of a server under load.

    Streaming requests run in a closed loop: each stream sends the next one when its answer ends. Tokens are counted
    by the usage that the server reports.
    """
    from crossette.client.bench import BenchOptions, parse_concurrency, run_bench

    with usage_errors():
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
    report = run_bench(options, lambda level: err.print(f"{level.concurrency} streams: done"))
    out.print(report.render())
    if json_file is not None:
        report.write_json(json_file)
