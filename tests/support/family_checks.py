"""What an engine must keep for a model of any family: the same text, whatever else is computed.

Texts are tokens with logprobs, which show differences that tokens may hide.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np

from crossette.engine import ModelFiles
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.kv_cache import BLOCK_SIZE
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.types import GenerationRequest
from support.engine_calls import at_once, is_empty, make_request, run, settle

LENGTHS = (3, 20, 33, 64, 97, 150, 200)
OUTPUT = 40

Text = tuple[tuple[int, ...], tuple[float, ...]]


def prompts() -> list[tuple[int, ...]]:
    return [tuple(np.random.default_rng(length).integers(3, 259, length).tolist()) for length in LENGTHS]


async def text_of(engine: OpenVINOEngine, request: GenerationRequest) -> Text:
    found: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    async for output in engine.generate(replace(request, logprobs=1)):
        found += output.token_ids
        logprobs += tuple(value.logprob for value in output.logprobs or ())
    return found, logprobs


def ask(prompt: tuple[int, ...], key: str, **fields: object) -> GenerationRequest:
    """A request whose cached blocks only requests of the same key use."""
    request = make_request(prompt, max_tokens=OUTPUT)
    return replace(request, isolation_key=key, **fields)  # type: ignore[arg-type]  # any field


def check_same_text(files: ModelFiles) -> None:
    """Alone, among neighbours, from the prefix cache, with draft tokens, and with a cache too small for all."""
    with closing(OpenVINOEngine.load(files, OpenVINOSettings(kv_cache="32MiB", threads=1))) as engine:
        layers = engine.stats().kv_layers
        token_bytes = sum(one.token_bytes for one in layers)
        engine.scheduler.max_draft_rows = 0
        alone = [run(text_of(engine, ask(prompt, "alone"))) for prompt in prompts()]
        assert len(set(alone)) == len(alone)
        assert together(engine, "neighbours") == alone, "among neighbours"
        before = engine.stats().hit_tokens
        assert together(engine, "neighbours") == alone, "from the prefix cache"
        assert engine.stats().hit_tokens > before
        check_drafts(engine, alone)
    small = OpenVINOSettings(kv_cache=str(14 * BLOCK_SIZE * token_bytes), max_model_len=256, threads=1)
    with closing(OpenVINOEngine.load(files, small)) as engine:
        assert together(engine, "small") == alone, "after preemption"
        # Sequences of which all layers keep a window find room for it at admission.
        assert engine.stats().preemptions > 0 or all(one.window for one in layers)
        run(settle(engine))
        assert is_empty(engine)


def together(engine: OpenVINOEngine, key: str) -> list[Text]:
    async def work() -> list[Text]:
        return await at_once(engine, (text_of(engine, ask(prompt, key)) for prompt in prompts()))

    return run(work())


def check_drafts(engine: OpenVINOEngine, alone: list[Text]) -> None:
    """Predictions that are right, and wrong from the middle on."""
    engine.scheduler.max_draft_rows = 8
    for prompt, text in zip(prompts(), alone, strict=True):
        for wrong in (0, OUTPUT // 2):
            prediction = (*prompt[-3:], *text[0][: OUTPUT - wrong], *(5 for _ in range(wrong)))
            found = run(text_of(engine, ask(prompt, f"drafts {wrong}", prediction=prediction)))
            assert found == text, "with draft tokens"
    assert engine.stats().accepted_drafts > 0
