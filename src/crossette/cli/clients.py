"""The commands that connect to a server: `chat`, `status` and `bench`."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import click

from crossette.cli.console import err, out, pull
from crossette.cli.numbers import decimal, integer
from crossette.cli.options import URL, admin_key, api_key
from crossette.errors import ConfigError
from crossette.models.catalogue import DEFAULT

_MAX_INTERVAL_S = 31_536_000
"""A year, as in settings."""
LOCAL = "http://127.0.0.1:8000"


@click.command()
@click.argument("model", required=False)
@click.option("--url", help=f"{URL}. By default the model runs in this process.")
@api_key
def chat(model: str | None, url: str | None, api_key: str | None) -> None:
    """Chat with a model in the terminal. MODEL is as for serve; with --url, the name of a model served there."""
    from crossette.client.chat import ChatClient, RemoteChat
    from crossette.client.chat import chat as run_chat

    client: ChatClient
    if url is not None:
        client = RemoteChat(url, model, api_key)
    else:
        from crossette.cli.local_chat import LocalChat
        from crossette.engines.registry import load_engine
        from crossette.server.build import model_files
        from crossette.server.settings import Settings

        stored = pull(model or DEFAULT.name)
        with err.status(f"Loading {stored.name}"):
            client = LocalChat(load_engine(model_files(stored), Settings().engines))
    run_chat(client, out)


@click.command()
@click.option("--url", default=LOCAL, show_default=True, help=f"{URL}.")
@click.option("--once", is_flag=True, help="Print the status once and exit.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.option(
    "--interval", type=decimal(0.1, _MAX_INTERVAL_S), default=1.0, show_default=True, help="Seconds between updates."
)
@admin_key
def status(url: str, once: bool, as_json: bool, interval: float, api_key: str | None) -> None:
    """Show the status of a server: streams, speed, queue, caches, memory. Requires an admin key once keys exist."""
    from crossette.client.status.scrape import MetricsPage
    from crossette.client.status.screen import show

    with closing(MetricsPage(url, api_key)) as page:
        show(page, out, once=once, as_json=as_json, interval_s=interval)


@click.command()
@click.option("--url", default=LOCAL, show_default=True, help=f"{URL}. Any OpenAI-compatible server.")
@click.option("-c", "--concurrency", default="1,8,32", show_default=True, help="Levels of concurrent streams.")
@click.option("-n", "--num-requests", type=integer(), help="Requests per level.  [default: 4 per stream, at least 16]")
@click.option("--endpoint", default="completions", show_default=True, help="completions or chat/completions")
@click.option(
    "--shape", default="short", show_default=True, help="Prompts: short, shared (common system prompt) or long"
)
@click.option("--prompt-tokens", type=integer(), help="Prompt length in tokens; of the shared part for --shape shared")
@click.option("--token-ids", is_flag=True, help="Send prompts as token ids, which have exact lengths.")
@click.option("--max-tokens", type=integer(), default=256, show_default=True, help="max_tokens of the requests")
@click.option("--ignore-eos", is_flag=True, help="Generate max_tokens also after an end token.")
@click.option("--temperature", type=decimal(), default=0.0, show_default=True)
@click.option("--model", help="Model name.  [default: the first of GET /models]")
@api_key
@click.option("--seed", type=integer(), help="Seed of the prompts.  [default: random]")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write requests and summary as JSON.")
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
    """Benchmark a server with streaming requests in a closed loop. Token counts are those of the server's usage."""
    from crossette.client.bench import BenchOptions, parse_concurrency, run_bench

    if shape not in ("short", "shared", "long") or endpoint not in ("completions", "chat/completions"):
        raise ConfigError("--shape must be short, shared or long, and --endpoint completions or chat/completions.")
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
