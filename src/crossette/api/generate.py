"""What both completion endpoints do with a request: read, prepare, admit, answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from crossette.api.dialect import Dialect
from crossette.api.http import EventStream, HttpSettings, json_response, read_json, unless_gone
from crossette.api.models import ServedModels
from crossette.api.schema.common import GenerationFields, Head
from crossette.api.schema.fields import Neutral
from crossette.api.schema.logprobs import Logprobs, LogprobsAsked, logprobs_body
from crossette.engine import Engine, Tokenizer
from crossette.generation import Answer, start
from crossette.text.trace import TokenText
from crossette.types import GenerationRequest

P = ParamSpec("P")
T = TypeVar("T")
BodyT = TypeVar("BodyT", bound=GenerationFields)
ContraBodyT = TypeVar("ContraBodyT", bound=GenerationFields, contravariant=True)

_LONG_TEXT = 10_000
"""Characters from which encoding leaves the event loop: about a millisecond of work."""


@dataclass(frozen=True, slots=True)
class Call:
    """What an endpoint makes of its body: prompts as tokens, and its default for max_tokens (None: the room)."""

    prompts: list[tuple[int, ...]]
    default_max_tokens: int | None


@dataclass(frozen=True, slots=True)
class Ids:
    """The names of one exchange: `answer` stands in the body, `request` in x-request-id, in errors and in the log."""

    answer: str
    request: str


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes the logprobs of a request's tokens, in the shape it asked for."""

    asked: LogprobsAsked | None
    tokenizer: Tokenizer
    dialect: Dialect

    def __call__(self, tokens: Sequence[TokenText]) -> Logprobs | None:
        """None where none were asked for."""
        return logprobs_body(self.asked, tokens, self.tokenizer.spelling, detailed=self.dialect.detailed_logprobs)


class Reply(Protocol):
    """Writes an answer in an endpoint's shape."""

    def chunks(self, answer: Answer) -> AsyncGenerator[Any, None]: ...

    async def whole(self, answer: Answer) -> Any: ...


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[BodyT]):
    """A completion endpoint: how its body is read, prepared and answered."""

    body_type: type[BodyT]
    unbuilt: dict[str, Neutral]
    prepare: Callable[[BodyT, Engine, Dialect], Awaitable[Call]]
    reply: Callable[[Head, BodyT, Dialect, Writer], Reply]


async def create(
    request: Request,
    endpoint: Endpoint[BodyT],
    models: ServedModels,
    dialect: Dialect,
    settings: HttpSettings,
    ids: Ids,
) -> Response:
    """Answer one request. All that may refuse it comes before the first byte of the answer."""
    body = await read_json(request, endpoint.body_type, settings)
    body.check(endpoint.unbuilt)
    engine = models.find(body.model)
    call = await endpoint.prepare(body, engine, dialect)
    asked = body.logprobs_asked(dialect)
    requests = _requests(ids.answer, body, call, engine, dialect)
    answer = start(engine, requests, body.stops(dialect), echo_last=body.num_echoed, traced=asked is not None)
    request.state.answer, request.state.body = answer, body  # for the access log
    reply = endpoint.reply(Head(ids.answer, body.model), body, dialect, Writer(asked, engine.tokenizer, dialect))
    if body.stream:
        return EventStream(reply.chunks(answer), answer.aclose, dialect, ids.request, settings)
    try:
        return json_response(await unless_gone(request.receive, reply.whole(answer)))
    finally:
        await answer.aclose()  # a coroutine that was cancelled before it began has ended nothing


def _requests(
    answer_id: str, body: GenerationFields, call: Call, engine: Engine, dialect: Dialect
) -> list[GenerationRequest]:
    drafts, asked = body.drafts(), body.logprobs_asked(dialect)
    if isinstance(drafts, str):
        drafts = engine.tokenizer.encode(drafts, specials=False) if drafts else []
    ranked = body.num_generated > body.num_choices
    return [
        GenerationRequest(
            id=f"{answer_id}-{place}",
            prompt=prompt,
            sampling=body.sampling(
                dialect,
                prompt_tokens=len(prompt),
                window=engine.info.context_length,
                default=call.default_max_tokens,
                defaults=engine.info.sampling_defaults,
            ),
            n=body.num_generated,
            logprobs=asked.num_top if asked else 0 if ranked else None,
            prompt_logprobs=asked is not None and body.num_echoed > 0,
            end_token_ids=engine.info.end_token_ids,
            prediction=tuple(drafts),
            isolation_key=body.prompt_cache_isolation_key or "",
        )
        for place, prompt in enumerate(call.prompts)
    ]


async def encode_off_loop(size: int, encode: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `encode`, in another thread if its text of `size` characters is long."""
    if size < _LONG_TEXT:
        return encode(*args, **kwargs)
    return await asyncio.to_thread(encode, *args, **kwargs)
