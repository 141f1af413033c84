"""The report: a table per model, one for the server's CPU, and the conditions of the measurement."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from common import machine

from peers.front import FRONT_STREAMS
from peers.record import Record, versions
from peers.runs import MODELS, PROMPT_TOKENS, Row, Run, Size, Workload


def report(record: Record, models: Sequence[str], loads: dict[str, Workload], size: Size) -> str:
    """The report of `record`, with models and workloads in the given order."""
    runs = record.runs
    commands = {run.command: None for run in runs if run.server != "crossette"}
    copied = [run.details["copied"] for run in runs if "copied" in run.details]
    of = versions()
    lines = [
        f"Measured {_dates(runs)} on {machine()}; crossette {of['crossette']}, "
        f"openvino {of['openvino']}; {of['llama-server']}.",
        f"Greedy, {size.output_tokens} output tokens, prompts of {PROMPT_TOKENS} tokens and drafts on "
        f"unless stated otherwise; "
        f"medians of {_rounds(runs)} alternating rounds, one server running at a time.",
        "Commands, in this order:" if len(record.commands) > 1 else "Command:",
        *(f"- `{command}`" for command in record.commands),
        "",
        *table(runs, models, loads),
        *front_table(runs),
    ]
    if copied:
        lines.append(f"In the copying workloads, at least {100 * min(copied):.0f} % of the text was copied.")
    if commands:
        lines += ["llama-server was started, on a free port each time, with:", ""]
        lines += ["```", *commands, "```"]
    return "\n".join(lines).rstrip()


def _dates(runs: Sequence[Run]) -> str:
    days = [run.date[: len("2026-01-01")] for run in runs]
    return " to ".join(dict.fromkeys((min(days), max(days))))


def _rounds(runs: Sequence[Run]) -> str:
    """The number of rounds, which may differ between workloads."""
    rounds: dict[tuple[str, str], set[int]] = {}
    for run in runs:
        rounds.setdefault((run.model, run.workload), set()).add(run.round)
    counts = [len(numbers) for numbers in rounds.values()]
    return " to ".join(dict.fromkeys((str(min(counts)), str(max(counts)))))


def table(runs: Sequence[Run], names: Sequence[str], loads: dict[str, Workload]) -> list[str]:
    """A Markdown table per model, with a line per measured figure."""
    lines = []
    for name in names:
        of_model = [run for run in runs if run.model == name]
        if not of_model:
            continue
        lines += [
            f"{MODELS[name].title}; output tokens/s unless another unit is given:",
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
    """The median of the successful rounds, or the reason why all failed."""
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
        "Server CPU with the fake engine, whose own cost is included:",
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
