"""The limits of a key over HTTP: 429, `retry-after`, and the headers of each dialect."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import httpx
import openai
import pytest

from crossette.accounts.access import Caller, Limits
from crossette.accounts.key_accounts import LocalAccounts
from crossette.accounts.limits import Limiter
from crossette.api.guards.admission import AdmissionController
from crossette.api.guards.rate_limit_headers import duration
from crossette.errors import Overloaded
from crossette.testing.fake_engine import FakeEngine
from support.api_server import DIALECTS, LIMIT_S, PREFIXES, ApiServer, has, parrot, say, serving
from support.ledger_entries import InMemoryLedger

KEY = {"authorization": "Bearer key"}
TEXT = say("0123456789")
"""A prompt of 15 tokens, answered with 10."""
BODY: dict[str, Any] = {"model": "fake", "prompt": TEXT, "max_tokens": 50}


class Clock:
    """A clock that moves only when the test sets it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def limited(
    clock: Clock | None = None,
    *,
    engine: FakeEngine | None = None,
    used: Mapping[str, int] | None = None,
    ledger: InMemoryLedger | None = None,
    **limits: int,
) -> Iterator[ApiServer]:
    now = clock or Clock()
    limiter = Limiter(ledger.used_tokens if ledger else lambda key_id: (used or {})[key_id])
    callers = {"key": Caller("id-1", "a key", limits=Limits(**limits))}
    with serving(
        engine, callers=callers, ledger=ledger, admissions=AdmissionController(LocalAccounts(limiter, now), now=now)
    ) as api:
        yield api


def limit_headers(answer: httpx.Response) -> dict[str, str]:
    """The rate limit headers."""
    return {name: value for name, value in answer.headers.items() if name.startswith(("x-ratelimit", "retry"))}


def test_without_limits_only_fireworks_has_a_header(api: ApiServer) -> None:
    openai, fireworks = (api.post(f"{prefix}/completions", BODY) for prefix in PREFIXES)

    assert limit_headers(openai) == {}
    assert limit_headers(fireworks) == {"x-ratelimit-over-limit": "no"}


@pytest.mark.parametrize("path", ["/models", "/nothing"])
def test_paths_without_limits_have_no_limit_headers(prefix: str, path: str) -> None:
    with limited(requests_per_minute=1) as api:
        assert limit_headers(api.get(prefix + path, KEY)) == {}


def test_a_request_limit_is_a_429_with_retry_after(prefix: str) -> None:
    clock = Clock()
    with limited(clock, requests_per_minute=8) as api:
        statuses = [api.post(f"{prefix}/completions", BODY, KEY).status_code for _ in range(8)]
        clock.now += 0.25
        refused = api.post(f"{prefix}/completions", BODY, KEY)
        clock.now += 7.25
        again = api.post(f"{prefix}/completions", BODY, KEY)
        others = api.post(f"{prefix}/completions", BODY)

    error = refused.json()["error"]
    assert statuses == [200] * 8
    assert (refused.status_code, error["type"], error["code"]) == (429, *DIALECTS[prefix].errors["rate_limited"])
    assert (refused.headers["retry-after"], refused.headers["retry-after-ms"]) == ("8", "7250")
    assert (again.status_code, others.status_code) == (200, 200)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_openai_headers_have_requests_and_the_scarcest_tokens(streamed: bool) -> None:
    with limited(requests_per_minute=60, prompt_tokens_per_minute=1500, generated_tokens_per_minute=6000) as api:
        answer = api.post("/v1/completions", BODY | {"stream": streamed}, KEY)

    assert limit_headers(answer) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "1500",
        "x-ratelimit-remaining-tokens": "1485",
        "x-ratelimit-reset-tokens": "600ms",
    }


def test_fireworks_headers_have_each_kind_of_token_per_second() -> None:
    with limited(
        requests_per_minute=60,
        prompt_tokens_per_minute=1500,
        cached_tokens_per_minute=100,
        generated_tokens_per_minute=6000,
    ) as api:
        answer = api.post("/inference/v1/completions", BODY, KEY)

    assert limit_headers(answer) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-limit-tokens-prompt": "25",
        "x-ratelimit-remaining-tokens-prompt": "1485",
        "x-ratelimit-limit-tokens-cached-prompt": "1.67",
        "x-ratelimit-remaining-tokens-cached-prompt": "100",
        "x-ratelimit-limit-tokens-generated": "100",
        "x-ratelimit-remaining-tokens-generated": "5990",
        "x-ratelimit-over-limit": "no",
    }


def test_fireworks_headers_state_when_a_limit_is_exceeded() -> None:
    with limited(prompt_tokens_per_minute=20) as api:
        answers = [api.post("/inference/v1/completions", BODY, KEY) for _ in range(2)]

    assert [answer.headers["x-ratelimit-over-limit"] for answer in answers] == ["no", "yes"]
    assert answers[1].headers["x-ratelimit-remaining-tokens-prompt"] == "5"
    assert "The prompt has 15 tokens" in answers[1].json()["error"]["message"]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_generated_tokens_are_charged_at_the_end(prefix: str, streamed: bool) -> None:
    clock = Clock()
    with limited(clock, generated_tokens_per_minute=6) as api:
        first = api.post(f"{prefix}/completions", BODY | {"stream": streamed}, KEY)
        refused = api.post(f"{prefix}/completions", BODY, KEY)
        clock.now += 50
        again = api.post(f"{prefix}/completions", BODY, KEY)

    assert (first.status_code, refused.status_code, again.status_code) == (200, 429, 200)
    assert refused.headers["retry-after-ms"] == "50000"  # four of debt and one for the next request, at six a minute


