"""`crossette status`: the summary of a server's metrics, and its output."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import closing
from typing import Any

import httpx
import pytest
from rich.console import Console

from crossette.accounts.access import Caller
from crossette.client.status.scrape import MetricsPage, Scrape, StatusFailed
from crossette.client.status.screen import render, show
from crossette.client.status.summary import ModelStatus, Status, status_of
from crossette.engine import EngineStats
from crossette.engines.meter import Meter
from crossette.observability.metrics import Metrics
from crossette.pool.pool import ModelPool
from crossette.testing.fake_engine import FakeEngine
from support.api_server import ApiServer, parrot, say, serving
from support.model_loads import Loads
from support.records import make_record

STATUS = Status(
    version="1.2.3",
    memory_bytes=3 * 2**29,
    requests=12,
    errors=1,
    models=[
        ModelStatus(
            model="smollm2",
            awake=True,
            users=5,
            running=3,
            waiting=2,
            stalled=False,
            generated_tokens_per_s=81.25,
            prompt_tokens_per_s=400.0,
            kv_blocks=200,
            kv_blocks_used=50,
            kv_blocks_cached=80,
            kv_bytes=2**28,
            prefix_hit_rate=0.5,
            draft_acceptance=None,
            preemptions=4,
            step_s=0.025,
            first_token_s=1.5,
            token_gap_s=None,
        )
    ],
)


class CountingEngine(FakeEngine):
    """Reports the stats that a test sets."""

    def __init__(self, **counts: int) -> None:
        super().__init__()
        self.counts = counts
        self.meter = Meter()

    def stats(self) -> EngineStats:
        made: dict[str, Any] = dict.fromkeys(
            ("running", "waiting", "blocks_total", "blocks_free", "steps", "preemptions"), 0
        )
        made |= {"prompt_tokens": 0, "completion_tokens": 0, **self.counts}
        return EngineStats(**made, times=self.meter.snapshot())


def scrape(metrics: Metrics, at_s: float) -> Scrape:
    return Scrape(metrics.page("")[0].decode(), at_s)


def printed(status: Status) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(render(status))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]  # the StringIO above
    return "\n".join(line.rstrip() for line in text.splitlines())


def test_rates_and_means_are_those_between_two_scrapes() -> None:
    engine = CountingEngine(completion_tokens=1000, prompt_tokens=50)
    metrics = Metrics(ModelPool.of({"a": engine}))
    engine.meter.observe_step(10.0, num_tokens=1, num_sequences=1)
    before = scrape(metrics, 100.0)
    engine.counts = {"completion_tokens": 1300, "prompt_tokens": 90}
    engine.meter.observe_step(0.02, num_tokens=1, num_sequences=1)
    engine.meter.observe_step(0.04, num_tokens=1, num_sequences=1)

    (model,) = status_of(scrape(metrics, 102.0), before).models

    assert (model.generated_tokens_per_s, model.prompt_tokens_per_s) == (150.0, 20.0)
    assert model.step_s == pytest.approx(0.03)


def test_a_median_is_between_the_bounds_of_its_bucket() -> None:
    metrics = Metrics(ModelPool.of({"fake": CountingEngine()}))
    before = scrape(metrics, 0.0)
    metrics.note(make_record())  # its first token came after half a second

    (model,) = status_of(scrape(metrics, 1.0), before).models

    assert model.first_token_s is not None
    assert 0.25 < model.first_token_s <= 0.5
    assert model.token_gap_s is None


def test_a_model_that_is_not_loaded_has_one_line() -> None:
    loads = Loads()
    pool = ModelPool([loads.source("a"), loads.source("b")])
    pool.start("b")
    metrics = Metrics(pool)

    status = status_of(scrape(metrics, 1.0), scrape(metrics, 0.0))
    assert [(model.model, model.awake) for model in status.models] == [("a", False), ("b", True)]
    assert "not loaded, 0 requests wait for it" in printed(status)


def test_a_restarted_server_has_no_negative_rates() -> None:
    metrics = Metrics(ModelPool.of({"a": CountingEngine(completion_tokens=5)}))
    before = scrape(Metrics(ModelPool.of({"a": CountingEngine(completion_tokens=1000)})), 0.0)

    assert status_of(scrape(metrics, 1.0), before).models[0].generated_tokens_per_s == 5


def test_ratios_cover_all_requests_since_the_start() -> None:
    engine = CountingEngine(lookup_tokens=200, hit_tokens=50, drafts=8, accepted_drafts=6)
    now = scrape(Metrics(ModelPool.of({"a": engine})), 0.0)

    (model,) = status_of(now, now).models

    assert (model.prefix_hit_rate, model.draft_acceptance) == (0.25, 0.75)


def test_the_output() -> None:
    assert printed(STATUS) == (
        "crossette 1.2.3: 1.5 GiB of memory, 12 requests, 1 errors\n"
        "smollm2\n"
        " streams       3 running, 2 waiting\n"
        " speed         81.2 tokens/s, prompts 400.0 tokens/s\n"
        " latency       first token 1.50 s, between tokens - (medians)\n"
        " step          25.0 ms (mean), 4 preemptions so far\n"
        " KV cache      50 of 200 blocks (25%), 256.0 MiB\n"
        " prefix cache  80 blocks, 50% of prompt tokens found\n"
        " draft tokens  - accepted"
    )


def test_a_stalled_engine_is_shown_in_capitals() -> None:
    engine = CountingEngine(running=1, stalled=True)
    now = scrape(Metrics(ModelPool.of({"a": engine})), 0.0)

    assert "STALLED" in printed(status_of(now, now))


# --- from a server ---


def shown(server: ApiServer, *, as_json: bool = False) -> str:
    """The output of `--once`, after an interval in which the server handles a request."""
    console = Console(file=io.StringIO(), width=100)
    body = {"model": "fake", "prompt": say("Hello"), "max_tokens": 50}

    def sleep(seconds: float) -> None:
        server.post("/v1/completions", body)

    with closing(MetricsPage(server.root + "/v1")) as page:
        show(page, console, once=True, as_json=as_json, interval_s=1.0, sleep=sleep)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]  # the StringIO above
    return text


@pytest.mark.slow
def test_once_shows_what_happened_in_an_interval() -> None:
    with serving(FakeEngine(parrot)) as server:
        text = shown(server)

    assert "fake" in text
    assert "0 running, 0 waiting" in text
    assert "speed         0.0 tokens/s" not in text


@pytest.mark.slow
def test_once_as_json_is_one_line_for_a_script() -> None:
    with serving(FakeEngine(parrot)) as server:
        (line,) = shown(server, as_json=True).splitlines()

    status = json.loads(line)
    assert status["errors"] == 0
    assert (status["models"][0]["model"], status["models"][0]["waiting"]) == ("fake", 0)
    assert status["models"][0]["generated_tokens_per_s"] > 0


@pytest.mark.slow
def test_ctrl_c_ends_it_quietly() -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    console = Console(file=io.StringIO())
    with serving() as server, closing(MetricsPage(server.root)) as page:
        show(page, console, once=False, as_json=False, interval_s=1.0, sleep=interrupted)

    assert console.file.getvalue() == ""  # type: ignore[attr-defined]  # the StringIO above


def test_an_unreachable_server_is_an_error_of_one_sentence() -> None:
    with closing(MetricsPage("127.0.0.1:1")) as page, pytest.raises(StatusFailed, match="Is the server running"):
        page.read()


def test_the_servers_error_for_a_key_without_permission_is_shown() -> None:
    with (
        serving(callers={"k": Caller("key-a", "alice")}) as server,
        closing(MetricsPage(server.root, "k")) as page,
        pytest.raises(StatusFailed, match=r"returned 403: Only an admin key may read metrics\. Ask the administrator"),
    ):
        page.read()


@pytest.mark.slow
def test_requests_for_health_and_metrics_are_not_counted() -> None:
    with serving(FakeEngine(parrot)) as server, closing(MetricsPage(server.root)) as page:
        server.post("/v1/completions", {"model": "fake", "prompt": "Hi", "max_tokens": 1})
        before = page.read()
        for path in ("/health/live", "/health/ready", "/metrics"):
            assert httpx.get(server.root + path).status_code == 200
        now = page.read()
        counted = "crossette_http_requests_total"

        assert now.total(counted) - before.total(counted) >= 3
        assert status_of(now, before).requests == status_of(before, before).requests


@pytest.mark.parametrize("text", ["", "<html>a page</html>", "other_metric 1\n"])
def test_a_page_of_another_program_is_rejected(text: str) -> None:
    with pytest.raises((ValueError, LookupError)):
        Scrape(text, 0.0)


@pytest.mark.slow
def test_the_command_prints_a_status() -> None:
    with serving(FakeEngine(parrot)) as server:
        command = [sys.executable, "-m", "crossette", "status", "--url", server.root, "--once", "--interval", "0.1"]
        ended = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["models"][0]["model"] == "fake"
