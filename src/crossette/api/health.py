"""GET /health/live and /health/ready."""

from __future__ import annotations

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crossette.api.http import json_response
from crossette.api.models import ServedModels
from crossette.engine import EngineStats
from crossette.ledger import Ledger, LedgerStats


class Live(msgspec.Struct):
    status: Literal["ok"] = "ok"


class ModelHealth(msgspec.Struct):
    id: str
    warnings: tuple[str, ...]
    """What is less than promised."""
    stats: EngineStats


class Ready(msgspec.Struct):
    status: Literal["ok", "draining", "stalled"]
    models: list[ModelHealth]
    ledger: LedgerStats
    """Whether what is done is noted."""


async def live(request: Request) -> Response:
    """The process answers."""
    return json_response(Live())


async def ready(request: Request, models: ServedModels, ledger: Ledger, *, draining: bool) -> Response:
    """Requests are welcome: 200, or 503 while the server shuts down or an engine hangs."""
    health = [ModelHealth(name, engine.warnings, engine.stats()) for name, engine in models.engines.items()]
    stalled = any(model.stats.stalled for model in health)
    body = Ready("draining" if draining else "stalled" if stalled else "ok", health, ledger.stats())
    return json_response(body, status=200 if body.status == "ok" else 503)
