"""The real model's output is bit-identical, logprobs included, with and without prefix cache hits and draft tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

import pytest

from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.runner import Logits
from crossette.engines.openvino.sequence import Batch
from crossette.generation.prompt import encode_text
from crossette.types import GenerationRequest, Logprob
from support.engine_calls import at_once, make_request, run
from support.own_kernels import own_kernels

TEXT = (
    "The old mill stands at the edge of the village, where the river bends to the south. Every morning the miller "
    "opens the heavy door, feeds the cat, and looks at the water. If the river is high he works until noon; if it "
    "is low he mends sacks, and waits for rain. "
)

_namespaces = count()


@dataclass(frozen=True)
class Answer:
    """The output that must be identical: tokens and logprobs, of the prompt too if requested."""

    tokens: tuple[int, ...]
    logprobs: tuple[Logprob, ...]
    prompt_logprobs: tuple[Logprob, ...]


async def ask(engine: OpenVINOEngine, request: GenerationRequest) -> tuple[Answer, int]:
    """The answer of choice 0, and sampling many prompt tokens were cached."""
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
    """The same request with a new cache namespace, so that nothing is cached."""
    return replace(request, isolation_key=f"cold-{next(_namespaces)}")


def make_cold(engine: OpenVINOEngine, text: str, **fields: object) -> GenerationRequest:
    fields = {"max_tokens": 12, "logprobs": 3, **fields}
    return cold(make_request(encode_text(engine.tokenizer, text), **fields))  # type: ignore[arg-type]  # any field


@pytest.fixture(params=[{"temperature": 0.0}, {"temperature": 1.0, "seed": 5}], ids=["greedy", "seeded"])
def sampling(request: pytest.FixtureRequest) -> dict[str, float]:
    found: dict[str, float] = request.param
    return found


@pytest.fixture
def engine(real_engine: OpenVINOEngine) -> Iterator[OpenVINOEngine]:
    """The real engine; a test may change settings of its scheduler between requests."""
    before = real_engine.scheduler.max_step_tokens, real_engine.scheduler.max_draft_rows
    yield real_engine
    real_engine.scheduler.max_step_tokens, real_engine.scheduler.max_draft_rows = before


def test_a_cached_prompt_gives_the_same_output(engine: OpenVINOEngine, sampling: dict[str, float]) -> None:
    request = make_cold(engine, TEXT * 2, **sampling)

    (first, none), (again, cached) = run(ask(engine, request)), run(ask(engine, request))

    assert (none, cached) == (0, (len(request.prompt) - 2) // 32 * 32)
    assert again == first


def test_a_shared_prefix_is_reused_and_changes_nothing(engine: OpenVINOEngine, sampling: dict[str, float]) -> None:
    first = make_cold(engine, TEXT + "Then the mill", **sampling)
    run(ask(engine, first))
    other = replace(make_cold(engine, TEXT + "But in winter", **sampling), isolation_key=first.isolation_key)

    (warm, cached), (alone, _) = run(ask(engine, other)), run(ask(engine, cold(other)))

    assert cached >= 32
    assert warm == alone


@pytest.mark.parametrize("draft_rows", [0, 8])
def test_a_conversation_reuses_earlier_prompts_and_outputs(
    engine: OpenVINOEngine, sampling: dict[str, float], draft_rows: int
) -> None:
    """Outputs only where kernels of crossette's own compute all layers: others compute single tokens differently."""
    engine.scheduler.max_draft_rows = draft_rows
    before = engine.stats().accepted_drafts
    first = make_cold(engine, TEXT * 2, max_tokens=90, **sampling)
    answer, _ = run(ask(engine, first))
    second = replace(first, prompt=first.prompt + answer.tokens + tuple(first.prompt[:40]))

    (warm, cached), (alone, _) = run(ask(engine, second)), run(ask(engine, cold(second)))

    computed = len(first.prompt) + len(answer.tokens) - 1  # nothing follows the last token
    reused = computed if engine.details["kernels"] == "crossette" else len(first.prompt)
    assert cached == reused // 32 * 32
    assert warm == alone
    assert draft_rows == 0 or sampling["temperature"] or engine.stats().accepted_drafts > before


