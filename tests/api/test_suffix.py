"""POST /completions with a suffix: the text of a gap, from models that were trained to fill one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import END_OF_TEXT, FakeTokenizer
from crossette.types import GenerationRequest
from support.api_server import ApiServer, serving

MARKS = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>")
FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE, FIM_PAD = range(END_OF_TEXT + 1, END_OF_TEXT + 5)


class GapTokenizer(FakeTokenizer):
    """The fake one, with StarCoder's marks behind its control tokens."""

    def encode(self, text: str, *, specials: bool) -> list[int]:
        for place, mark in enumerate(MARKS):
            before, found, behind = text.partition(mark)
            if specials and found:
                head, tail = self.encode(before, specials=True), self.encode(behind, specials=True)
                return [*head, FIM_PREFIX + place, *tail]
        return super().encode(text, specials=specials)

    def token_text(self, token_id: int) -> bytes:
        return MARKS[token_id - FIM_PREFIX].encode() if token_id >= FIM_PREFIX else super().token_text(token_id)


@pytest.fixture(scope="module")
def asked() -> list[GenerationRequest]:
    return []


@pytest.fixture(scope="module")
def filler(asked: list[GenerationRequest]) -> Iterator[ApiServer]:
    """A server whose model fills every gap with the same words, and then says its pad token."""

    def fill(request: GenerationRequest, index: int) -> list[int]:
        asked.append(request)
        return [*b"the middle", FIM_PAD, *b"never"]

    engine = FakeEngine(fill, tokenizer=GapTokenizer(add_bos=True))
    engine.info = replace(engine.info, vocab_size=FIM_PAD + 1)
    with serving(engine) as server:
        yield server


def ask(api: ApiServer, prefix: str, **sent: object) -> Any:
    answer = api.post(f"{prefix}/completions", {"model": "fake", "prompt": "A", "max_tokens": 50, **sent})
    return answer.json()


def test_the_prompt_is_what_the_model_knows_with_one_bos_and_its_filling_is_the_text(
    filler: ApiServer, asked: list[GenerationRequest], prefix: str
) -> None:
    raw = ask(filler, prefix, suffix="B")

    assert asked[-1].prompt == (END_OF_TEXT, FIM_PREFIX, ord("A"), FIM_SUFFIX, ord("B"), FIM_MIDDLE)
    assert (raw["choices"][0]["text"], raw["choices"][0]["finish_reason"]) == ("the middle", "stop")


def test_each_of_several_prompts_has_the_gap(filler: ApiServer, asked: list[GenerationRequest], prefix: str) -> None:
    ask(filler, prefix, prompt=["x", "y"], suffix="B")

    assert {request.prompt[2] for request in asked[-2:]} == {ord("x"), ord("y")}


@pytest.mark.parametrize("suffix", [None, ""])
def test_no_suffix_is_no_gap(
    filler: ApiServer, asked: list[GenerationRequest], prefix: str, suffix: str | None
) -> None:
    ask(filler, prefix, suffix=suffix)

    assert asked[-1].prompt == (END_OF_TEXT, ord("A"))
    assert FIM_PAD not in asked[-1].end_token_ids


@pytest.mark.parametrize("sent", [{"prompt": [1, 2]}, {"prompt": [[1], [2]]}, {"echo": True}, {"echo_last": 1}])
def test_what_makes_no_sense_with_a_gap_is_refused(filler: ApiServer, prefix: str, sent: dict[str, object]) -> None:
    assert ask(filler, prefix, suffix="B", **sent)["error"]["param"] == "suffix"


def test_a_model_that_fills_no_gaps_says_so(api: ApiServer, prefix: str) -> None:
    answer = api.post(f"{prefix}/completions", {"model": "fake", "prompt": "A", "suffix": "B"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "suffix")
    assert "trained to fill in the middle" in answer.json()["error"]["message"]
