"""GET /health/live and /health/ready."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from crossette.api.http import json_response
from crossette.api.models import ServedModels


async def live(request: Request) -> Response:
    """The process answers."""
    return json_response({"status": "ok"})


async def ready(request: Request, models: ServedModels, *, draining: bool) -> Response:
    """Requests are welcome: 200, or 503 while the server shuts down. Warnings say what is less than promised."""
    body = {
        "status": "draining" if draining else "ok",
        "models": [
            {"id": name, "warnings": engine.warnings, "stats": engine.stats()}
            for name, engine in models.engines.items()
        ],
    }
    return json_response(body, status=503 if draining else 200)
