"""Models that are loaded when a request asks for them, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest
from openai import OpenAI

from crossette.accounts.access import Caller
from crossette.api import model_load
from crossette.errors import ModelError
from crossette.pool.pool import ModelPool
from support.api_server import DIALECTS, LIMIT_S, ApiServer, parrot, say, serving
from support.model_loads import GIB, Loads
from support.waiting import wait_until

MODELS = ("a", "b", "c")


@pytest.fixture
def loads() -> Loads:
    return Loads(parrot)


def pool_of(loads: Loads) -> ModelPool:
    return ModelPool(map(loads.source, MODELS), memory=2 * GIB, min_idle_s=0)


@pytest.fixture
def api(loads: Loads) -> Iterator[ApiServer]:
    with serving(pool=pool_of(loads), first_byte_timeout=0.1, comment_interval=0.05) as server:
        yield server


def ask(api: ApiServer, prefix: str, model: str, **more: object) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": say(f"I am {model}")}], **more}
    return api.post(f"{prefix}/chat/completions", body)


def states(api: ApiServer, prefix: str) -> dict[str, str]:
    return {entry["id"]: entry["state"] for entry in api.get(f"{prefix}/models").json()["data"]}


def test_models_take_turns(api: ApiServer, prefix: str, loads: Loads) -> None:
    assert states(api, prefix) == dict.fromkeys(MODELS, "cold")
    for model in "abcabc":
        answer = ask(api, prefix, model)
        assert answer.json()["choices"][0]["message"]["content"] == f"I am {model}"
    assert states(api, prefix) == {"a": "asleep", "b": "awake", "c": "awake"}
    assert loads.began == list("abcabc")


def test_many_requests_for_a_cold_model_load_it_once(api: ApiServer, prefix: str, loads: Loads) -> None:
    gate = loads.hold("a")
    with ThreadPoolExecutor(20) as threads:
        asked = [threads.submit(ask, api, prefix, "a", stream=number % 2 == 0) for number in range(20)]
        wait_until(lambda: api.app.models.pool.models["a"].num_users == 20)
        assert states(api, prefix)["a"] == "loading"
        gate.set()
        assert {answer.result().status_code for answer in asked} == {200}
    assert loads.began == ["a"]
    wait_until(lambda: api.app.models.pool.models["a"].num_users == 0)


def test_a_stream_is_kept_open_by_comments_while_its_model_loads(api: ApiServer, prefix: str, loads: Loads) -> None:
    gate = loads.hold("a")
    body = {"model": "a", "prompt": say("now"), "stream": True}
    with httpx.stream("POST", api.url(f"{prefix}/completions"), json=body, timeout=LIMIT_S) as stream:
        lines = stream.iter_lines()
        assert next(lines) == ":"
        gate.set()
        rest = [line for line in lines if line.startswith("data: ")]
    assert rest[-1] == "data: [DONE]"


@pytest.mark.parametrize("stream", [False, True])
def test_a_broken_model_harms_only_its_own_requests(api: ApiServer, prefix: str, loads: Loads, stream: bool) -> None:
    loads.faults["b"] = ModelError("the file is cut")

    refused = ask(api, prefix, "b", stream=stream)
    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["code"]) == (503, *DIALECTS[prefix].errors["model_unavailable"])
    assert error["message"] == "The model 'b' cannot be loaded: the file is cut"
    assert int(refused.headers["retry-after"]) in range(25, 31)
    assert ask(api, prefix, "a").status_code == 200

    entry = api.get(f"{prefix}/models/b").json()
    assert (entry["state"], entry["error"]) == ("failed", "the file is cut")
    ready = api.get("/health/ready")
    assert ready.status_code == 200
    assert {model["id"]: model["state"] for model in ready.json()["models"]} == {
        "a": "awake",
        "b": "failed",
        "c": "cold",
    }
    assert "the file is cut" not in ready.text  # it needs no key


def test_a_disconnect_ends_the_wait_for_a_load(api: ApiServer, prefix: str, loads: Loads) -> None:
    gate, model = loads.hold("a"), api.app.models.pool.models["a"]
    for stream in (False, True):
        waiting = api.begin(f"{prefix}/completions", {"model": "a", "prompt": "x", "stream": stream})
        wait_until(lambda: model.num_users == 1)
        waiting.close()
        wait_until(lambda: model.num_users == 0)
    gate.set()


def test_an_admin_loads_and_unloads(loads: Loads, prefix: str) -> None:
    admin, user = Caller("k1", "admin", is_admin=True), Caller("k2", "user")
    callers = {"admin": admin, "user": user, "limited": replace(user, models=frozenset({"b"}))}
    with serving(pool=pool_of(loads), callers=callers, first_byte_timeout=0.1) as api:

        def post(path: str, key: str = "admin") -> httpx.Response:
            return api.post(f"{prefix}/models/{path}", {}, {"authorization": f"Bearer {key}"})

        assert post("a/load", "user").status_code == 403
        assert post("x/load").status_code == 404
        assert (post("a/load").json()["state"], loads.began) == ("awake", ["a"])

        gate = loads.hold("b")
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(ask, api, prefix, "b")
            wait_until(lambda: bool(api.app.models.pool.models["b"].num_users))
            in_use = post("b/unload")
            gate.set()
            waiting.result()
        assert (in_use.status_code, in_use.json()["error"]["code"]) == (409, DIALECTS[prefix].errors["model_in_use"][1])
        assert post("a/unload").json()["state"] == "asleep"
        assert post("a/unload").json()["state"] == "asleep"
        assert post("c/unload").json()["state"] == "cold"


def events_of(stream: httpx.Response) -> Iterator[dict[str, object]]:
    for line in stream.iter_lines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_waits_for_a_load_gets_an_error_at_the_drain_timeout(
    loads: Loads, prefix: str, stream: bool
) -> None:
    gate = loads.hold("a")
    with serving(pool=pool_of(loads), drain_timeout=0.05) as api, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(ask, api, prefix, "a", stream=stream)
        wait_until(lambda: bool(loads.began))
        api.server.should_exit = True
        answer = waiting.result()
        gate.set()

    assert answer.status_code == 503, answer.text
    assert answer.json()["error"]["code"] == DIALECTS[prefix].errors["overloaded"][1]


def test_a_load_reports_its_progress(
    api: ApiServer, prefix: str, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_load, "INTERVAL_S", 0.01)
    gate = loads.hold("a")
    url = api.url(f"{prefix}/models/a/load")
    with httpx.stream("POST", url, json={"stream": True}, timeout=LIMIT_S) as stream:
        events = events_of(stream)
        first = next(events)
        assert (first["status"], first["model"], first["expected"]) == ("loading", "a", None)
        gate.set()
        assert [*events][-1]["status"] == "awake"
    with httpx.stream("POST", url.replace("/load", "/unload"), json={"stream": True}, timeout=LIMIT_S) as stream:
        [*_, last] = events_of(stream)
        assert last["status"] == "asleep"
        assert isinstance(last["expected"], float)


def test_a_load_goes_on_without_its_client(api: ApiServer, loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_load, "INTERVAL_S", 0.01)
    gate = loads.hold("a")
    with httpx.stream("POST", api.url("/v1/models/a/load"), json={"stream": True}, timeout=LIMIT_S) as stream:
        next(events_of(stream))
    gate.set()
    wait_until(lambda: states(api, "/v1")["a"] == "awake")


@pytest.mark.parametrize("stream", [False, True])
def test_a_load_that_fails_says_why(api: ApiServer, prefix: str, loads: Loads, stream: bool) -> None:
    loads.faults["b"] = ModelError("the file is cut")
    answer = api.post(f"{prefix}/models/b/load", {"stream": stream})

    assert answer.status_code == 503
    assert answer.json()["error"]["message"] == "The model 'b' cannot be loaded: the file is cut"


def test_a_load_needs_no_body(api: ApiServer, prefix: str) -> None:
    url = api.url(f"{prefix}/models/a/load")
    assert httpx.post(url, timeout=LIMIT_S).json()["state"] == "awake"
    assert api.post(f"{prefix}/models/a/load", {"wait": True}).status_code == 400


def test_a_kept_model_is_not_unloaded_on_request(prefix: str) -> None:
    with serving() as api:
        answer = api.post(f"{prefix}/models/fake/unload", {})

        error = answer.json()["error"]
        assert (answer.status_code, error["message"]) == (409, "The model 'fake' is kept in memory.")


def test_a_stream_is_never_interrupted_for_another_model(prefix: str) -> None:
    loads = Loads()
    pool = ModelPool(map(loads.source, MODELS), memory=GIB, min_idle_s=0)
    with serving(pool=pool) as api:
        sdk = OpenAI(base_url=api.url(prefix), api_key="x", max_retries=0)
        stream = iter(sdk.completions.create(model="a", prompt="x", max_tokens=300, stream=True))
        next(stream)
        with ThreadPoolExecutor(1) as threads:
            other = threads.submit(ask, api, prefix, "b", max_tokens=2)
            chunks = list(stream)
            assert chunks[-1].choices[0].finish_reason is not None
            assert other.result().status_code == 200
    assert loads.closed[0] == "a"


def test_metrics_show_the_models_in_memory(api: ApiServer, prefix: str) -> None:
    ask(api, prefix, "a")

    page = api.get("/metrics").text
    assert 'crossette_sequences_running{model="a"}' in page
    assert 'crossette_sequences_running{model="b"}' not in page
    assert 'crossette_model_awake{model="a"} 1.0' in page
    assert 'crossette_model_awake{model="b"} 0.0' in page
