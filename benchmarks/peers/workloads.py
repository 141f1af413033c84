"""All workloads by name, with their rows in the table and their goals."""

from __future__ import annotations

from collections.abc import Sequence

from crossette.engines.openvino.settings import OpenVINOSettings
from peers.copying import copy_task, edit_task, run_copy
from peers.random_ids import LENGTHS, NO_DRAFTS, OUTPUT_TOKENS, run_random
from peers.runs import DRAFTING, MODELS, Row, Workload
from peers.throughput import SHARED_TOKENS, run_fork, run_shared, run_short
from peers.waiting import run_gap, run_start


def workloads(streams: Sequence[int]) -> dict[str, Workload]:
    """The workloads, in the order of the table."""
    several = [
        *(_short(level) for level in streams),
        *(_random(length) for length in LENGTHS),
        Workload("copy", run_copy(copy_task), _COPIES, context=1024, peers=("llama-server", DRAFTING)),
        Workload("edit", run_copy(edit_task), _EDITS, context=2048, peers=("llama-server", DRAFTING)),
        Workload("shared", run_shared, _SHARED, width=8, context=SHARED_TOKENS + 64 + 256 + 64),
        Workload("fork", run_fork, _FORKS, width=8),
        Workload("gap", run_gap, _gaps(), width=2, context=8192),
        Workload("start", run_start, (Row("start_s", "process start to first token, s", {"q4_1": "about 3 s"}),)),
    ]
    return {workload.name: workload for workload in several}


def short_streams(names: Sequence[str]) -> list[int]:
    """The numbers of streams in names of workloads."""
    return [int(level) for kind, _, level in (name.partition("-") for name in names) if kind == "short"]


def _short(streams: int) -> Workload:
    goals = {
        1: {"q4_1": "≥ 1.0 x", "q8_0": "as close to 1.0 x as possible"},
        8: {"q4_1": "≥ 2.5 x", "q8_0": "≥ 1.8 x"},
        32: {"q4_1": "≥ 5 x", "q8_0": "≥ 3 x"},
    }
    text = "1 stream, prose" if streams == 1 else f"{streams} streams, short unique prompts"
    row = Row("tokens_per_s", text, goals.get(streams, {}))
    return Workload(f"short-{streams}", run_short(streams), (row,), width=streams)


def _random(length: int) -> Workload:
    text = f"1 stream, {length:,} random token ids, drafts off"
    rows = (
        Row("decode_tokens_per_s", text, dict.fromkeys(MODELS, "≥ 1.2 x")),
        Row("prefill_tokens_per_s", "the same: prompt tokens/s until the first token", {}),
    )
    return Workload(f"random-{length}", run_random(length), rows, context=length + OUTPUT_TOKENS + 32, flags=NO_DRAFTS)


_TWICE = dict.fromkeys(MODELS, "≥ 2.0 x")
_COPIES = (
    Row("tokens_per_s", "1 stream, output that copies its input", _TWICE),
    Row("predicted_tokens_per_s", "the same, crossette with `prediction`", _TWICE, their_figure="tokens_per_s"),
    Row("tokens_per_s", "the same, llama-server with n-gram drafts", {}, peer=DRAFTING),
)
_EDITS = (
    Row("tokens_per_s", "1 stream, a file of code with a function renamed", dict.fromkeys(MODELS, "≥ 1.8 x")),
    Row(
        "predicted_tokens_per_s",
        "the same, crossette with `prediction`",
        dict.fromkeys(MODELS, "≥ 2.5 x"),
        their_figure="tokens_per_s",
    ),
    Row("tokens_per_s", "the same, llama-server with n-gram drafts", {}, peer=DRAFTING),
)
_SHARED = (
    Row("tokens_per_s", "8 at once of 32, shared prompt of 1,200 tokens", dict.fromkeys(MODELS, "≥ 8 x")),
    Row("first_token_p95_ms", "first token of these, p95, ms", dict.fromkeys(MODELS, "≤ 0.1 x")),
)
_FORKS = (Row("tokens_per_s", "8 answers: `n` = 8 against 8 requests", dict.fromkeys(MODELS, "≥ 3 x")),)


def _gaps() -> tuple[Row, ...]:
    target_ms = 1000 * OpenVINOSettings().step_time
    goal = f"≤ {2 * target_ms:.0f} ms: twice the step time of {target_ms:.0f} ms"
    return (
        Row("largest_gap_ms", "largest token gap while a long prompt is computed, ms", dict.fromkeys(MODELS, goal)),
        Row("long_first_token_ms", "first token of that prompt, ms", {}),
    )