def test_choices_keep_blocks_of_their_own(engine: OpenVINOEngine) -> None:
    request = replace(make_cold(engine, TEXT, max_tokens=70, temperature=1.0, seed=3), n=2)
    texts: dict[int, tuple[int, ...]] = {0: (), 1: ()}

    async def both() -> None:
        async for output in engine.generate(request):
            texts[output.index] += output.token_ids

    run(both())

    for text in texts.values():
        again = replace(request, n=1, prompt=request.prompt + text + (5, 6))
        (warm, cached), (alone, _) = run(ask(engine, again)), run(ask(engine, cold(again)))
        assert warm == alone
        assert cached > len(request.prompt) or engine.details["kernels"] != "crossette"


def test_prompts_that_arrive_together_compute_a_shared_prefix_once(
    engine: OpenVINOEngine, sampling: dict[str, float]
) -> None:
    key = f"together-{next(_namespaces)}"
    requests = [replace(make_cold(engine, f"{TEXT * 2}({i})", **sampling), isolation_key=key) for i in range(4)]

    async def together() -> list[tuple[Answer, int]]:
        return await at_once(engine, (ask(engine, request) for request in requests))

    answers = run(together())

    assert [cached >= 96 for _, cached in answers] == [False, True, True, True]
    assert [answer for answer, _ in answers] == [run(ask(engine, cold(request)))[0] for request in requests]


@pytest.mark.parametrize("width", [17, 33, 50])
def test_chunking_a_prompt_changes_nothing(engine: OpenVINOEngine, sampling: dict[str, float], width: int) -> None:
    request = make_cold(engine, TEXT, **sampling)
    expected, _ = run(ask(engine, request))

    engine.scheduler.max_step_tokens = width

    assert run(ask(engine, cold(request)))[0] == expected


