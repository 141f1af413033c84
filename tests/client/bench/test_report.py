from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from crossette.client.bench import BenchOptions, BenchReport
from crossette.client.bench.report import summarize, without_keys
from crossette.client.bench.request import Failure, RequestResult
from crossette.errors import ConfigError


def result(
    *, started_s: float = 0.0, total_s: float = 2.0, tokens: int | None = 5, failure: Failure | None = None
) -> RequestResult:
    """A request whose first text came after 0.5 s, and then two more chunks after 0.1 and 0.3 s."""
    return RequestResult(
        started_s=started_s,
        total_s=total_s,
        first_token_s=0.5,
        gaps_s=(0.1, 0.3),
        prompt_tokens=None if tokens is None else 10,
        cached_tokens=None if tokens is None else 4,
        completion_tokens=tokens,
        finish_reason="length",
        failure=failure,
    )


def shown(report: BenchReport) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(report.render())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def report_of(*results: RequestResult, api_key: str | None = None, command: tuple[str, ...] = ()) -> BenchReport:
    report = BenchReport(BenchOptions(model="tiny", seed=3, api_key=api_key, command=command))
    report.add(2, results)
    return report


def test_tokens_per_second_are_all_tokens_over_the_time_from_first_start_to_last_end() -> None:
    level = summarize(2, [result(started_s=100.0), result(started_s=102.0)])

    assert level.wall_s == pytest.approx(4.0)
    assert level.output_tokens_per_s == pytest.approx(10 / 4)
    assert level.total_tokens_per_s == pytest.approx(30 / 4)


def test_inter_token_latency_spreads_a_chunk_of_several_tokens_over_its_tokens() -> None:
    level = summarize(1, [result(tokens=5)])

    assert level.inter_token_ms["p50"] == pytest.approx(400 / 4)
    assert level.chunk_gap_ms["p50"] == pytest.approx(200)
    assert level.largest_gap_ms == pytest.approx(300)


def test_percentiles_interpolate_between_requests() -> None:
    level = summarize(1, [result(total_s=1.0), result(total_s=3.0)])

    assert level.request_s == pytest.approx({"p50": 2.0, "p95": 2.9, "p99": 2.98})


def test_failed_requests_are_not_part_of_rates_and_latencies() -> None:
    failed = result(total_s=2.0, tokens=1000, failure=Failure("HTTP 500", "first"))
    again = result(tokens=1000, failure=Failure("HTTP 500", "second"))
    level = summarize(1, [result(), failed, again])

    assert (level.errors, level.first_messages) == ({"HTTP 500": 2}, {"HTTP 500": "first"})
    assert (level.completion_tokens, level.num_good) == (5, 1)


def test_a_sum_with_an_unknown_value_is_unknown_and_noted() -> None:
    report = report_of(result(), result(tokens=None))

    assert report.levels[0].output_tokens_per_s is None
    text = " ".join(shown(report).split())
    assert "output tokens/s unknown" in text
    assert "no usage in 1 of 2 answers" in text


def test_a_level_where_all_failed_still_has_a_table() -> None:
    text = shown(report_of(result(failure=Failure("HTTP 429", "[limit] 32 in flight"))))

    assert "1 x HTTP 429, first: [limit] 32 in flight" in text


def test_the_table_fits_80_columns_and_shows_the_real_token_counts() -> None:
    text = shown(report_of(result()))

    assert max(map(len, text.splitlines())) <= 80
    assert "10.0 in, 5.0 out; 4 prompt tokens came from a cache" in " ".join(text.split())


def test_the_file_has_all_requests_and_summaries_and_no_key(tmp_path: Path) -> None:
    command = ("crossette", "bench", "--api-key", "sk-secret", "--api-key=sk-secret", "-n", "2")
    report = report_of(result(started_s=7.0), result(started_s=8.0), api_key="sk-secret", command=command)
    report.write_json(tmp_path / "out.json")

    text = (tmp_path / "out.json").read_text()
    written = json.loads(text)
    assert "sk-secret" not in text
    assert written["command"] == ["crossette", "bench", "--api-key", "…", "--api-key=…", "-n", "2"]
    assert [row["started_s"] for row in written["requests"]] == [0.0, 1.0]
    assert written["levels"][0]["completion_tokens"] == 10
    assert written["options"]["seed"] == 3
    assert {"url", "model", "date", "versions", "machine"} <= written.keys()


def test_a_file_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        report_of(result()).write_json(tmp_path / "nowhere" / "out.json")


def test_a_command_without_a_key_is_shown_as_it_is() -> None:
    assert without_keys(["bench", "-c", "1"]) == ["bench", "-c", "1"]
