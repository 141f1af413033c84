"""The router: a table of the paths without parameters, and Starlette's for all others."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.routing import Match, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send


class TableRouter(Router):
    """Finds most routes by method and path, instead of matching one pattern after another."""

    def __init__(self, routes: Sequence[Route], default: ASGIApp) -> None:
        super().__init__(routes, redirect_slashes=False, default=default)
        exact = [(index, route) for index, route in enumerate(routes) if "{" not in route.path]
        self.table = {
            (method, route.path): route.endpoint
            for index, route in exact
            for method in route.methods or ()
            if not any(_matches(earlier, method, route.path) for earlier in routes[:index])
        }
        """Handlers by method and path: of those paths that no earlier route matches."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handle = self.table.get((scope["method"], scope["path"]))
        if handle is None:
            await super().__call__(scope, receive, send)
            return
        scope["endpoint"], scope["path_params"] = handle, {}
        response = await handle(Request(scope, receive, send))
        await response(scope, receive, send)


def _matches(route: Route, method: str, path: str) -> bool:
    return route.matches({"type": "http", "method": method, "path": path})[0] is not Match.NONE
