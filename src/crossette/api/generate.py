"""A request that generates, from its body to the end of its answer: read, load, prepare, admit, answer."""

from __future__ import annotations

import logging
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from crossette.api.dialect import Dialect
from crossette.api.endpoint import BodyT, Call, Endpoint, SentT
from crossette.api.exchange import Exchange
from crossette.api.extras import Extras
from crossette.api.guards.admission import Admission
from crossette.api.guards.sizes import check_sizes
from crossette.api.http import EventStream, cancel_on_disconnect, json_response
from crossette.api.models import check_generates
from crossette.api.perf_headers import metric_headers
from crossette.api.remote.run import RemoteRun
from crossette.api.request_body import read_json
from crossette.api.run import Begun, Run
from crossette.api.schema.answer import head
from crossette.api.schema.common import BATCH_PRIORITY, ISOLATION_HEADER, GenerationFields, check_token_ids
from crossette.api.schema_headers import schema_headers
from crossette.api.services import Services
from crossette.engine import Engine, ModelInfo
from crossette.errors import InvalidRequest, Unsupported
from crossette.generation.answer import Timings, start
from crossette.pool.pool import Lease
from crossette.remote.model import RemoteModel
from crossette.text.output_plan import PLAIN
from crossette.types import Constraint, GenerationRequest

log = logging.getLogger(__name__)


async def create(
    request: Request,
    endpoint: Endpoint[SentT, BodyT],
    services: Services,
    dialect: Dialect,
    admission: Admission,
) -> Response:
    """Answer one request. All checks run before the first byte of the answer.

    Except for a stream whose model must be loaded first: its status waits as it does for a first token.
    """
    exchange = Exchange.of(request.scope)
    sent = await read_json(request, endpoint.sent_type, services.settings)
    if endpoint.load is not None:
        sent = await endpoint.load(sent, request, services)
    timings = Timings()
    with endpoint.naming():
        exchange.body = body = endpoint.body(sent, dialect)
        body.check(dialect)
        check_sizes(body, services.settings)
    model = services.models.only(exchange.caller.models).find(body.model)
    check_generates(model, f"{dialect.prefix}/embeddings")
    exchange.model = model.name
    if endpoint.defer is not None and (deferred := await endpoint.defer(sent, request, services, dialect)) is not None:
        return deferred
    given = sent, body, endpoint, services, dialect, admission, exchange, timings
    run: Run[SentT, BodyT]
    if isinstance(model, RemoteModel):
        run = RemoteRun(*given, remote=model)
        await run.begin()
    else:
        run = EngineRun(*given)
        if model.engine is not None:
            await run.begin()
    if body.stream:
        return EventStream(
            run.chunks(), run.close, endpoint.wire, run.failure, services.settings, run.headers, run.is_ending
        )
    try:
        completion = await cancel_on_disconnect(request.receive, run.completion())
        return json_response(completion, headers=run.headers())
    finally:
        await run.close()  # a coroutine that was cancelled before it started has closed nothing


class EngineRun(Run[SentT, BodyT]):
    """A request that an engine of this server answers."""

    async def _begin(self) -> Begun:
        """Load the model if necessary, prepare the prompts, and pass the request to the engine."""
        lease = await self.services.models.pool.acquire(self.exchange.model)
        try:
            return await self._begin_with(lease)
        except BaseException:
            lease.release()
            raise

    async def _begin_with(self, lease: Lease) -> Begun:
        body, dialect, exchange, services = self.body, self.dialect, self.exchange, self.services
        engine = lease.engine
        call = await self.endpoint.prepare(body, engine, dialect)
        call = await services.images.placed(call, body, engine)
        plan = await services.grammars.plan(call.plan, engine) if call.plan is not None else PLAIN
        extras = Extras.of(body, engine.tokenizer, dialect)
        first = head(exchange.answer_id, body, _identity(engine.info, lease.adapter), dialect)
        reply = self.endpoint.reply(first, self.sent, dialect, extras)
        max_attempts = services.settings.max_attempts if plan is not PLAIN and plan.checked else 1
        for name, value in schema_headers(plan).items():
            log.info("%s: %s", name, value)
        call = _continued(call, body, engine, is_constrained=plan.constraint is not None)
        call = _within_budget(call, body.num_generated * max_attempts, self.admission)
        requests = _requests(body, call, engine, dialect, plan.constraint, exchange, lease.adapter)
        await self.admission.begin(engine, requests, max_attempts)
        exchange.answer = answer = start(
            engine,
            requests,
            body.stops(dialect),
            echo_last=body.num_echoed,
            continued=body.continue_token_ids or (),
            traced=extras is not None and extras.needs_tokens,
            plan=plan,
            timings=self.timings,
            max_attempts=max_attempts,
            holds_all=not body.stream,
        )

        def headers() -> dict[str, str]:
            return metric_headers(answer, dialect) | schema_headers(plan)

        return Begun(answer, reply, headers, lease.release)


def _identity(info: ModelInfo, adapter: str | None) -> tuple[object, ...]:
    """What outputs depend on."""
    own = () if adapter is None else (adapter,)
    return info.name, info.architecture, info.quantization, info.vocab_size, *own


def _continued(call: Call, body: GenerationFields, engine: Engine, *, is_constrained: bool) -> Call:
    """The prompts, with the tokens that the answers begin with. Raises InvalidRequest, or Unsupported."""
    continued = tuple(body.continue_token_ids or ())
    if not continued:
        return call
    if is_constrained:
        raise Unsupported(
            "continue_token_ids cannot be combined with tools or a response format: a grammar begins with the answer.",
            param="continue_token_ids",
        )
    ends = body.end_token_ids(engine.info) | call.end_token_ids
    check_token_ids("continue_token_ids", continued, engine.info)
    if (end := next((index for index, token in enumerate(continued) if token in ends), None)) is not None:
        path = f"continue_token_ids[{end}]"
        raise InvalidRequest(f"{path} is {continued[end]}, an end token: no text follows it.", param=path)
    return replace(call, prompts=[(*prompt, *continued) for prompt in call.prompts])


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
    adapter: str | None,
) -> list[GenerationRequest]:
    drafts, logprobs = body.drafts(), body.logprobs_options
    if isinstance(drafts, str):
        drafts = engine.tokenizer.encode(drafts, specials=False) if drafts else []
    isolation_key = body.isolation_key(exchange.headers.get(ISOLATION_HEADER, ""), exchange.answer_id)
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
            prompt_logprobs=logprobs is not None and (body.num_echoed > 0 or bool(body.continue_token_ids)),
            end_token_ids=end_token_ids,
            constraint=constraint,
            prediction=tuple(drafts),
            tenant=exchange.caller.id,
            isolation_key=isolation_key,
            priority=BATCH_PRIORITY if exchange.batch_id else body.engine_priority,
            images=call.images,
            adapter=adapter,
        )
        for index, prompt in enumerate(call.prompts)
    ]
