"""Measure the time from a disconnect to free blocks: in mid-stream, during prefill, and in the queue."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from dataclasses import dataclass

from common import serving

from faults.rows import Options, Row, median_and_worst
from faults.server import Body, Watch, begin, real

PROMPT_TOKENS = 6000
STATES = {
    "in mid-stream": "streaming",
    f"during the prefill of {PROMPT_TOKENS:,} tokens": "prefilling",
    "in the queue, while another streams": "queued",
}


@dataclass(frozen=True)
class Delay:
    """From the disconnect until the server reports that all is free, polling included."""

    steps: int
    ms: float


def disconnect(options: Options) -> list[Row]:
    rows = []
    with serving(real("--max-sequences", "1")) as served, closing(Watch(served)) as watch:
        _streaming(watch, 0)  # warm up: what the first request allocates permanently
        for description, state in STATES.items():
            delays = [TRIES[state](watch, number) for number in range(1, options.tries + 1)]
            fault = f"a client disconnects {description}"
            ms, steps = [delay.ms for delay in delays], [delay.steps for delay in delays]
            rows += [
                Row(fault, "until its blocks and slot are free, ms: median, worst", median_and_worst(ms)),
                Row(fault, "steps that end in between: median, worst", median_and_worst(steps)),
            ]
    return rows


def _streaming(watch: Watch, number: int) -> Delay:
    connection = begin(watch.served, "completions", _long(watch, f"Story {number}:"))
    _read_first_piece(connection)
    return _delay(watch, connection)


def _prefilling(watch: Watch, number: int) -> Delay:
    """The prompts share no prefix, so that none is cached."""
    begun = watch.stats()["steps"]
    prompt = [1000 + number, *range(2000, 2000 + PROMPT_TOKENS - 1)]
    connection = begin(watch.served, "completions", _long(watch, prompt))
    watch.wait_for(lambda stats: bool(stats["running"] and stats["steps"] > begun))
    return _delay(watch, connection)


def _queued(watch: Watch, number: int) -> Delay:
    with closing(begin(watch.served, "completions", _long(watch, "Once"))) as other:
        _read_first_piece(other)
        connection = begin(watch.served, "completions", _long(watch, f"Story {number}:"))
        watch.wait_for(lambda stats: bool(stats["waiting"] == 1))
        delay = _delay(watch, connection, left=1)
    watch.wait_for(_is_free)
    return delay


TRIES = {"streaming": _streaming, "prefilling": _prefilling, "queued": _queued}


def _delay(watch: Watch, connection: socket.socket, left: int = 0) -> Delay:
    steps, begun = watch.stats()["steps"], time.perf_counter()
    connection.close()
    stats = watch.wait_for(lambda stats: stats["waiting"] == 0 and (stats["running"] == left > 0 or _is_free(stats)))
    return Delay(stats["steps"] - steps, (time.perf_counter() - begun) * 1000)


def _is_free(stats: Body) -> bool:
    return (stats["running"], stats["waiting"], stats["blocks_free"]) == (0, 0, stats["blocks_total"])


def _long(watch: Watch, prompt: str | list[int]) -> Body:
    model = watch.served.model
    return {"model": model, "prompt": prompt, "max_tokens": 2000, "ignore_eos": True, "stream": True}


def _read_first_piece(connection: socket.socket) -> None:
    received = b""
    while b"data: " not in received:
        piece = connection.recv(65536)
        if not piece:
            raise SystemExit(f"The response is not a stream: {received!r}")
        received += piece
