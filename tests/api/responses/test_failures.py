"""Failures while a response is written, and before it began."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from crossette.testing.fake_engine import FakeEngine
from crossette.types import GenerationRequest
from support.api_server import ApiServer, serving
from support.response_events import accumulated, response_events


class Breaking(FakeEngine):
    """It fails after `num_tokens` tokens."""

    def __init__(self, num_tokens: int) -> None:
        super().__init__(self._say)
        self._num_tokens = num_tokens

    def _say(self, request: GenerationRequest, index: int) -> Iterator[int]:
        yield from b"Half an answer"[: self._num_tokens]
        self.fail_next_step(RuntimeError("as the test asked"))
        yield from b"more"


def test_a_failure_after_the_first_token_is_a_failed_response(prefix: str) -> None:
    with serving(Breaking(4)) as api:
        answer = api.post(f"{prefix}/responses", {"model": "fake", "input": "Hi", "stream": True})
        raw = accumulated(response_events(answer.content))

        assert raw["status"] == "failed"
        assert raw["error"]["code"] == "server_error"
        assert "engine failed" in raw["error"]["message"]
        (item,) = raw["output"]
        assert item["status"] == "incomplete"
        assert item["content"][0]["text"].startswith("Half")
        api.wait_until_idle()


def test_the_sdk_reads_the_failure(prefix: str) -> None:
    with serving(Breaking(4)) as api:
        sdk: OpenAI = api.sdk(prefix)
        events = list(sdk.responses.create(model="fake", input="Hi", stream=True))

    assert events[-1].type == "response.failed"


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_before_the_first_token_has_its_own_status(api: ApiServer, prefix: str, stream: bool) -> None:
    api.engine.fail_next_step(RuntimeError("as the test asked"))
    answer = api.post(f"{prefix}/responses", {"model": "fake", "input": "Hi", "stream": stream})

    assert answer.status_code == 500
    assert answer.json()["error"]["message"]


def test_a_failure_after_the_status_and_before_the_first_token_is_an_error_event(prefix: str) -> None:
    with serving(first_byte_timeout=0) as api:
        api.engine.pause()
        with api.http.stream(
            "POST", api.url(f"{prefix}/responses"), json={"model": "fake", "input": "Hi", "stream": True}
        ) as answer:
            api.engine.fail_next_step(RuntimeError("as the test asked"))
            api.engine.resume()
            stream = answer.read()

    (event,) = response_events(stream)
    assert (answer.status_code, event["type"]) == (200, "error")
    assert event.keys() == {"type", "sequence_number", "code", "message", "param"}
