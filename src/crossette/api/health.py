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
    """Requests are welcome: 200, or 503 while the server shuts down or an engine hangs.

    Warnings say what is less than promised.
    """
    stalled = [name for name, engine in models.engines.items() if engine.stats().stalled]
    status = "draining" if draining else "stalled" if stalled else "ok"
    body = {
        "status": status,
        "models": [
            {"id": name, "warnings": engine.warnings, "stats": engine.stats()}
            for name, engine in models.engines.items()
        ],
    }
    return json_response(body, status=200 if status == "ok" else 503)
