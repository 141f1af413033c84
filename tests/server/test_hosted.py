"""The application under another ASGI server: it starts and ends with that server's lifespan."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from crossette.accounts.database.database import Database
from crossette.accounts.database.keys import Keys
from crossette.api.app import App
from crossette.api.models import ServedModels
from crossette.errors import ConfigError
from crossette.pool.pool import ModelPool
from crossette.server.hosted import HostedApp, open_app
from crossette.server.settings import Settings, load_settings
from crossette.testing.fake_engine import FakeEngine
from support.api_server import parrot, say

SCOPE = {"type": "lifespan", "asgi": {"version": "3.0"}}


class OtherServer:
    """The part of an ASGI server that runs a lifespan."""

    def __init__(self, app: HostedApp) -> None:
        self._app = app
        self._sent: asyncio.Queue[Any] = asyncio.Queue()
        self._received: asyncio.Queue[Any] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> dict[str, Any]:
        self._task = asyncio.create_task(self._app(SCOPE, self._received.get, self._sent.put))
        return await self._ask("lifespan.startup")

    async def end(self) -> dict[str, Any]:
        assert self._task is not None
        answer = await self._ask("lifespan.shutdown")
        await self._task
        return answer

    async def _ask(self, message: str) -> dict[str, Any]:
        await self._received.put({"type": message})
        answer: dict[str, Any] = await self._sent.get()
        return answer


def settings_of(folder: Path, **values: str) -> Settings:
    environ = {"database_url": f"sqlite:///{folder}/crossette.db", "host": "0.0.0.0", "allow_anonymous": "true"}
    return load_settings({}, {f"CROSSETTE_{name.upper()}": value for name, value in (environ | values).items()})


def fake_models(engine: FakeEngine) -> ServedModels:
    return ServedModels(ModelPool.of({engine.info.name: engine}))


def test_it_serves_between_its_start_and_its_end(tmp_path: Path) -> None:
    engine = FakeEngine(parrot)
    _, key = Keys(database(tmp_path)).create("alice")
    hosted = HostedApp(lambda: open_app(settings_of(tmp_path, allow_anonymous="false"), lambda _: fake_models(engine)))

    async def work() -> None:
        server = OtherServer(hosted)
        assert not hosted.is_alive
        assert await server.start() == {"type": "lifespan.startup.complete"}
        assert hosted.is_alive
        transport = httpx.ASGITransport(hosted)
        async with httpx.AsyncClient(transport=transport, base_url="http://api.example") as client:
            body = {"model": "fake", "prompt": say("hello")}
            assert (await client.post("/v1/completions", json=body)).status_code == 401
            answer = await client.post("/v1/completions", json=body, headers={"authorization": f"Bearer {key}"})
            assert answer.json()["choices"][0]["text"] == "hello"
        assert await server.end() == {"type": "lifespan.shutdown.complete"}

    asyncio.run(work())

    assert not hosted.is_alive
    assert engine._is_closed
    assert rows(tmp_path) == 2


def test_requests_that_run_at_the_end_get_an_error(tmp_path: Path) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    hosted = HostedApp(lambda: open_app(settings_of(tmp_path), lambda _: fake_models(engine)))

    async def work() -> httpx.Response:
        server = OtherServer(hosted)
        await server.start()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(hosted), base_url="http://api.example") as client:
            request = asyncio.create_task(client.post("/v1/completions", json={"model": "fake", "prompt": "x"}))
            while not engine.stats().waiting + engine.stats().running:
                await asyncio.sleep(0)
            await server.end()
            return await request

    assert asyncio.run(work()).status_code == 503


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    async def work() -> dict[str, Any]:
        return await OtherServer(HostedApp(failing)).start()

    @contextmanager
    def failing() -> Iterator[App]:
        raise ConfigError("there is no such model")
        yield

    assert asyncio.run(work()) == {"type": "lifespan.startup.failed", "message": "there is no such model"}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"host": "127.0.0.1"}, r"--host is 127\.0\.0\.1, but the other server listens on all addresses"),
        ({"tls_cert": "a.pem", "tls_key": "b.pem"}, "--tls-cert has no effect"),
        ({"allow_anonymous": "false"}, "is reachable from other machines, but there are no keys"),
    ],
)
def test_settings_that_cannot_have_their_effect_are_refused(
    tmp_path: Path, values: dict[str, str], reason: str
) -> None:
    with (
        pytest.raises(ConfigError, match=reason),
        open_app(settings_of(tmp_path, **values), lambda _: fake_models(FakeEngine())),
    ):
        pass


def database(folder: Path) -> Database:
    database = Database(f"sqlite:///{folder}/crossette.db")
    database.migrate()
    return database


def rows(folder: Path) -> int:
    """The requests in the ledger."""
    with database(folder).read() as connection:
        number: int = connection.exec_driver_sql("SELECT count(*) FROM requests").scalar_one()
        return number