def test_a_disconnected_request_is_charged_for_its_generated_tokens(prefix: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with limited(engine=engine, generated_tokens_per_minute=60) as api:
        connection = _begin(api, f"{prefix}/completions")
        engine.wait_for(has(waiting=1))
        for steps in (1, 2, 3):
            engine.step()
            engine.wait_for(has(steps=steps))
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        connection.close()
        api.wait_until_idle()
        engine.resume()
        later = api.post(f"{prefix}/completions", BODY | {"prompt": say("")}, KEY)

    assert "57" in limit_headers(later).values()


def test_concurrent_requests_are_limited_and_every_end_frees_a_slot(prefix: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with limited(engine=engine, concurrent_requests=2) as api:
        running = [_begin(api, f"{prefix}/completions") for _ in range(2)]
        engine.wait_for(has(waiting=2))
        refused = api.post(f"{prefix}/completions", BODY, KEY)
        running[0].close()
        engine.wait_for(has(waiting=1))
        engine.resume()
        answers = (api.post(f"{prefix}/completions", BODY, KEY) for _ in range(1000))
        again = next(answer for answer in answers if answer.status_code != 429)  # the engine is done a moment earlier
        running[1].close()

    assert (refused.status_code, refused.headers["retry-after"], again.status_code) == (429, "1", 200)
    assert "2 requests of this key are in flight" in refused.json()["error"]["message"]


def _begin(api: ApiServer, path: str, fields: Mapping[str, Any] = BODY | {"stream": True}) -> Any:
    connection = api.connect()
    body = json.dumps(fields).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer key\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def test_a_spent_budget_is_a_429_that_is_not_retried(prefix: str) -> None:
    with limited(used={"id-1": 1000}, total_tokens=1000) as api:
        refused = api.post(f"{prefix}/completions", BODY, KEY)

    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["code"]) == (429, *DIALECTS[prefix].errors["budget_spent"])
    assert (refused.headers["x-should-retry"], "retry-after" in refused.headers) == ("false", False)
    assert "budget of this key is 1000 tokens, and 1000 are used" in error["message"]


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_concurrent_requests_do_not_exceed_a_budget(prefix: str, streamed: bool) -> None:
    ledger = InMemoryLedger()
    with limited(ledger=ledger, total_tokens=100) as api, ThreadPoolExecutor(12) as clients:
        body = BODY | {"prompt": say("x" * 12), "max_tokens": 12, "stream": streamed}
        statuses = list(clients.map(lambda _: api.post(f"{prefix}/completions", body, KEY).status_code, range(12)))

    assert set(statuses) == {200, 429}
    assert ledger.used_tokens("id-1") <= 100


def test_an_answer_without_max_tokens_ends_with_the_budget(prefix: str) -> None:
    chat = {"model": "fake", "messages": [{"role": "user", "content": say("x" * 500)}]}
    with limited(used={"id-1": 400}, total_tokens=1000) as api:
        answer = api.post(f"{prefix}/chat/completions", chat, KEY).json()
        refused = api.post(f"{prefix}/chat/completions", chat | {"max_tokens": 500}, KEY)

    usage = answer["usage"]
    assert (usage["total_tokens"], answer["choices"][0]["finish_reason"]) == (600, "length")
    assert (refused.status_code, refused.headers["x-should-retry"]) == (429, "false")
    assert "Send a smaller max_tokens" in refused.json()["error"]["message"]


def test_several_answers_share_the_rest_of_a_budget(prefix: str) -> None:
    chat = {"model": "fake", "messages": [{"role": "user", "content": say("x" * 500)}], "n": 3}
    with limited(used={"id-1": 0}, total_tokens=1000) as api:
        answer = api.post(f"{prefix}/chat/completions", chat, KEY).json()
        refused = api.post(f"{prefix}/chat/completions", chat | {"max_tokens": 200}, KEY)

    assert 1000 - 3 < answer["usage"]["total_tokens"] <= 1000
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["length"] * 3
    assert refused.status_code == 429


def test_a_request_enters_the_concurrency_limit_before_its_body_is_read(prefix: str) -> None:
    """Otherwise a caller could hold any number of bodies in memory."""
    with limited(concurrent_requests=1) as api:
        with api.connect() as connection:
            head = f"POST {prefix}/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer key\r\n"
            connection.sendall(f"{head}expect: 100-continue\r\ncontent-length: 1000\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
            refused = api.post(f"{prefix}/completions", BODY, KEY)
        answers = (api.post(f"{prefix}/completions", BODY, KEY) for _ in range(1000))
        again = next(answer for answer in answers if answer.status_code != 429)

    assert (refused.status_code, again.status_code) == (429, 200)


def test_an_invalid_request_counts_against_the_limit_and_a_rate_limited_one_does_not(prefix: str) -> None:
    with limited(requests_per_minute=4, prompt_tokens_per_minute=15) as api:
        wrong = api.post(f"{prefix}/completions", BODY | {"temperature": 9}, KEY)
        first = api.post(f"{prefix}/completions", BODY, KEY)
        refused = [api.post(f"{prefix}/completions", BODY, KEY) for _ in range(5)]

    left = "x-ratelimit-remaining-requests"
    assert (wrong.status_code, first.status_code, {answer.status_code for answer in refused}) == (400, 200, {429})
    assert [answer.headers[left] for answer in (wrong, first, refused[-1])] == ["3", "2", "2"]


def test_a_request_that_the_engine_rejects_is_not_charged_for_its_prompt(prefix: str) -> None:
    with limited(prompt_tokens_per_minute=6000) as api:
        refused = api.post(f"{prefix}/completions", BODY | {"prompt": "x" * 5000}, KEY)
        answer = api.post(f"{prefix}/completions", BODY, KEY)

    assert refused.status_code == 400
    assert "5985" in limit_headers(answer).values()


def test_a_request_rejected_by_a_full_queue_does_not_count(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> None:
        raise Overloaded("Too many wait.", retry_after=1)

    with limited(requests_per_minute=1) as api:
        with monkeypatch.context() as patch:
            patch.setattr(api.app.services.grammars.workers, "run", full)
            refused = [api.post(f"{prefix}/completions", BODY | {"guided_regex": "a"}, KEY) for _ in range(3)]
        answered = api.post(f"{prefix}/completions", BODY, KEY)

    assert [*(one.status_code for one in refused), answered.status_code] == [503, 503, 503, 200]


def test_a_request_that_disconnects_in_the_queue_is_not_charged(prefix: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with limited(engine=engine, prompt_tokens_per_minute=6000) as api:
        with closing(_begin(api, f"{prefix}/completions")):
            engine.wait_for(has(waiting=1))
        api.wait_until_idle()
        engine.resume()
        answer = api.post(f"{prefix}/completions", BODY, KEY)

    assert "5985" in limit_headers(answer).values()


@pytest.mark.parametrize("fields", [{}, {"n": 2}, {"best_of": 3, "stream": False}], ids=["one", "n", "best_of"])
def test_a_disconnect_is_charged_for_the_prompts_that_had_started(prefix: str, fields: dict[str, Any]) -> None:
    engine = FakeEngine(parrot, max_sequences=1)
    engine.pause()
    ledger, body = InMemoryLedger(), BODY | {"prompt": [TEXT, TEXT + "x", TEXT + "xx"], "stream": True} | fields
    with limited(engine=engine, ledger=ledger, prompt_tokens_per_minute=6000, total_tokens=10_000) as api:
        with closing(_begin(api, f"{prefix}/completions", body)):
            engine.wait_for(has(waiting=3 * (fields.get("best_of") or fields.get("n", 1))))
            engine.step()
            engine.wait_for(has(steps=1))
        api.wait_until_idle()
        api.observed.wait_for(1)
        engine.resume()
        answer = api.post(f"{prefix}/completions", BODY, KEY)
        api.observed.wait_for(2)
        given_up = ledger.entries[0]
        page = api.get("/metrics").text

    assert given_up.status == 499
    assert given_up.usage.prompt_tokens == 15
    assert "5970" in limit_headers(answer).values()
    assert 'crossette_prompt_tokens_total{model="fake"} 30.0' in page


def test_a_request_over_the_limit_is_rejected_before_its_body(prefix: str) -> None:
    """It is rejected before anything is read, parsed or encoded."""
    with limited(requests_per_minute=1) as api:
        api.post(f"{prefix}/completions", BODY, KEY)
        with api.connect() as connection:
            head = f"POST {prefix}/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer key\r\n"
            connection.sendall(f"{head}content-length: 1000\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 429 ")


@pytest.mark.slow
def test_the_sdk_waits_for_retry_after_and_is_answered(prefix: str) -> None:
    """With the real clock: one retry is enough, so `retry-after` is accurate."""
    callers = {"key": Caller("id-1", "a key", limits=Limits(requests_per_minute=600, generated_tokens_per_minute=600))}
    with (
        serving(callers=callers) as api,
        openai.OpenAI(base_url=api.url(prefix), api_key="key", max_retries=1, timeout=LIMIT_S) as sdk,
    ):
        for _ in range(2):  # the first leaves a debt of one token, at a rate of ten a second
            answer = sdk.completions.create(model="fake", prompt=say("x" * 601), max_tokens=601)
            assert answer.usage is not None
            assert answer.usage.completion_tokens == 601


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0169, "17ms"),
        (1, "1s"),
        (8.64, "8.64s"),
        (60, "1m0s"),
        (360, "6m0s"),
        (3723.5, "1h2m3.5s"),
        (float("inf"), "0s"),
    ],
)
def test_durations_are_in_openais_notation(seconds: float, text: str) -> None:
    assert duration(seconds) == text
