"""The real model says the same, to the last bit of its logprobs, whatever was computed before or guessed ahead."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

import pytest

from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.generation.prompt import encode_text
from crossette.types import GenerationRequest, Logprob
from support.engine_calls import make_request, run

TEXT = (
    "The old mill stands at the edge of the village, where the river bends to the south. Every morning the miller "
    "opens the heavy door, feeds the cat, and looks at the water. If the river is high he works until noon; if it "
    "is low he mends sacks, and waits for rain. "
)

_namespaces = count()


@dataclass(frozen=True)
class Answer:
    """What must not depend on anything: tokens and their logprobs, of the prompt too where they were wanted."""

    tokens: tuple[int, ...]
    logprobs: tuple[Logprob, ...]
    prompt_logprobs: tuple[Logprob, ...]


async def ask(engine: OpenVINOEngine, request: GenerationRequest) -> tuple[Answer, int]:
    """The answer of choice 0, and how many tokens of the prompt came from the cache."""
    answer, cached = Answer((), (), ()), 0
    async for output in engine.generate(request):
        cached += output.cached_tokens
        answer = Answer(
            answer.tokens + output.token_ids,
            answer.logprobs + (output.logprobs or ()),
            answer.prompt_logprobs + (output.prompt_logprobs or ()),
        )
    return answer, cached


def cold(request: GenerationRequest) -> GenerationRequest:
    """The same request where nothing was computed before: in a namespace of its own."""
    return replace(request, isolation_key=f"cold-{next(_namespaces)}")


def asked(engine: OpenVINOEngine, text: str, **fields: object) -> GenerationRequest:
    fields = {"max_tokens": 12, "logprobs": 3, **fields}
    return cold(make_request(encode_text(engine.tokenizer, text), **fields))  # type: ignore[arg-type]  # any field


@pytest.fixture(params=[{"temperature": 0.0}, {"temperature": 1.0, "seed": 5}], ids=["greedy", "seeded"])
def how(request: pytest.FixtureRequest) -> dict[str, float]:
    found: dict[str, float] = request.param
    return found


@pytest.fixture
def engine(real_engine: OpenVINOEngine) -> Iterator[OpenVINOEngine]:
    """The real engine; a test may turn the knobs of its scheduler between requests."""
    before = real_engine.scheduler.max_step_tokens, real_engine.scheduler.max_draft_rows
    yield real_engine
    real_engine.scheduler.max_step_tokens, real_engine.scheduler.max_draft_rows = before


def test_a_prompt_from_the_cache_gives_what_a_computed_one_gives(engine: OpenVINOEngine, how: dict[str, float]) -> None:
    request = asked(engine, TEXT * 2, **how)

    (first, none), (again, cached) = run(ask(engine, request)), run(ask(engine, request))

    assert (none, cached) == (0, (len(request.prompt) - 2) // 32 * 32)
    assert again == first


def test_a_shared_beginning_is_used_and_changes_nothing(engine: OpenVINOEngine, how: dict[str, float]) -> None:
    whole = asked(engine, TEXT + "Then the mill", **how)
    run(ask(engine, whole))
    other = replace(asked(engine, TEXT + "But in winter", **how), isolation_key=whole.isolation_key)

    (warm, cached), (alone, _) = run(ask(engine, other)), run(ask(engine, cold(other)))

    assert cached >= 32
    assert warm == alone


def test_every_turn_of_a_conversation_finds_the_turns_before_but_the_last_answer(engine: OpenVINOEngine) -> None:
    first = asked(engine, TEXT, temperature=0.0)
    answer, _ = run(ask(engine, first))
    second = replace(first, prompt=first.prompt + answer.tokens + tuple(first.prompt[:40]))

    (warm, cached), (alone, _) = run(ask(engine, second)), run(ask(engine, cold(second)))

    assert cached == len(first.prompt) // 32 * 32
    assert warm == alone


def test_prompts_that_arrive_together_compute_their_beginning_once_and_say_the_same(
    engine: OpenVINOEngine, how: dict[str, float]
) -> None:
    key = f"together-{next(_namespaces)}"
    requests = [replace(asked(engine, f"{TEXT * 2}({i})", **how), isolation_key=key) for i in range(4)]

    async def together() -> list[tuple[Answer, int]]:
        return await asyncio.gather(*(ask(engine, request) for request in requests))

    answers = run(together())

    assert [cached >= 96 for _, cached in answers] == [False, True, True, True]
    assert [answer for answer, _ in answers] == [run(ask(engine, cold(request)))[0] for request in requests]


@pytest.mark.parametrize("width", [17, 33, 50])
def test_a_prompt_cut_anywhere_gives_the_same(engine: OpenVINOEngine, how: dict[str, float], width: int) -> None:
    request = asked(engine, TEXT, **how)
    whole, _ = run(ask(engine, request))

    engine.scheduler.max_step_tokens = width

    assert run(ask(engine, cold(request)))[0] == whole


def test_guessing_ahead_saves_steps_and_changes_nothing(engine: OpenVINOEngine, how: dict[str, float]) -> None:
    request = replace(asked(engine, TEXT + TEXT[:40], max_tokens=40, **how))

    def answer_and_steps(max_draft_rows: int) -> tuple[Answer, int]:
        engine.scheduler.max_draft_rows = max_draft_rows
        before = engine.stats().steps
        answer, _ = run(ask(engine, cold(request)))
        return answer, engine.stats().steps - before

    (plain, many), (guessed, few) = answer_and_steps(0), answer_and_steps(8)

    assert guessed == plain
    assert many == 40 + -(-len(request.prompt) // engine.scheduler.max_step_tokens) - 1
    assert few < many if how["temperature"] == 0 else few <= many


def test_a_prediction_is_a_guess_and_not_a_change(engine: OpenVINOEngine) -> None:
    request = asked(engine, TEXT, max_tokens=30, temperature=0.0)
    plain, _ = run(ask(engine, request))
    right = replace(cold(request), prediction=request.prompt[-8:] + plain.tokens)
    wrong = replace(cold(request), prediction=request.prompt[::-1])

    before = engine.stats()
    assert run(ask(engine, right))[0] == plain
    assert engine.stats().steps - before.steps < 20
    assert run(ask(engine, wrong))[0] == plain


def test_penalties_and_bias_work_with_guesses(engine: OpenVINOEngine) -> None:
    request = asked(engine, TEXT + TEXT[:40], max_tokens=30, temperature=0.0)
    sampling = replace(request.sampling, frequency_penalty=0.4, repetition_penalty=1.05, logit_bias=((28, 2.0),))
    request = replace(request, sampling=sampling)

    engine.scheduler.max_draft_rows = 0
    plain, _ = run(ask(engine, request))
    engine.scheduler.max_draft_rows = 8

    assert run(ask(engine, cold(request)))[0] == plain


def test_a_prompt_is_scored_the_same_in_any_chunks_and_never_from_the_cache(engine: OpenVINOEngine) -> None:
    request = replace(asked(engine, TEXT, max_tokens=1, temperature=0.0), prompt_logprobs=True)
    (whole, _), (again, cached) = run(ask(engine, request)), run(ask(engine, request))
    engine.scheduler.max_step_tokens = 23
    cut, _ = run(ask(engine, cold(request)))

    assert [record.token_id for record in whole.prompt_logprobs] == list(request.prompt[1:])
    assert (whole, cached) == (again, 0)
    assert cut == whole


def test_scores_only_need_no_output(engine: OpenVINOEngine) -> None:
    request = replace(asked(engine, TEXT, max_tokens=1, temperature=0.0), prompt_logprobs=True)
    scored, _ = run(ask(engine, request))
    nothing = replace(cold(request), sampling=replace(request.sampling, max_tokens=0))

    answer, _ = run(ask(engine, nothing))

    assert answer == Answer((), (), scored.prompt_logprobs)


def test_the_logprobs_of_a_crowd_are_those_alone(engine: OpenVINOEngine, how: dict[str, float]) -> None:
    requests = [asked(engine, TEXT[i * 7 : 60 + i * 20], **how) for i in range(8)]

    async def together() -> list[tuple[Answer, int]]:
        return await asyncio.gather(*(ask(engine, request) for request in requests))

    assert run(together()) == [run(ask(engine, cold(request))) for request in requests]
