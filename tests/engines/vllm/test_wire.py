"""Decoding of what a real vLLM has answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.engines.vllm import wire
from crossette.engines.vllm.server import VERSIONS
from crossette.engines.vllm.wire import EventReader, decode
from support.record_vllm import RECORDINGS

RECORDED: dict[str, Any] = json.loads(RECORDINGS.read_text(encoding="utf-8"))


def stream_of(name: str) -> bytes:
    return "".join(f"{event}\n\n" for event in RECORDED[name]["events"]).encode()


def read(stream: bytes, cuts: list[int]) -> list[bytes]:
    reader = EventReader()
    events: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += reader.feed(stream[start:end])
    return events


def test_the_recorded_version_is_known() -> None:
    assert RECORDED["version"]["version"].rpartition(".")[0] in VERSIONS


@pytest.mark.parametrize("name", ["stream", "stream_with_logprobs", "grammar", "too_long", "refused_grammar"])
@given(data=st.data())
def test_a_stream_is_the_same_however_it_is_cut(name: str, data: st.DataObject) -> None:
    stream = stream_of(name)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))

    assert read(stream, cuts) == [event.removeprefix("data: ").encode() for event in RECORDED[name]["events"]]


def test_a_stream_ends_with_its_finish_reason_then_counts() -> None:
    *messages, usage = [decode(event) for event in read(stream_of("stream"), [])[:-1]]

    assert [len(message.choices[0].token_ids or ()) for message in messages] == [1, 1, 1]
    assert [message.choices[0].finish_reason for message in messages] == [None, None, "length"]
    assert (usage.choices, usage.cached_tokens) == ([], 0)


def test_a_grammar_ends_with_stop_and_the_end_token() -> None:
    messages = [decode(event) for event in read(stream_of("grammar"), [])[:-1]]
    tokens = [token for message in messages for choice in message.choices for token in choice.token_ids or ()]

    assert bytes(tokens[:-1]).decode().startswith("ab")
    assert (len(tokens), tokens[-1], messages[-2].choices[0].finish_reason) == (6, 257, "stop")


@pytest.mark.parametrize(("name", "message"), [("too_long", "is longer than"), ("refused_grammar", "Grammar error")])
def test_an_error_in_a_stream_has_a_status(name: str, message: str) -> None:
    error = decode(read(stream_of(name), [])[0]).error

    assert error is not None
    assert error.code == 400
    assert message in error.message


def test_logprobs_have_as_many_alternatives_as_requested() -> None:
    answer = decode(json.dumps(RECORDED["whole"]["body"]).encode())
    prompt = tuple(RECORDED["whole"]["request"]["token_ids"])

    (choice,) = answer.choices
    for num_top in (0, 1, 2):
        generated = wire.logprobs(choice, num_top)
        scored = wire.prompt_logprobs(answer, prompt, num_top)
        assert [one.token_id for one in generated] == choice.token_ids
        assert tuple(one.token_id for one in scored) == prompt[1:]
        for one in (*generated, *scored):
            assert len(one.top) == num_top
            assert sorted(one.top, key=lambda pair: -pair[1]) == list(one.top)


def test_a_token_that_is_not_among_the_most_likely_is_not_an_alternative() -> None:
    answer = decode(json.dumps(RECORDED["whole"]["body"]).encode())
    prompt = tuple(RECORDED["whole"]["request"]["token_ids"])

    first = wire.prompt_logprobs(answer, prompt, 2)[0]

    assert first.logprob < min(value for _, value in first.top)
    assert first.token_id not in dict(first.top)
