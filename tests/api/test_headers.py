"""Response headers of each dialect: counts, times and sampling options."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from crossette.testing.fake_engine import FakeEngine
from support.api_server import ApiServer, has, parrot, say, serving

ENDPOINTS = ("completions", "chat/completions")
OURS = ("fireworks-", "openai-")


@pytest.fixture(params=ENDPOINTS)
def endpoint(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def make_body(endpoint: str, **sent: object) -> dict[str, object]:
    prompt: dict[str, object] = (
        {"messages": [{"role": "user", "content": say("Hello")}]}
        if endpoint == "chat/completions"
        else {"prompt": say("Hello")}
    )
    return {"model": "fake", "max_tokens": 50, **prompt, **sent}


def perf_headers(answer: httpx.Response) -> dict[str, str]:
    """The performance headers."""
    return {name: value for name, value in answer.headers.items() if name.startswith(OURS)}


def test_fireworks_headers_have_the_counts_and_seconds_of_the_body(api: ApiServer, endpoint: str) -> None:
    answer = api.post(
        f"/inference/v1/{endpoint}", make_body(endpoint, perf_metrics_in_response=True, prediction="Help")
    )

    headers = perf_headers(answer)
    del headers["fireworks-sampling-options"]
    metrics: dict[str, Any] = answer.json()["perf_metrics"]
    assert headers == {f"fireworks-{name}": str(value) for name, value in metrics.items()}
    assert {"fireworks-prompt-tokens", "fireworks-server-processing-time"} < headers.keys()


def test_openai_headers_have_milliseconds(api: ApiServer, endpoint: str) -> None:
    for streamed in (False, True):
        headers = perf_headers(api.post(f"/v1/{endpoint}", make_body(endpoint, stream=streamed)))
        assert headers.keys() == {"openai-processing-ms"}
        assert headers["openai-processing-ms"].isdecimal()


def test_fireworks_headers_have_the_effective_sampling_options(api: ApiServer, endpoint: str) -> None:
    sent = {"temperature": 0.5, "top_k": 40, "seed": 3, "frequency_penalty": -1, "logit_bias": {"5": 1}}
    answer = api.post(f"/inference/v1/{endpoint}", make_body(endpoint, **sent))

    assert json.loads(answer.headers["fireworks-sampling-options"]) == {
        "max_tokens": 50,
        "temperature": 0.5,
        "top_k": 40,
        "top_p": 1.0,
        "min_p": 0.0,
        "typical_p": 1.0,
        "mirostat_target": None,
        "mirostat_lr": 0.1,
        "repetition_penalty": 1.0,
        "frequency_penalty": -1,
        "presence_penalty": 0.0,
        "min_tokens": 0,
        "seed": 3,
    }


def test_a_large_logit_bias_is_not_in_a_header(api: ApiServer) -> None:
    bias = {str(token): 1 for token in range(259)}
    answer = api.post("/inference/v1/completions", make_body("completions", logit_bias=bias))

    assert len(answer.headers["fireworks-sampling-options"]) < 500


def test_stream_headers_have_what_is_known_at_the_first_token(api: ApiServer, endpoint: str) -> None:
    headers = perf_headers(api.post(f"/inference/v1/{endpoint}", make_body(endpoint, stream=True)))

    assert headers.keys() == {
        "fireworks-prompt-tokens",
        "fireworks-cached-prompt-tokens",
        "fireworks-prefill-queue-duration",
        "fireworks-server-time-to-first-token",
        "fireworks-sampling-options",
    }


def test_stream_headers_of_several_prompts_omit_what_is_known_only_at_the_end(api: ApiServer) -> None:
    body = make_body("completions", prompt=[say("a"), say("b")])
    streamed = perf_headers(api.post("/inference/v1/completions", body | {"stream": True}))
    whole = perf_headers(api.post("/inference/v1/completions", body))

    known_later = {"fireworks-cached-prompt-tokens", "fireworks-prefill-queue-duration"}
    assert known_later.isdisjoint(streamed)
    assert known_later < whole.keys()


def test_stream_headers_before_the_first_token_omit_what_is_unknown(endpoint: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with (
        serving(engine, first_byte_timeout=0.01) as api,
        api.http.stream("POST", api.url(f"/inference/v1/{endpoint}"), json=make_body(endpoint, stream=True)) as answer,
    ):
        headers = perf_headers(answer)
        engine.wait_for(has(waiting=1))
        engine.resume()
        answer.read()

    assert headers.keys() == {"fireworks-prompt-tokens", "fireworks-sampling-options"}


def test_errors_have_no_performance_headers(api: ApiServer, prefix: str, endpoint: str) -> None:
    for streamed in (False, True):
        answer = api.post(f"{prefix}/{endpoint}", make_body(endpoint, stream=streamed, max_tokens=-1))
        assert (answer.status_code, perf_headers(answer)) == (400, {})
