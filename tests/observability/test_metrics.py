"""Metrics: values, names, and labels without client input."""

from __future__ import annotations

import re

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from crossette.engine import EngineStats
from crossette.histogram import Histogram
from crossette.observability.metrics import Metrics
from crossette.pool.pool import ModelPool
from crossette.testing.fake_engine import FakeEngine
from support.metrics_page import example
from support.records import make_record

UNITS = ("_seconds", "_bytes", "_tokens", "_blocks", "_sequences", "_info")


class StalledEngine(FakeEngine):
    """Reports fixed stats."""

    def stats(self) -> EngineStats:
        return EngineStats(
            running=1,
            waiting=2,
            blocks_total=100,
            blocks_free=60,
            steps=3,
            preemptions=4,
            prompt_tokens=5,
            completion_tokens=6,
            cached_blocks=7,
            drafts=8,
            accepted_drafts=9,
            stalled=True,
            lookup_tokens=10,
            hit_tokens=11,
            kv_bytes=12,
        )


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"crossette_{name}", labels)


def test_a_request_counts_with_its_tokens_and_times() -> None:
    metrics = Metrics(ModelPool.of({}))
    metrics.note(make_record())

    of_endpoint = {"model": "fake", "endpoint": "chat/completions"}
    assert value(metrics, "http_requests_total", method="POST", route="/v1/chat/completions", status="200") == 1
    assert value(metrics, "request_duration_seconds_sum", **of_endpoint) == 2.0
    assert value(metrics, "time_to_first_token_seconds_sum", **of_endpoint) == 0.5
    assert value(metrics, "time_per_output_token_seconds_sum", **of_endpoint) == 0.1
    tokens = ("prompt_tokens", "cached_prompt_tokens", "completion_tokens", "reasoning_tokens")
    assert [value(metrics, f"{name}_total", model="fake") for name in tokens] == [20, 8, 11, 3]
    assert value(metrics, "choices_finished_total", model="fake", reason="stop") == 1


def test_an_error_counts_by_kind_also_within_a_stream() -> None:
    metrics = Metrics(ModelPool.of({}))
    metrics.note(make_record(status=200, error="internal"))
    metrics.note(make_record(status=503, error="overloaded", work=None))

    assert value(metrics, "errors_total", kind="internal", dialect="openai") == 1
    assert value(metrics, "errors_total", kind="overloaded", dialect="openai") == 1


def test_engine_stats_are_read_on_each_scrape() -> None:
    metrics = Metrics(ModelPool.of({"a": StalledEngine()}))

    expected = {
        "sequences_running": 1,
        "sequences_waiting": 2,
        "kv_blocks": 100,
        "kv_blocks_used": 40,
        "kv_blocks_cached": 7,
        "kv_cache_bytes": 12,
        "engine_stalled": 1,
        "steps_total": 3,
        "preemptions_total": 4,
        "computed_prompt_tokens_total": 5,
        "generated_tokens_total": 6,
        "prefix_cache_lookup_tokens_total": 10,
        "prefix_cache_hit_tokens_total": 11,
        "speculation_draft_tokens_total": 8,
        "speculation_accepted_tokens_total": 9,
    }
    assert {name: value(metrics, name, model="a") for name in expected} == expected


def test_a_histogram_counts_a_value_at_a_bound_below_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for seen in (0.5, 1.0, 1.5, 2.0, 9.0):
        histogram.observe(seen)

    look = histogram.snapshot()
    assert (look.counts, look.sum, look.count) == ((2, 2, 1), 14.0, 5)


def test_two_servers_of_one_process_share_no_metrics() -> None:
    one, other = Metrics(ModelPool.of({})), Metrics(ModelPool.of({}))
    one.note(make_record())

    assert value(one, "prompt_tokens_total", model="fake") == 20
    assert value(other, "prompt_tokens_total", model="fake") is None


def test_client_input_is_never_a_label() -> None:
    metrics = Metrics(ModelPool.of({}))
    metrics.note(make_record(method="EVIL", route="", status=404, model_asked="evil", path="/evil", work=None))

    page = metrics.page("")[0].decode()
    assert "evil" not in page.lower()
    assert value(metrics, "http_requests_total", method="other", route="", status="404") == 1


def test_registered_gauges_and_counters_are_read_on_each_scrape() -> None:
    metrics = Metrics(ModelPool.of({}))
    lag = 3.0
    metrics.gauge("ledger_lag_seconds", "Age of the oldest row that is not written.", lambda: lag)
    metrics.counter("ledger_rows_lost", "Rows that were lost.", lambda: 7)

    assert value(metrics, "ledger_lag_seconds") == 3
    lag = 1.0
    assert value(metrics, "ledger_lag_seconds") == 1
    assert value(metrics, "ledger_rows_lost_total") == 7


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text"])
def test_the_page_can_be_parsed_and_has_one_line_per_series(accept: str) -> None:
    metrics = example()
    page, media_type = metrics.page(accept)
    text = page.decode()

    assert media_type.startswith(accept or "text/plain")
    assert "_created" not in text
    read = {family.name for family in text_string_to_metric_families(text)}
    assert {family.name for family in metrics.registry.collect()} <= {
        name.removesuffix("_info") for name in read
    } | read


@pytest.mark.parametrize("family", list(example().registry.collect()), ids=lambda family: family.name)
def test_names_follow_the_recommendations_of_prometheus(family: Metric) -> None:
    assert re.fullmatch(r"(crossette|process)(_[a-z]+)+", family.name)
    assert family.documentation.endswith(".")
    if family.type == "histogram":
        assert family.name.endswith(UNITS)
    if family.type != "counter":
        assert not family.name.endswith("_total")
