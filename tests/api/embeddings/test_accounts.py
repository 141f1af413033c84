"""Keys, limits, ledger, log and metrics of requests to embedding models."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from crossette.accounts.access import Caller, Limits
from crossette.accounts.key_accounts import LocalAccounts
from crossette.accounts.limits import Limiter
from crossette.api.guards.admission import AdmissionController
from crossette.api.guards.queue_wait import QueueSettings
from crossette.engine import WaitEstimate
from crossette.types import Usage
from support.api_server import ApiServer, serving
from support.embedders import Embedders, error_of, pool_of
from support.ledger_entries import InMemoryLedger

KEY = {"authorization": "Bearer key"}
BODIES: dict[str, dict[str, Any]] = {
    "/embeddings": {"model": "tiny", "input": ["a", "b c"]},
    "/rerank": {"model": "tiny", "query": "a", "documents": ["b c"]},
}
NUM_TOKENS = 7


@contextmanager
def limited(embedders: Embedders, ledger: InMemoryLedger, **limits: int) -> Iterator[ApiServer]:
    callers = {"key": Caller("id-1", "a key", limits=Limits(**limits))}
    admissions = AdmissionController(LocalAccounts(Limiter(ledger.used_tokens), now=lambda: 0.0), now=lambda: 0.0)
    with serving(pool=pool_of(embedders), callers=callers, ledger=ledger, admissions=admissions) as api:
        yield api


@pytest.mark.parametrize("path", BODIES)
def test_the_ledger_and_the_record(
    embedders: Embedders, prefix: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = InMemoryLedger()
    body = BODIES[path] | {"user": "bob", "metadata": {"team": "blue"}}
    with caplog.at_level(logging.INFO), limited(embedders, ledger) as api:
        api.post(prefix + path, body, KEY).raise_for_status()
        api.observed.wait_for(1)

    (entry,) = ledger.entries
    assert (entry.endpoint, entry.model, entry.status, entry.key_id) == (path, "tiny", 200, "id-1")
    assert (entry.usage, entry.user, entry.metadata) == (Usage(NUM_TOKENS, 0), "bob", {"team": "blue"})
    assert f"tiny {NUM_TOKENS}+0 tokens" in caplog.text
    assert "user='bob'" in caplog.text
    work = api.observed.records[0].work
    assert work is not None
    assert (work.num_choices, work.streamed, work.first_token_s, work.queued_s is None) == (0, False, None, False)


@pytest.mark.parametrize("path", BODIES)
def test_metrics(embedders: Embedders, prefix: str, path: str) -> None:
    with serving(pool=pool_of(embedders)) as api:
        api.post(prefix + path, BODIES[path]).raise_for_status()
        api.observed.wait_for(1)
        page = api.get("/metrics").text

    assert f'crossette_prompt_tokens_total{{model="tiny"}} {NUM_TOKENS}.0' in page
    assert f'crossette_request_duration_seconds_count{{endpoint="{path[1:]}",model="tiny"}} 1.0' in page
    assert 'crossette_steps_total{model="tiny"}' in page


@pytest.mark.parametrize("path", BODIES)
def test_the_limits_of_a_key(embedders: Embedders, prefix: str, path: str) -> None:
    ledger = InMemoryLedger()
    with limited(embedders, ledger, prompt_tokens_per_minute=NUM_TOKENS + 1) as api:
        answers = [api.post(prefix + path, BODIES[path], KEY) for _ in range(2)]
        api.observed.wait_for(2)

    assert [answer.status_code for answer in answers] == [200, 429]
    assert int(answers[1].headers["retry-after"]) > 0
    assert [entry.usage.prompt_tokens for entry in ledger.entries] == [NUM_TOKENS, 0]


@pytest.mark.parametrize("path", BODIES)
def test_the_budget_of_a_key(embedders: Embedders, prefix: str, path: str) -> None:
    ledger = InMemoryLedger()
    with limited(embedders, ledger, total_tokens=NUM_TOKENS) as api:
        statuses = []
        for count in (1, 2):
            statuses.append(api.post(prefix + path, BODIES[path], KEY).status_code)
            api.observed.wait_for(count)

    assert statuses == [200, 429]


@pytest.mark.parametrize("path", BODIES)
def test_a_full_queue(embedders: Embedders, prefix: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = WaitEstimate(waiting=600, has_slot=False, seconds=5, slot_s=0.1)
    monkeypatch.setattr(embedders.tiny, "estimate_wait", lambda: busy)
    with serving(pool=pool_of(embedders), admissions=AdmissionController(queue=QueueSettings(max_waiting=512))) as api:
        status, _, message = error_of(api.post(prefix + path, BODIES[path]))

    assert (status, "600 sequences are waiting" in message) == (503, True)


def test_health(embedders: Embedders) -> None:
    with serving(pool=pool_of(embedders)) as api:
        ready = api.get("/health/ready")

    models = {model["id"]: model for model in ready.json()["models"]}
    assert (ready.status_code, models["tiny"]["stats"]["blocks_total"]) == (200, 0)
