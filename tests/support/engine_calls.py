"""Asking an engine from a test: requests with sane defaults, answers as plain values, everything with a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

from crossette.engine import Engine, Generation
from crossette.types import FinishReason, GenerationRequest, SamplingParams, TokenOutput

LIMIT_S = 60
TINY_CONTEXT = 1024
MAX_SEQUENCES = 8

T = TypeVar("T")

_ids = count()


def run(work: Coroutine[Any, Any, T], limit_s: float = LIMIT_S) -> T:
    """Run a test's coroutine in an event loop of its own."""
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
    """A request; text is taken as bytes, which are tokens of every test model."""
    return GenerationRequest(
        id=f"request-{next(_ids)}",
        prompt=tuple(prompt.encode()) if isinstance(prompt, str) else prompt,
        sampling=SamplingParams(max_tokens, temperature=temperature, seed=seed, ignore_eos=ignore_eos),
        n=n,
        end_token_ids=end_token_ids,
        **fields,
    )


@dataclass(frozen=True)
class Said:
    """All that one choice said."""

    tokens: tuple[int, ...]
    reason: FinishReason | None


def joined(outputs: list[TokenOutput]) -> dict[int, Said]:
    """Outputs by choice. Fails if a choice says anything after its end."""
    said: dict[int, Said] = {}
    for output in outputs:
        before = said.get(output.index, Said((), None))
        assert before.reason is None, f"choice {output.index} went on after its end"
        said[output.index] = Said(before.tokens + output.token_ids, output.finish_reason)
    return said


async def read(generation: Generation) -> dict[int, Said]:
    return joined([output async for output in generation])


async def ask(engine: Engine, request: GenerationRequest) -> dict[int, Said]:
    return await read(engine.generate(request))


async def tokens(engine: Engine, request: GenerationRequest) -> tuple[int, ...]:
    """The tokens of a request with one choice."""
    return (await ask(engine, request))[0].tokens


async def settle(engine: Engine) -> None:
    """Come back when the engine has done all that it was told before: it serves in order."""
    await ask(engine, make_request((5,), max_tokens=1))


def is_empty(engine: Engine) -> bool:
    """Whether nothing runs, waits or holds a block."""
    stats = engine.stats()
    return (stats.running, stats.waiting, stats.blocks_free) == (0, 0, stats.blocks_total)
