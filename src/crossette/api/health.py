"""GET /health, /health/live, /health/ready, /ping and /metrics: endpoints for monitoring."""

from __future__ import annotations

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crossette.accounts.ledger import Ledger, LedgerStats
from crossette.api.exchange import Exchange
from crossette.api.http import json_response
from crossette.api.models import ServedModel, ServedModels
from crossette.engine import Speeds
from crossette.errors import ADMIN_HINT, Forbidden
from crossette.observability.metrics import Metrics
from crossette.pool.adapter import AdapterModel
from crossette.pool.model import ModelState, PooledModel


class Live(msgspec.Struct):
    status: Literal["ok", "failed"]


class Health(msgspec.Struct):
    status: Literal["ok", "failed", "draining", "stalled"]


class EngineCounts(msgspec.Struct):
    """The counts in `EngineStats`, without its histograms."""

    running: int
    waiting: int
    blocks_total: int
    blocks_free: int
    cached_blocks: int
    steps: int
    preemptions: int
    prompt_tokens: int
    completion_tokens: int
    drafts: int
    accepted_drafts: int
    stalled: bool
    alive: bool
    pending_prompt_tokens: int
    speeds: Speeds


class ModelHealth(msgspec.Struct):
    id: str
    state: ModelState
    warnings: tuple[str, ...]
    """Where the model falls short of what this server documents."""
    stats: EngineCounts | None
    """None for a model that is not in memory."""
    details: dict[str, int | str]
    """What the engine says of itself, such as the number of its threads; empty for a model that is not in memory."""


class Ready(msgspec.Struct):
    status: Literal["ok", "draining", "stalled"]
    models: list[ModelHealth]
    ledger: LedgerStats
    """Whether the ledger keeps up."""


PROBES = frozenset({"/health", "/health/live", "/health/ready", "/ping"})
"""Paths that load balancers request, by any address of the server."""


async def health(request: Request, models: ServedModels, *, draining: bool) -> Response:
    """/health and /ping, as monitors of vLLM, llama-server and SageMaker request them: 200 if requests are accepted.

    503 while the server shuts down, or an engine has stopped or is stalled.
    """
    stats = [engine.stats() for engine in models.pool.engines.values()]
    if not all(engine.alive for engine in stats):
        body = Health("failed")
    else:
        body = Health("draining" if draining else "stalled" if any(engine.stalled for engine in stats) else "ok")
    return json_response(body, status=200 if body.status == "ok" else 503)


async def live(request: Request, models: ServedModels) -> Response:
    """Liveness: 200, or 503 if an engine has stopped. Then the process must be restarted."""
    alive = all(engine.stats().alive for engine in models.pool.engines.values())
    return json_response(Live("ok" if alive else "failed"), status=200 if alive else 503)


async def ready(request: Request, models: ServedModels, ledger: Ledger, *, draining: bool) -> Response:
    """Readiness: 200, or 503 while the server shuts down or an engine is stalled."""
    health = [_health(model) for model in models.by_name.values() if not isinstance(model, AdapterModel)]
    stalled = any(model.stats.stalled for model in health if model.stats is not None)
    body = Ready("draining" if draining else "stalled" if stalled else "ok", health, ledger.stats())
    return json_response(body, status=200 if body.status == "ok" else 503)


def _health(model: ServedModel) -> ModelHealth:
    engine = model.engine if isinstance(model, PooledModel) else None
    if engine is None:
        return ModelHealth(model.name, model.state, (), None, {})
    counts = msgspec.convert(engine.stats(), EngineCounts, from_attributes=True)
    return ModelHealth(model.name, model.state, engine.warnings, counts, dict(engine.details))


async def metrics(request: Request, metrics: Metrics) -> Response:
    """All metrics in a Prometheus format. Raises Forbidden for a key that is not an admin key."""
    if not Exchange.of(request.scope).caller.is_admin:
        raise Forbidden("Only an admin key may read metrics. Ask the administrator for one.", hint=ADMIN_HINT)
    page, media_type = metrics.page(request.headers.get("accept", ""))
    return Response(page, headers={"content-type": media_type})
