"""Choices that fail a check which no grammar can enforce: sampled again, held until valid, counted in full."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from crossette.engine import Generation
from crossette.errors import OutputMismatch
from crossette.generation.accumulator import collect
from crossette.generation.answer import start
from crossette.generation.attempts import attempt, derived_seed
from crossette.generation.choice import Delta, Stops
from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import IM_END
from crossette.text.output_format import OutputFormat
from crossette.text.output_plan import OutputPlan
from crossette.text.pieces import joined
from crossette.text.schema.validator import JsonValidator
from crossette.types import Constraint, GenerationRequest, Usage
from support.engine_calls import is_empty, make_request, run, settle

ITEMS = {"type": "array", "items": {"type": "integer"}}
UNIQUE = OutputFormat(
    Constraint("json_schema", json.dumps(ITEMS), param="response_format"),
    JsonValidator(ITEMS | {"uniqueItems": True}),
    checked=("/uniqueItems",),
)
PLAN = OutputPlan(constraint=UNIQUE.constraint, output_format=UNIQUE)
PROMPT = "List two numbers."


class Texts(FakeEngine):
    """Generates the given texts, one for each attempt at a choice, and remembers the requests."""

    def __init__(self, *texts: str) -> None:
        self.asked: list[GenerationRequest] = []
        self._texts = texts
        super().__init__(self._attempt)

    def generate(self, request: GenerationRequest) -> Generation:
        self.asked.append(request)
        return super().generate(request)

    def _attempt(self, request: GenerationRequest, index: int) -> bytes:
        parts = request.id.split("-")
        number = int(parts[2]) if len(parts) == 3 else 1
        return self._texts[number - 1].encode()


def ask(*, n: int = 1, temperature: float = 1.0, seed: int | None = 7) -> GenerationRequest:
    request = make_request(PROMPT, n=n, max_tokens=50, end_token_ids=frozenset({IM_END}), ignore_eos=False)
    sampling = replace(request.sampling, temperature=temperature, seed=seed)
    return replace(request, id="r", sampling=sampling)


def texts(engine: Texts, request: GenerationRequest, max_attempts: int = 3) -> tuple[list[str], Usage]:
    async def work() -> tuple[list[str], Usage]:
        answer = start(engine, [request], Stops(), plan=PLAN, max_attempts=max_attempts)
        results = await collect(answer)
        return [result.text for result in results], answer.usage

    found = run(work())
    run(settle(engine))
    assert is_empty(engine)
    return found


def test_a_failed_check_is_followed_by_another_attempt_and_all_tokens_count() -> None:
    engine = Texts("[1, 1]", "[2, 2]", "[1, 2]")

    (text,), usage = texts(engine, ask())

    assert text == "[1, 2]"
    assert (usage.completion_tokens, usage.retried_tokens) == (3 * 6, 2 * 6)
    assert usage.prompt_tokens == len(PROMPT)
    assert usage.cached_tokens <= usage.prompt_tokens


def test_after_the_last_attempt_the_request_fails() -> None:
    engine = Texts("[1, 1]", "[2, 2]", "[1, 2]")

    with pytest.raises(OutputMismatch, match="response_format"):
        texts(engine, ask(), max_attempts=2)

    assert len(engine.asked) == 2


def test_at_temperature_0_the_same_text_is_not_sampled_again() -> None:
    engine = Texts("[1, 1]", "[1, 2]")

    with pytest.raises(OutputMismatch):
        texts(engine, ask(temperature=0))

    assert len(engine.asked) == 1


def test_each_choice_has_attempts_of_its_own() -> None:
    engine = Texts("[1, 1]", "[1, 2]")

    found, usage = texts(engine, ask(n=3))

    assert found == ["[1, 2]"] * 3
    asked = [request for request in engine.asked if request.id.partition("-")[0] == "r"]
    assert (len(asked), usage.completion_tokens, usage.retried_tokens) == (4, 6 * 6, 3 * 6)
    assert len({request.sampling.seed for request in asked}) == 4


def test_the_seed_of_an_attempt_depends_on_seed_choice_and_number_alone() -> None:
    again = [attempt(ask(n=3), index, number) for index in range(3) for number in (2, 3)]

    assert again == [attempt(ask(n=3), index, number) for index in range(3) for number in (2, 3)]
    assert len({one.sampling.seed for one in again if one is not None}) == 6
    assert all(0 <= derived_seed(seed, 2) < 2**64 for seed in (-(2**63), -1, 0, 2**64 - 1))


def test_without_a_seed_an_attempt_has_none() -> None:
    again = attempt(ask(seed=None), 0, 2)

    assert again is not None
    assert again.sampling.seed is None


@pytest.mark.parametrize("holds_all", [False, True])
def test_nothing_of_a_failed_attempt_is_sent(holds_all: bool) -> None:
    engine = Texts("[1, 1]", "[1, 2]")

    async def work() -> list[Delta]:
        answer = start(engine, [ask()], Stops(), plan=PLAN, max_attempts=3, holds_all=holds_all)
        return [delta async for delta in answer.deltas()]

    deltas = run(work())

    assert "".join(delta.text for delta in deltas) == "[1, 2]"
    assert len(joined([piece for delta in deltas for piece in delta.pieces])) == 1
    assert [delta.finish_reason for delta in deltas if delta.finish_reason] == ["stop"]


def test_an_answer_that_is_closed_after_a_second_attempt_began_leaves_nothing() -> None:
    engine = Texts("[1, 1]", "[" + ", ".join(map(str, range(9))) + "]")

    async def work() -> int:
        answer = start(engine, [ask()], Stops(), plan=PLAN, max_attempts=3)
        reading = asyncio.ensure_future(anext(answer.deltas()))
        while len(engine.asked) < 2:
            await asyncio.sleep(0.001)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await answer.aclose()
        return answer.usage.completion_tokens

    assert run(work()) >= 6
    run(settle(engine))
    assert is_empty(engine)


def test_a_second_attempt_does_not_wait_for_the_other_choices() -> None:
    class TwoLengths(Texts):
        def _attempt(self, request: GenerationRequest, index: int) -> bytes:
            long = b"[" + b", ".join(b"%d" % number for number in range(12)) + b"]"
            return long if index == 1 else super()._attempt(request, index)

    engine = TwoLengths("[1, 1]", "[1, 2]")

    async def ends() -> list[int]:
        answer = start(engine, [ask(n=2)], Stops(), plan=PLAN, max_attempts=2)
        return [delta.index async for delta in answer.deltas() if delta.finish_reason is not None]

    assert run(ends()) == [0, 1]
