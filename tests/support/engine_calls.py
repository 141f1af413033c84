"""Helpers for engine tests: requests with defaults, outputs as plain values, and a time limit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Coroutine, Iterable
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

from crossette.engine import Engine, Generation
from crossette.types import FinishReason, GenerationRequest, SamplingParams, TokenOutput

if TYPE_CHECKING:
    from crossette.engines.openvino.engine import OpenVINOEngine

LIMIT_S = 60
TINY_CONTEXT = 1024
MAX_SEQUENCES = 8

T = TypeVar("T")

_ids = count()


def run(work: Coroutine[Any, Any, T], limit_s: float = LIMIT_S) -> T:
    """Run a coroutine in a new event loop, for at most `limit_s` seconds."""
    return asyncio.run(asyncio.wait_for(work, limit_s))


def make_request(
    prompt: str | tuple[int, ...] = "Once upon a time",
    *,
    max_tokens: int = 8,
    temperature: float = 0.0,
    seed: int | None = None,
    ignore_eos: bool = True,
    n: int = 1,
    end_token_ids: frozenset[int] = frozenset(),
    **fields: Any,
) -> GenerationRequest:
    """A request; a text prompt becomes its bytes, which are token ids of every test model."""
    return GenerationRequest(
        id=f"request-{next(_ids)}",
        prompt=tuple(prompt.encode()) if isinstance(prompt, str) else prompt,
        sampling=SamplingParams(max_tokens, temperature=temperature, seed=seed, ignore_eos=ignore_eos),
        n=n,
        end_token_ids=end_token_ids,
        **fields,
    )


@dataclass(frozen=True)
class ChoiceOutput:
    """The complete output of one choice."""

    tokens: tuple[int, ...]
    reason: FinishReason | None


def joined(outputs: list[TokenOutput]) -> dict[int, ChoiceOutput]:
    """Outputs by choice. Fails if a choice has output after its end."""
    choices: dict[int, ChoiceOutput] = {}
    for output in outputs:
        before = choices.get(output.index, ChoiceOutput((), None))
        assert before.reason is None, f"choice {output.index} went on after its end"
        choices[output.index] = ChoiceOutput(before.tokens + output.token_ids, output.finish_reason)
    return choices


async def read(generation: Generation) -> dict[int, ChoiceOutput]:
    return joined([output async for output in generation])


async def ask(engine: Engine, request: GenerationRequest) -> dict[int, ChoiceOutput]:
    return await read(engine.generate(request))


async def tokens(engine: Engine, request: GenerationRequest) -> tuple[int, ...]:
    """The tokens of a request with one choice."""
    return (await ask(engine, request))[0].tokens


async def at_once(engine: OpenVINOEngine, calls: Iterable[Awaitable[T]]) -> list[T]:
    """The results of calls that each make one request: all are in the engine before its first step ends.

    Without this a slow thread submits the last request when the first one is done, and they do not meet.
    """
    submitted = threading.Event()
    schedule = engine.scheduler.schedule

    def schedule_then(budget: int) -> Any:
        assert submitted.wait(LIMIT_S)
        return schedule(budget)

    with patch.object(engine.scheduler, "schedule", schedule_then):
        tasks = [asyncio.ensure_future(call) for call in calls]
        try:
            while num_requests(engine) < len(tasks) and not any(task.done() for task in tasks):
                await asyncio.sleep(0)
        finally:
            submitted.set()
        return await asyncio.gather(*tasks)


def num_requests(engine: Engine) -> int:
    stats = engine.stats()
    return stats.running + stats.waiting


async def settle(engine: Engine) -> None:
    """Return once the engine has processed everything submitted before: it serves in order."""
    await ask(engine, make_request((5,), max_tokens=1))


def is_empty(engine: Engine) -> bool:
    """Whether no sequence runs, waits or holds a block."""
    stats = engine.stats()
    return (stats.running, stats.waiting, stats.blocks_free) == (0, 0, stats.blocks_total)