def test_draft_tokens_save_steps_and_change_nothing(engine: OpenVINOEngine, sampling: dict[str, float]) -> None:
    request = replace(make_cold(engine, TEXT * 3 + TEXT[:40], max_tokens=40, **sampling))

    def answer_and_steps(max_draft_rows: int) -> tuple[Answer, int]:
        engine.scheduler.max_draft_rows = max_draft_rows
        before = engine.stats().steps
        answer, _ = run(ask(engine, cold(request)))
        return answer, engine.stats().steps - before

    (plain, many), (drafted, few) = answer_and_steps(0), answer_and_steps(8)

    assert drafted == plain
    assert many == 40 + -(-len(request.prompt) // engine.scheduler.max_step_tokens) - 1
    assert few < many if sampling["temperature"] == 0 else few <= many


def test_a_prediction_saves_steps_and_changes_nothing(engine: OpenVINOEngine) -> None:
    request = make_cold(engine, TEXT, max_tokens=30, temperature=0.0)
    plain, _ = run(ask(engine, request))
    right = replace(cold(request), prediction=request.prompt[-8:] + plain.tokens)
    wrong = replace(cold(request), prediction=request.prompt[::-1])

    before = engine.stats()
    assert run(ask(engine, right))[0] == plain
    assert engine.stats().steps - before.steps < 20
    assert run(ask(engine, wrong))[0] == plain


def test_penalties_and_bias_work_with_draft_tokens(engine: OpenVINOEngine) -> None:
    request = make_cold(engine, TEXT + TEXT[:40], max_tokens=30, temperature=0.0)
    sampling = replace(request.sampling, frequency_penalty=0.4, repetition_penalty=1.05, logit_bias=((28, 2.0),))
    request = replace(request, sampling=sampling)

    engine.scheduler.max_draft_rows = 0
    plain, _ = run(ask(engine, request))
    engine.scheduler.max_draft_rows = 8

    assert run(ask(engine, cold(request)))[0] == plain


@pytest.mark.parametrize("num_top", [0, 1, 3])
def test_prompt_logprobs_do_not_depend_on_chunks_and_use_no_cache(engine: OpenVINOEngine, num_top: int) -> None:
    request = make_cold(engine, TEXT, max_tokens=1, temperature=0.0, logprobs=num_top)
    request = replace(request, prompt_logprobs=True)
    (expected, _), (again, cached) = run(ask(engine, request)), run(ask(engine, request))
    engine.scheduler.max_step_tokens = 23
    chunked, _ = run(ask(engine, cold(request)))

    assert [record.token_id for record in expected.prompt_logprobs] == list(request.prompt[1:])
    assert (expected, cached) == (again, 0)
    assert chunked == expected


def test_prompt_logprobs_in_a_batch_are_those_alone(engine: OpenVINOEngine) -> None:
    requests = [
        replace(make_cold(engine, TEXT[i * 7 : 60 + i * 20], max_tokens=2, logprobs=i % 3), prompt_logprobs=i % 4 > 0)
        for i in range(8)
    ]

    async def together() -> list[tuple[Answer, int]]:
        return await at_once(engine, (ask(engine, request) for request in requests))

    assert run(together()) == [run(ask(engine, cold(request))) for request in requests]


@pytest.mark.parametrize("num_top", [0, 1])
def test_prompt_logprobs_with_few_alternatives_are_those_with_more(engine: OpenVINOEngine, num_top: int) -> None:
    """The head scores tokens by itself then, where kernels are crossette's own."""
    more = replace(make_cold(engine, TEXT, max_tokens=1, temperature=0.0), prompt_logprobs=True)
    expected, _ = run(ask(engine, more))
    answer, _ = run(ask(engine, cold(replace(more, logprobs=num_top))))

    assert answer.tokens == expected.tokens
    assert len(answer.prompt_logprobs) == len(more.prompt) - 1
    for record, full in zip(answer.prompt_logprobs, expected.prompt_logprobs, strict=True):
        assert record.token_id == full.token_id
        assert record.logprob == pytest.approx(full.logprob, abs=2e-6)
        assert [token for token, _ in record.top] == [token for token, _ in full.top[:num_top]]
        assert [each for _, each in record.top] == pytest.approx([each for _, each in full.top[:num_top]], abs=2e-6)


@pytest.mark.parametrize(("num_top", "has_logits"), [(0, False), (1, False), (2, True)])
def test_tokens_with_few_alternatives_are_scored_without_logits(
    engine: OpenVINOEngine, monkeypatch: pytest.MonkeyPatch, num_top: int, has_logits: bool
) -> None:
    own_kernels()
    rows: list[int] = []
    run_batch = engine._runner.run

    def counted(batch: Batch) -> Logits:
        logits = run_batch(batch)
        rows.append(len(logits))
        return logits

    monkeypatch.setattr(engine._runner, "run", counted)
    request = replace(make_cold(engine, TEXT, max_tokens=1, temperature=0.0, logprobs=num_top), prompt_logprobs=True)
    run(ask(engine, request))

    assert sum(rows) == (len(request.prompt) if has_logits else 1)


def test_prompt_logprobs_without_output(engine: OpenVINOEngine) -> None:
    request = replace(make_cold(engine, TEXT, max_tokens=1, temperature=0.0), prompt_logprobs=True)
    scored, _ = run(ask(engine, request))
    no_output = replace(cold(request), sampling=replace(request.sampling, max_tokens=0))

    answer, _ = run(ask(engine, no_output))

    assert answer == Answer((), (), scored.prompt_logprobs)


def test_logprobs_in_a_batch_are_those_alone(engine: OpenVINOEngine, sampling: dict[str, float]) -> None:
    requests = [make_cold(engine, TEXT[i * 7 : 60 + i * 20], **sampling) for i in range(8)]

    async def together() -> list[tuple[Answer, int]]:
        return await at_once(engine, (ask(engine, request) for request in requests))

    assert run(together()) == [run(ask(engine, cold(request))) for request in requests]
