"""The table of paths: each method and path has the handler that Starlette's router finds."""

from __future__ import annotations

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from crossette.api.app import App
from crossette.api.models import ServedModels
from crossette.api.router import TableRouter
from crossette.pool.pool import ModelPool
from crossette.testing.fake_engine import FakeEngine
from support.engine_calls import run

APP = App(ServedModels(ModelPool.of({"fake": FakeEngine()})))
CASES = [(method, route.path) for route in APP.routes for method in sorted(route.methods or ())]


async def named(request: Request) -> Response:
    return Response(request.url.path)


async def retrieved(request: Request) -> Response:
    return Response(f"one: {request.path_params['name']}")


async def answered(router: TableRouter, method: str, path: str) -> tuple[bytes, object]:
    """The body of the answer, and the endpoint that the record of the request names."""
    bodies: list[bytes] = []

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        bodies.append(message.get("body", b""))

    async def receive() -> dict[str, object]:
        raise AssertionError("the request has no body")

    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b"", "server": ("a", 1)}
    await router(scope, receive, send)
    return b"".join(bodies), scope["endpoint"]


@pytest.mark.parametrize(("method", "path"), CASES)
def test_the_table_has_the_handler_that_matching_finds(method: str, path: str) -> None:
    router = TableRouter(APP.routes, APP.routes[0].app)
    scope = {"type": "http", "method": method, "path": path}
    found = next(route.endpoint for route in APP.routes if route.matches(dict(scope))[0] is Match.FULL)
    listed = router.table.get((method, path))
    assert listed is (None if "{" in path else found)


def test_a_path_behind_a_pattern_that_matches_it_is_left_to_the_pattern() -> None:
    routes = [Route("/a/{name}", retrieved), Route("/a/b", named), Route("/c", named)]
    router = TableRouter(routes, routes[0].app)
    assert run(answered(router, "GET", "/a/b")) == (b"one: b", retrieved)
    assert run(answered(router, "GET", "/c")) == (b"/c", named)
    assert [path for _, path in sorted(router.table)] == ["/c", "/c"]
