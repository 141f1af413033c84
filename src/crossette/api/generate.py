"""The request handling that both completion endpoints share: read, prepare, admit, answer."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from crossette import __version__
from crossette.api.dialect import Dialect
from crossette.api.exchange import Exchange
from crossette.api.extras import Extras
from crossette.api.guards.admission import Admission
from crossette.api.guards.sizes import check_sizes
from crossette.api.http import EventStream, cancel_on_disconnect, json_response
from crossette.api.perf_headers import metric_headers
from crossette.api.request_body import read_json
from crossette.api.schema.answer import Head
from crossette.api.schema.common import GenerationFields
from crossette.api.schema_headers import schema_headers
from crossette.api.services import Services
from crossette.engine import Engine, ModelInfo
from crossette.generation.answer import Answer, Timings, start
from crossette.text.output_plan import PLAIN, OutputPlan
from crossette.types import Constraint, GenerationRequest

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
BodyT = TypeVar("BodyT", bound=GenerationFields)

_ISOLATION_HEADER = "x-prompt-cache-isolation-key"
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

    def chunks(self, answer: Answer) -> AsyncGenerator[Any, None]: ...

    async def completion(self, answer: Answer) -> Any: ...


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[BodyT]):
    """A completion endpoint: its body type, and how a body is prepared and answered."""

    body_type: type[BodyT]
    prepare: Callable[[BodyT, Engine, Dialect], Awaitable[Call]]
    reply: Callable[[Head, BodyT, Dialect, Extras | None], Reply]


async def create(
    request: Request,
    endpoint: Endpoint[BodyT],
    services: Services,
    dialect: Dialect,
    admission: Admission,
) -> Response:
    """Answer one request. All checks run before the first byte of the answer."""
    exchange = Exchange.of(request.scope)
    exchange.body = body = await read_json(request, endpoint.body_type, services.settings)
    timings = Timings()
    body.check(dialect)
    check_sizes(body, services.settings)
    engine = services.models.only(exchange.caller.models).find(body.model)
    exchange.model = engine.info.name
    call = await endpoint.prepare(body, engine, dialect)
    plan = await services.grammars.plan(call.plan, engine) if call.plan is not None else PLAIN
    extras = Extras.of(body, engine.tokenizer, dialect)
    reply = endpoint.reply(_head(exchange.answer_id, body, engine.info, dialect), body, dialect, extras)
    max_attempts = services.settings.max_attempts if plan.checked else 1
    for name, value in schema_headers(plan).items():
        log.info("%s: %s", name, value)
    call = _within_budget(call, body.num_generated * max_attempts, admission)
    requests = _requests(body, call, engine, dialect, plan.constraint, exchange)
    admission.begin(engine, requests, max_attempts)
    exchange.answer = answer = start(
        engine,
        requests,
        body.stops(dialect),
        echo_last=body.num_echoed,
        traced=extras is not None and extras.needs_tokens,
        plan=plan,
        timings=timings,
        max_attempts=max_attempts,
        holds_all=not body.stream,
    )
    headers = partial(_headers, answer, dialect, plan)

    async def close() -> None:
        await answer.aclose()
        admission.end(answer.usage)

    if body.stream:
        return EventStream(reply.chunks(answer), close, dialect, exchange.request_id, services.settings, headers)
    try:
        completion = await cancel_on_disconnect(request.receive, reply.completion(answer))
        exchange.note_finish_reasons(completion)
        return json_response(completion, headers=headers())
    finally:
        await close()  # a coroutine that was cancelled before it started has closed nothing


def _headers(answer: Answer, dialect: Dialect, plan: OutputPlan) -> dict[str, str]:
    return metric_headers(answer, dialect) | schema_headers(plan)


def _head(answer_id: str, body: GenerationFields, info: ModelInfo, dialect: Dialect) -> Head:
    fingerprint = _fingerprint(info) if dialect.fingerprints else UNSET
    return Head(answer_id, body.model, system_fingerprint=fingerprint, service_tier=body.tier_used or UNSET)


def _fingerprint(info: ModelInfo) -> str:
    """A hash that changes when the server or the model changes, as outputs may then change too."""
    identity = repr((__version__, info.name, info.architecture, info.quantization, info.vocab_size))
    return "fp_" + hashlib.sha256(identity.encode()).hexdigest()[:10]


def _within_budget(call: Call, num_generated: int, admission: Admission) -> Call:
    """Limit answers without a requested length to the budget of the key, for `num_generated` answers to each prompt."""
    max_generated = admission.max_generated(sum(map(len, call.prompts)))
    if max_generated is None:
        return call
    each = max(1, max_generated // (len(call.prompts) * num_generated))
    return replace(call, default_max_tokens=min(each, call.default_max_tokens or each))


def _requests(
    body: GenerationFields,
    call: Call,
    engine: Engine,
    dialect: Dialect,
    constraint: Constraint | None,
    exchange: Exchange,
) -> list[GenerationRequest]:
    drafts, logprobs = body.drafts(), body.logprobs_options
    if isinstance(drafts, str):
        drafts = engine.tokenizer.encode(drafts, specials=False) if drafts else []
    isolation_key = body.isolation_key(exchange.headers.get(_ISOLATION_HEADER, ""), exchange.answer_id)
    ranked = body.num_generated > body.num_choices
    end_token_ids = body.end_token_ids(engine.info) | call.end_token_ids
    return [
        GenerationRequest(
            id=f"{exchange.answer_id}-{index}",
            prompt=prompt,
            sampling=body.sampling(
                dialect,
                prompt_tokens=len(prompt),
                window=engine.info.context_length,
                default=call.default_max_tokens,
                defaults=engine.info.sampling_defaults,
            ),
            n=body.num_generated,
            logprobs=logprobs.num_top if logprobs else 0 if ranked else None,
            prompt_logprobs=logprobs is not None and body.num_echoed > 0,
            end_token_ids=end_token_ids,
            constraint=constraint,
            prediction=tuple(drafts),
            tenant=exchange.caller.id,
            isolation_key=isolation_key,
            priority=body.engine_priority,
        )
        for index, prompt in enumerate(call.prompts)
    ]


async def encode_off_loop(size: int, encode: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `encode`, in a worker thread if `size`, the characters of its text, is large."""
    if size < _LONG_TEXT:
        return encode(*args, **kwargs)
    return await asyncio.to_thread(encode, *args, **kwargs)
