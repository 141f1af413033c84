"""/metrics over HTTP: counts of real requests, and the dashboard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from crossette.accounts.ledger import NoLedger
from crossette.api import reporter
from crossette.testing.fake_engine import FakeEngine
from support.api_server import ApiServer, has, parrot, say, serving
from support.metrics_page import example, shown_name

ROOT = Path(__file__).parent.parent.parent
BODIES: dict[str, dict[str, Any]] = {
    "completions": {"model": "fake", "prompt": say("Hello"), "max_tokens": 50},
    "chat/completions": {"model": "fake", "messages": [{"role": "user", "content": say("Hello")}], "max_tokens": 50},
}


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with serving(aliases={"alias": "fake"}) as server:
        yield server


def scrape(server: ApiServer) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by name and labels."""
    families = text_string_to_metric_families(server.get("/metrics").text)
    return {
        (sample.name.removeprefix("crossette_"), frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(server: ApiServer, name: str, **labels: str) -> float | None:
    return scrape(server).get((name, frozenset(labels.items())))


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("endpoint", BODIES)
def test_an_answer_counts_once_with_its_usage(server: ApiServer, prefix: str, endpoint: str, streamed: bool) -> None:
    usage = server.post(f"{prefix}/{endpoint}", BODIES[endpoint]).json()["usage"]
    server.post(f"{prefix}/{endpoint}", BODIES[endpoint] | {"stream": streamed, "model": "alias"})

    server.observed.wait_for(2)
    labels = {"model": "fake", "endpoint": endpoint}
    route = f"{prefix}/{endpoint}"
    assert value(server, "http_requests_total", method="POST", route=route, status="200") == 2
    assert value(server, "prompt_tokens_total", model="fake") == 2 * usage["prompt_tokens"]
    assert value(server, "completion_tokens_total", model="fake") == 2 * usage["completion_tokens"]
    assert value(server, "generated_tokens_total", model="fake") == 2 * usage["completion_tokens"]
    assert value(server, "choices_finished_total", model="fake", reason="stop") == 2
    for histogram in ("request_duration", "time_to_first_token", "time_per_output_token"):
        assert value(server, f"{histogram}_seconds_count", **labels) == 2
    assert value(server, "queue_time_seconds_count", model="fake") == 2
    # In both answers, every token but the last is followed by an inter-token latency.
    assert value(server, "inter_token_latency_seconds_count", model="fake") == 2 * (usage["completion_tokens"] - 1)


def test_an_error_counts_by_kind_and_has_no_model_label(server: ApiServer, prefix: str) -> None:
    server.post(f"{prefix}/completions", BODIES["completions"] | {"model": "no-such-model"})
    server.get("/nowhere")

    server.observed.wait_for(2)
    dialect = "openai" if prefix == "/v1" else "fireworks"
    assert value(server, "errors_total", kind="model_not_found", dialect=dialect) == 1
    assert value(server, "errors_total", kind="not_found", dialect="") == 1
    assert value(server, "http_requests_total", method="GET", route="", status="404") == 1
    assert "no-such-model" not in server.get("/metrics").text


def test_a_stream_that_fails_counts_as_200_and_as_an_error(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with serving(engine, first_byte_timeout=0.01) as server:
        body = BODIES["completions"] | {"stream": True}
        with server.http.stream("POST", server.url(f"{prefix}/completions"), json=body) as answer:
            engine.step()
            lines = answer.iter_lines()
            next(lines)
            engine.fail_next_step(RuntimeError("kernel broke"))
            engine.resume()
            list(lines)
        server.observed.wait_for(1)
        dialect = "openai" if prefix == "/v1" else "fireworks"

        assert value(server, "errors_total", kind="internal", dialect=dialect) == 1
        assert value(server, "http_requests_total", method="POST", route=f"{prefix}/completions", status="200") == 1


def test_a_disconnect_counts_with_its_delay(prefix: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with serving(engine) as server:
        with server.begin(f"{prefix}/completions", BODIES["completions"]):
            engine.wait_for(has(waiting=1))
        server.wait_until_idle()

        server.observed.wait_for(1)
        assert value(server, "cancellation_delay_seconds_count", model="fake") == 1
        assert value(server, "http_requests_total", method="POST", route=f"{prefix}/completions", status="499") == 1


def test_a_stop_string_does_not_count_as_cancellation(server: ApiServer, prefix: str) -> None:
    server.post(f"{prefix}/completions", BODIES["completions"] | {"stop": "ll"})

    server.observed.wait_for(1)
    assert value(server, "cancellation_delay_seconds_count", model="fake") == 0


def test_the_queue_and_the_batch_are_visible_while_they_are_full() -> None:
    engine = FakeEngine(parrot, max_sequences=1)
    engine.pause()
    with serving(engine) as server, server.begin("/v1/completions", BODIES["completions"]):
        with server.begin("/v1/completions", BODIES["completions"]):
            engine.wait_for(has(waiting=2))
            engine.step()
            engine.wait_for(has(running=1, waiting=1))
            held = scrape(server)
        engine.resume()

    model = frozenset({("model", "fake")})
    assert (held["sequences_running", model], held["sequences_waiting", model]) == (1, 1)
    assert held["kv_blocks_used", model] == 1
    assert held["step_sequences_sum", model] == 1


def test_a_failing_observer_does_not_affect_requests(caplog: pytest.LogCaptureFixture) -> None:
    def broken(record: object) -> None:
        raise RuntimeError("the disk is full")

    with serving(observers=(broken,)) as server:
        assert server.post("/v1/completions", BODIES["completions"]).status_code == 200
        server.observed.wait_for(1)
        assert value(server, "prompt_tokens_total", model="fake") is not None
    assert "the disk is full" in caplog.text


class _FullLedger(NoLedger):
    def note(self, entry: object) -> None:
        raise RuntimeError("the disk is full")


@pytest.mark.parametrize("broken", ["ledger", "record"])
def test_a_failure_after_an_answer_does_not_close_the_connection(
    broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise RuntimeError("the disk is full")

    if broken == "record":
        monkeypatch.setattr(reporter, "record_of", fail)
    with serving(ledger=_FullLedger()) as server, server.one_connection() as ask:
        answers = [ask("/v1/completions", BODIES["completions"]) for _ in range(3)]

    assert answers == [200] * 3

    assert "A request was not recorded" in caplog.text
    assert "the disk is full" in caplog.text
    assert "Exception in ASGI application" not in caplog.text


# --- the dashboard ---


def dashboard() -> Any:  # Any: Grafana's JSON
    return json.loads((ROOT / "docs/grafana.json").read_text(encoding="utf-8"))


def expressions(value: object) -> Iterator[str]:
    """Every query of the dashboard."""
    if isinstance(value, dict):
        yield from (found for key in ("expr", "query") if isinstance(found := value.get(key), str))
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from expressions(child)


def test_every_metric_of_the_dashboard_exists_and_its_panels_do_not_overlap() -> None:
    families = list(example().registry.collect())
    known = {shown_name(family) for family in families}
    known |= {f"{family.name}{part}" for family in families if family.type == "histogram" for part in ("_bucket",)}
    known |= {
        f"{family.name}{part}" for family in families if family.type == "histogram" for part in ("_sum", "_count")
    }
    used = {name for text in expressions(dashboard()) for name in re.findall(r"\b(?:crossette|process)_\w+", text)}
    places = [panel["gridPos"] for panel in dashboard()["panels"]]

    assert used
    assert used - known == set()
    taken = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24


def test_the_dashboard_shows_all_engine_and_request_metrics() -> None:
    shown = " ".join(expressions(dashboard()))
    missing = [
        family.name
        for family in example().registry.collect()
        if family.name.startswith("crossette_") and family.name not in shown
    ]

    assert missing == []
