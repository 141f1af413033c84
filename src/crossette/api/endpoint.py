"""What makes an endpoint that generates: its body type, its prompts, and its answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crossette.api.dialect import Dialect
from crossette.api.extras import Extras
from crossette.api.schema.answer import Head
from crossette.api.schema.common import GenerationFields
from crossette.api.services import Services
from crossette.api.wire import CHUNKS, Wire
from crossette.engine import Engine
from crossette.errors import ServingError
from crossette.generation.answer import DeltaSource
from crossette.text.output_plan import OutputPlan
from crossette.types import PlacedImage

P = ParamSpec("P")
T = TypeVar("T")
SentT = TypeVar("SentT", bound=msgspec.Struct)
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
    images: tuple[PlacedImage, ...] = ()
    """The images in the prompt, of which there is only one then."""


class Reply(Protocol):
    """Converts an answer to the wire types of an endpoint."""

    finish_reasons: list[str]
    """Why the choices written so far ended, in chat's words."""
    ends_at_once: bool = True
    """Whether nothing is waited for between the last delta and the end of a stream."""

    def chunks(self, answer: DeltaSource) -> AsyncGenerator[Any, None]: ...

    async def completion(self, answer: DeltaSource) -> Any: ...

    def failure(self, error: ServingError) -> Any:
        """The last event of a stream that `error` ended; None for the error's own body."""
        return None


def _same(path: str) -> str:
    return path


_AS_NAMED = nullcontext()


def as_sent(sent: BodyT, dialect: Dialect) -> BodyT:
    """The body of a request that is one for chat or completions as it was sent."""
    return sent


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[SentT, BodyT]):
    """An endpoint that generates: its wire type, and how a request is understood, prepared and answered."""

    path: str
    """Under the prefix of a dialect."""
    sent_type: type[SentT]
    body: Callable[[SentT, Dialect], BodyT]
    """A request as one for chat or completions, which all that follows reads."""
    prepare: Callable[[BodyT, Engine, Dialect], Awaitable[Call]]
    reply: Callable[[Head, SentT, Dialect, Extras | None], Reply]
    wire: Wire = CHUNKS
    names: Callable[[str], str] = _same
    """The path of a field in its requests, from the path in the body for chat or completions."""
    load: Callable[[SentT, Request, Services], Awaitable[SentT]] | None = None
    """Completes a request with what the server has for it. Errors have the paths of the request as it was sent."""
    defer: Callable[[SentT, Request, Services, Dialect], Awaitable[Response | None]] | None = None
    """The response to a valid request that is answered later; None for one that is answered now."""

    def naming(self) -> AbstractContextManager[None]:
        """Within, errors name the fields of this endpoint's requests."""
        return _AS_NAMED if self.names is _same else self._renaming()

    @contextmanager
    def _renaming(self) -> Iterator[None]:
        try:
            yield
        except ServingError as error:
            if error.param is not None:
                error.rename(self.names(error.param))
            raise


async def encode_off_loop(size: int, encode: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `encode`, in a worker thread if `size`, the characters of its text, is large."""
    if size < _LONG_TEXT:
        return encode(*args, **kwargs)
    return await asyncio.to_thread(encode, *args, **kwargs)
