"""Sampling fields of both endpoints reach the engine unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from crossette.testing.fake_engine import FakeEngine
from crossette.types import GenerationRequest, SamplingParams
from support.api_server import ApiServer, serving

SENT: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.1,
    "typical_p": 0.8,
    "mirostat_target": 3.0,
    "mirostat_lr": 0.2,
    "repetition_penalty": 1.1,
    "frequency_penalty": 0.5,
    "presence_penalty": -0.5,
    "min_tokens": 3,
    "seed": 7,
    "ignore_eos": True,
}


@pytest.fixture(scope="module")
def received() -> list[GenerationRequest]:
    return []


@pytest.fixture(scope="module")
def recorder(received: list[GenerationRequest]) -> Iterator[ApiServer]:
    """A server whose engine records its requests."""

    def remember(request: GenerationRequest, index: int) -> bytes:
        received.append(request)
        return b"ok"

    with serving(FakeEngine(remember)) as server:
        yield server


@pytest.fixture(params=["completions", "chat/completions"])
def path(request: pytest.FixtureRequest, prefix: str) -> str:
    return f"{prefix}/{request.param}"


def send(server: ApiServer, path: str, **fields: object) -> tuple[int, str | None]:
    messages = [{"role": "user", "content": "a"}]
    body = {"model": "fake", "max_tokens": 20, **({"messages": messages} if "chat" in path else {"prompt": "a"})}
    answer = server.post(path, body | fields)
    return answer.status_code, None if answer.status_code == 200 else answer.json()["error"]["param"]


def test_every_sampling_field_reaches_the_engine(
    recorder: ApiServer, received: list[GenerationRequest], path: str
) -> None:
    assert send(recorder, path, **SENT, logit_bias={"104": -100, "7": 1.5}) == (200, None)

    assert received[-1].sampling == SamplingParams(20, **SENT, logit_bias=((104, -100.0), (7, 1.5)))


def test_null_is_the_same_as_leaving_a_field_out(
    recorder: ApiServer, received: list[GenerationRequest], path: str
) -> None:
    assert send(recorder, path, **dict.fromkeys([*SENT, "logit_bias", "prediction", "speculation"])) == (200, None)

    assert received[-1].sampling == SamplingParams(20)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frequency_penalty", 2.5),
        ("presence_penalty", -3),
        ("repetition_penalty", 2.1),
        ("typical_p", 1.5),
        ("mirostat_lr", 2),
        ("min_tokens", -1),
        *(("logit_bias", {text: 1}) for text in ("x", "", "6_5", " 65", "65 ", "+65", "-65", "-0", "065", "6.5e1")),
        *(("logit_bias", {text: 1}) for text in ("\u0666\u0665", "\uff16\uff15", "65\n", "0x41", "9" * 5000)),
    ],
)
def test_values_out_of_range_are_rejected_by_name(recorder: ApiServer, path: str, name: str, value: object) -> None:
    assert send(recorder, path, **{name: value}) == (400, name)


@pytest.mark.parametrize(
    "fields",
    [
        {"prediction": {"type": "content", "content": "hey"}},
        {"prediction": {"type": "content", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "ey"}]}},
        {"prediction": "hey"},
        {"speculation": "hey"},
        {"speculation": [104, 101, 121]},
    ],
)
def test_a_prediction_reaches_the_engine_as_tokens(
    recorder: ApiServer, received: list[GenerationRequest], path: str, fields: dict[str, object]
) -> None:
    assert send(recorder, path, **fields) == (200, None)

    assert received[-1].prediction == tuple(b"hey")


def test_both_names_of_a_prediction_at_once_are_rejected(recorder: ApiServer, path: str) -> None:
    assert send(recorder, path, prediction="a", speculation="b") == (400, "speculation")
