"""The commands that ask a server: a conversation, its status, a load."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import click

from crossette.cli.console import err, out, pull
from crossette.cli.numbers import decimal, whole
from crossette.cli.options import URL, admin_key, api_key
from crossette.errors import ConfigError
from crossette.models.catalogue import DEFAULT

_LONGEST_S = 31_536_000
"""Between two looks: a year, as in settings."""
LOCAL = "http://127.0.0.1:8000"


@click.command()
@click.argument("model", required=False)
@click.option("--url", help=f"{URL}; without it the model runs here.")
@api_key
def chat(model: str | None, url: str | None, api_key: str | None) -> None:
    """Talk with a model in the terminal. MODEL is as for serve; with --url, a name served there."""
    from crossette.client.chat import ChatClient, RemoteChat
    from crossette.client.chat import chat as converse

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
    converse(client, out)


@click.command()
@click.option("--url", default=LOCAL, show_default=True, help=f"{URL}.")
@click.option("--once", is_flag=True, help="Show it once, for scripts.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
@click.option(
    "--interval", type=decimal(0.1, _LONGEST_S), default=1.0, show_default=True, help="Seconds between two looks."
)
@admin_key
def status(url: str, once: bool, as_json: bool, interval: float, api_key: str | None) -> None:
    """Show what a server is doing: streams, speed, queue, caches, memory. Once keys were made, it takes an admin's."""
    from crossette.client.status.scrape import MetricsPage
    from crossette.client.status.screen import show

    with closing(MetricsPage(url, api_key)) as page:
        show(page, out, once=once, as_json=as_json, interval_s=interval)


@click.command()
@click.option("--url", default=LOCAL, show_default=True, help=f"{URL}. Any that is compatible will do.")
@click.option("-c", "--concurrency", default="1,8,32", show_default=True, help="Streams at once.")
@click.option("-n", "--num-requests", type=whole(), help="Requests per level.  [default: 4 per stream]")
@click.option("--endpoint", default="completions", show_default=True, help="completions or chat/completions")
@click.option("--shape", default="short", show_default=True, help="Prompts: short, shared (a system prompt) or long")
@click.option("--prompt-tokens", type=whole(), help="Length of the prompt, or of its shared part")
@click.option("--token-ids", is_flag=True, help="Prompts as token ids: exact lengths.")
@click.option("--max-tokens", type=whole(), default=256, show_default=True, help="Output tokens asked for")
@click.option("--ignore-eos", is_flag=True, help="Do not stop before max-tokens.")
@click.option("--temperature", type=decimal(), default=0.0, show_default=True)
@click.option("--model", help="[default: the first of GET /models]")
@api_key
@click.option("--seed", type=whole(), help="Of the prompts, for repeatable text.  [default: random]")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write every request and the summary.")
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
    """Measure a server under load: streaming, closed loop, counts from the server's usage."""
    from crossette.client.bench import BenchOptions, parse_concurrency, run_bench

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
    report = run_bench(options, lambda level: err.print(f"{level.concurrency} at once: done"))
    out.print(report.render())
    if json_file is not None:
        report.write_json(json_file)
