"""What makes an endpoint that generates: its body type, its prompts, and its answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from crossette.api.dialect import Dialect
from crossette.api.extras import Extras
from crossette.api.schema.answer import Head
from crossette.api.schema.common import GenerationFields
from crossette.engine import Engine
from crossette.generation.answer import DeltaSource
from crossette.text.output_plan import OutputPlan

P = ParamSpec("P")
T = TypeVar("T")
BodyT = TypeVar("BodyT", bound=GenerationFields)

_LONG_TEXT = 10_000
"""Texts of this many characters or more are encoded outside the event loop: about a millisecond of work."""


@dataclass(frozen=True, slots=True)
class Call:
    """A prepared request body: prompts as tokens, and the default of max_tokens.

    A default of None is the rest of the context window.
    """

    prompts: list[tuple[int, ...]]
    default_max_tokens: int | None
    end_token_ids: frozenset[int] = frozenset()
    """Additional end tokens that the kind of prompt requires."""
    plan: Callable[[], OutputPlan] | None = None
    """Builds the output parser and the output constraint; None if all output is plain content."""


class Reply(Protocol):
    """Converts an answer to the wire types of an endpoint."""

    def chunks(self, answer: DeltaSource) -> AsyncGenerator[Any, None]: ...

    async def completion(self, answer: DeltaSource) -> Any: ...


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[BodyT]):
    """A completion endpoint: its body type, and how a body is prepared and answered."""

    path: str
    """Under the prefix of a dialect."""
    body_type: type[BodyT]
    prepare: Callable[[BodyT, Engine, Dialect], Awaitable[Call]]
    reply: Callable[[Head, BodyT, Dialect, Extras | None], Reply]


async def encode_off_loop(size: int, encode: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `encode`, in a worker thread if `size`, the characters of its text, is large."""
    if size < _LONG_TEXT:
        return encode(*args, **kwargs)
    return await asyncio.to_thread(encode, *args, **kwargs)
