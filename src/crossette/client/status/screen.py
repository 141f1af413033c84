"""Shows a server's status in the terminal, continuously or once, or as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from crossette.client.status.scrape import MetricsPage
from crossette.client.status.summary import ModelStatus, Status, ratio, status_of
from crossette.machine import format_memory


def show(
    page: MetricsPage,
    console: Console,
    *,
    once: bool,
    as_json: bool,
    interval_s: float,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Show the status until Ctrl-C, or `once`; with `as_json` as one JSON object per line. Raises StatusFailed.

    The first status is shown after one interval, as rates need two scrapes.
    """
    statuses = poll(page, interval_s, sleep)
    with suppress(KeyboardInterrupt):
        if once:
            _print(next(statuses), console, as_json=as_json)
        elif as_json or not console.is_terminal:
            for status in statuses:
                _print(status, console, as_json=as_json)
        else:
            with Live(Text("Loading..."), console=console, auto_refresh=False, screen=True) as live:
                for status in statuses:
                    live.update(render(status), refresh=True)


def poll(page: MetricsPage, interval_s: float, sleep: Callable[[float], None]) -> Iterator[Status]:
    """Yield a status after each interval, endlessly."""
    before = page.read()
    while True:
        sleep(interval_s)
        now = page.read()
        yield status_of(now, before)
        before = now


def _print(status: Status, console: Console, *, as_json: bool) -> None:
    if as_json:
        console.print(json.dumps(asdict(status)), soft_wrap=True, highlight=False, markup=False)
    else:
        console.print(render(status))


def render(status: Status) -> RenderableType:
    """Render a status for the terminal."""
    memory = format_memory(status.memory_bytes)
    head = f"crossette {status.version}: {memory} of memory, {status.requests} requests, {status.errors} errors"
    return Group(Text(head), *(_table(model) for model in status.models))


def _table(model: ModelStatus) -> Table:
    table = Table(box=None, show_header=False, title=model.model, title_justify="left", title_style="bold")
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    for name, shown in _rows(model):
        table.add_row(name, shown)
    return table


def _rows(model: ModelStatus) -> Iterator[tuple[str, str]]:
    if not model.awake:
        yield "memory", f"not loaded, {model.users} requests wait for it"
        return
    stalled = ", STALLED: no progress" if model.stalled else ""
    yield "streams", f"{model.running} running, {model.waiting} waiting{stalled}"
    yield "speed", f"{model.generated_tokens_per_s:.1f} tokens/s, prompts {model.prompt_tokens_per_s:.1f} tokens/s"
    yield "latency", f"first token {_time(model.first_token_s)}, between tokens {_time(model.token_gap_s)} (medians)"
    yield "step", f"{_time(model.step_s)} (mean), {model.preemptions} preemptions so far"
    used = _percent(ratio(model.kv_blocks_used, model.kv_blocks))
    yield "KV cache", f"{model.kv_blocks_used} of {model.kv_blocks} blocks ({used}), {format_memory(model.kv_bytes)}"
    yield "prefix cache", f"{model.kv_blocks_cached} blocks, {_percent(model.prefix_hit_rate)} of prompt tokens found"
    yield "draft tokens", f"{_percent(model.draft_acceptance)} accepted"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
