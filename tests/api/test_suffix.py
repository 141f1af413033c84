"""POST /completions with a suffix: fill in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import END_OF_TEXT, FakeTokenizer
from crossette.types import GenerationRequest
from support.api_server import ApiServer, serving

FIM_TOKENS = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>")
FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE, FIM_PAD = range(END_OF_TEXT + 1, END_OF_TEXT + 5)


class GapTokenizer(FakeTokenizer):
    """The fake tokenizer, with StarCoder's fill-in-the-middle tokens after its special tokens."""

    def encode(self, text: str, *, specials: bool) -> list[int]:
        for index, fim_token in enumerate(FIM_TOKENS):
            before, found, after = text.partition(fim_token)
            if specials and found:
                head, tail = self.encode(before, specials=True), self.encode(after, specials=True)
                return [*head, FIM_PREFIX + index, *tail]
        return super().encode(text, specials=specials)

    def token_text(self, token_id: int) -> bytes:
        return FIM_TOKENS[token_id - FIM_PREFIX].encode() if token_id >= FIM_PREFIX else super().token_text(token_id)


@pytest.fixture(scope="module")
def received() -> list[GenerationRequest]:
    return []


@pytest.fixture(scope="module")
def filler(received: list[GenerationRequest]) -> Iterator[ApiServer]:
    """A server whose model fills every gap with the same text, followed by its pad token."""

    def fill(request: GenerationRequest, index: int) -> list[int]:
        received.append(request)
        return [*b"the middle", FIM_PAD, *b"never"]

    engine = FakeEngine(fill, tokenizer=GapTokenizer(add_bos=True))
    engine.info = replace(engine.info, vocab_size=FIM_PAD + 1)
    with serving(engine) as server:
        yield server


def ask(api: ApiServer, prefix: str, **sent: object) -> Any:
    answer = api.post(f"{prefix}/completions", {"model": "fake", "prompt": "A", "max_tokens": 50, **sent})
    return answer.json()


def test_the_prompt_has_the_models_fill_in_the_middle_format_with_one_bos(
    filler: ApiServer, received: list[GenerationRequest], prefix: str
) -> None:
    raw = ask(filler, prefix, suffix="B")

    assert received[-1].prompt == (END_OF_TEXT, FIM_PREFIX, ord("A"), FIM_SUFFIX, ord("B"), FIM_MIDDLE)
    assert (raw["choices"][0]["text"], raw["choices"][0]["finish_reason"]) == ("the middle", "stop")


def test_each_of_several_prompts_has_the_gap(filler: ApiServer, received: list[GenerationRequest], prefix: str) -> None:
    ask(filler, prefix, prompt=["x", "y"], suffix="B")

    assert {request.prompt[2] for request in received[-2:]} == {ord("x"), ord("y")}


@pytest.mark.parametrize("suffix", [None, ""])
def test_an_empty_suffix_is_no_gap(
    filler: ApiServer, received: list[GenerationRequest], prefix: str, suffix: str | None
) -> None:
    ask(filler, prefix, suffix=suffix)

    assert received[-1].prompt == (END_OF_TEXT, ord("A"))
    assert FIM_PAD not in received[-1].end_token_ids


@pytest.mark.parametrize("sent", [{"prompt": [1, 2]}, {"prompt": [[1], [2]]}, {"echo": True}, {"echo_last": 1}])
def test_fields_that_exclude_a_suffix_are_rejected(filler: ApiServer, prefix: str, sent: dict[str, object]) -> None:
    assert ask(filler, prefix, suffix="B", **sent)["error"]["param"] == "suffix"


def test_a_model_without_fill_in_the_middle_rejects_a_suffix(api: ApiServer, prefix: str) -> None:
    answer = api.post(f"{prefix}/completions", {"model": "fake", "prompt": "A", "suffix": "B"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "suffix")
    assert "trained to fill in the middle" in answer.json()["error"]["message"]
