"""The real model's output is the same alone, in a large batch, and with a KV cache too small for all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from crossette.engine import ModelFiles
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.generation.prompt import encode_text
from crossette.types import GenerationRequest
from support.engine_calls import is_empty, make_request, run, settle, tokens

NUM_STREAMS = 32
LIMIT_S = 200
"""For one fixture on a slow machine: a decode step takes 30 ms on two cores without AVX-512."""
ALONE_EVERY = {0.0: 1, 1.0: 4}
"""All greedy streams are also run alone; of the seeded ones, which differ only in sampling, every fourth."""
SMALL_CACHE_BLOCKS = 10
"""Five long answers start with a block each and need three: some sequence must be preempted."""

Texts = list[tuple[int, ...]]

_TOPICS = (
    "The history of the lighthouse begins with",
    "def fibonacci(n):\n    ",
    "Dear Sir or Madam, I am writing because",
    "In der Küche stand ein alter Ofen, und",
    "1, 1, 2, 3, 5, 8, 13,",
    "Once upon a time there was a fox who",
    "The three laws of thermodynamics say that",
    "Q: What is the capital of France?\nA:",
)


def make_requests(engine: OpenVINOEngine, temperature: float) -> list[GenerationRequest]:
    """Prompts of 20 to 80 tokens, all different. The first five outputs are long and outgrow a small cache."""
    requests = []
    for stream in range(NUM_STREAMS):
        topic = f"({stream}) " + _TOPICS[stream % len(_TOPICS)]
        prompt = encode_text(engine.tokenizer, (topic + " ") * 20)[-(20 + stream * 60 // (NUM_STREAMS - 1)) :]
        max_tokens = 50 if stream < 5 else 9
        requests.append(make_request(prompt, max_tokens=max_tokens, temperature=temperature, seed=1000 + stream))
    return requests


async def together(engine: OpenVINOEngine, requests: list[GenerationRequest]) -> Texts:
    """Start half of the requests at once, and the others as outputs progress, so that they arrive in every phase."""
    later = iter(requests[NUM_STREAMS // 2 :])
    texts: dict[str, tuple[int, ...]] = {}

    async def serve(request: GenerationRequest) -> None:
        async with asyncio.TaskGroup() as followers:
            output_tokens: list[int] = []
            async for output in engine.generate(request):
                output_tokens += output.token_ids
                if len(output_tokens) in (3, 5) and (follower := next(later, None)):
                    followers.create_task(serve(follower))
            texts[request.id] = tuple(output_tokens)

    async with asyncio.TaskGroup() as streams:
        for request in requests[: NUM_STREAMS // 2]:
            streams.create_task(serve(request))
    return [texts[request.id] for request in requests]


async def one_by_one(engine: OpenVINOEngine, requests: list[GenerationRequest]) -> Texts:
    return [await tokens(engine, request) for request in requests]


@pytest.fixture(scope="module", params=[0.0, 1.0], ids=["greedy", "seeded"])
def temperature(request: pytest.FixtureRequest) -> float:
    found: float = request.param
    return found


@pytest.fixture(scope="module")
def in_a_batch(real_engine: OpenVINOEngine, temperature: float) -> Texts:
    texts = run(together(real_engine, make_requests(real_engine, temperature)), LIMIT_S)
    assert len(set(texts)) > NUM_STREAMS * 3 // 4  # identical outputs would prove nothing
    return texts


@pytest.fixture(scope="module")
def small_engine(real_engine: OpenVINOEngine, real_files: ModelFiles) -> Iterator[OpenVINOEngine]:
    block_bytes = real_engine.kv_bytes // real_engine.stats().blocks_total
    engine = OpenVINOEngine.load(real_files, OpenVINOSettings(kv_cache=str(SMALL_CACHE_BLOCKS * block_bytes)))
    yield engine
    engine.close()


def test_32_streams_together_match_each_alone(
    real_engine: OpenVINOEngine, temperature: float, in_a_batch: Texts
) -> None:
    assert real_engine.warnings == ()
    some = slice(None, None, ALONE_EVERY[temperature])

    alone = run(one_by_one(real_engine, make_requests(real_engine, temperature)[some]), LIMIT_S)

    assert in_a_batch[some] == alone


def test_preemption_changes_no_output(small_engine: OpenVINOEngine, temperature: float, in_a_batch: Texts) -> None:
    before = small_engine.stats()
    assert before.blocks_total == SMALL_CACHE_BLOCKS

    texts = run(together(small_engine, make_requests(small_engine, temperature)), LIMIT_S)

    assert small_engine.stats().preemptions > before.preemptions
    assert texts == in_a_batch
    run(settle(small_engine))
    assert is_empty(small_engine)


def test_choices_match_separate_requests(real_engine: OpenVINOEngine) -> None:
    prompt = encode_text(real_engine.tokenizer, "The best thing about autumn is")

    async def work() -> tuple[Texts, Texts]:
        many: Texts = [()] * 3
        async for output in real_engine.generate(make_request(prompt, n=3, temperature=1, seed=77, max_tokens=12)):
            many[output.index] += output.token_ids
        one = [make_request(prompt, temperature=1, seed=77 + j, max_tokens=12) for j in range(3)]
        return many, await one_by_one(real_engine, one)

    many, single = run(work())

    assert many == single
    assert len(set(many)) == 3
