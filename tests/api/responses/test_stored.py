"""Stored responses: continued, retrieved, listed, deleted, and generated in the background."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crossette.accounts.access import Caller, Limits
from crossette.accounts.database.database import Database
from crossette.accounts.database.responses import DatabaseResponses
from crossette.accounts.responses import MemoryResponses, ResponsesByCaller, StoredResponse
from crossette.api.guards.admission import AdmissionController
from crossette.api.responses import keeper
from crossette.api.responses.service import ResponsesService
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.testing.fake_engine import FakeEngine
from crossette.types import GenerationRequest
from support.api_server import LIMIT_S, ApiServer, has, parrot, say, serving
from support.ledger_entries import InMemoryLedger

KEEP = timedelta(days=1)
CALLERS = {name: Caller(f"id of {name}", name) for name in ("ann", "bob")}
ADD = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}}
CALL = '<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>'


def key(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {name}"}


def in_memory() -> ResponsesService:
    return ResponsesService(store=MemoryResponses(KEEP))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    migrated = Database(f"sqlite:///{tmp_path}/crossette.db")
    migrated.migrate()
    yield migrated
    migrated.close()


@pytest.fixture
def prompts() -> list[str]:
    return []


@pytest.fixture
def stored(prompts: list[str], database: Database) -> Iterator[ApiServer]:
    """A server that stores the responses of keys in a database, and remembers its prompts."""

    def remember(request: GenerationRequest, index: int) -> bytes:
        prompts.append(bytes(min(token, 255) for token in request.prompt).decode(errors="replace"))
        return parrot(request, index)

    service = ResponsesService(store=ResponsesByCaller(DatabaseResponses(database, KEEP), MemoryResponses(KEEP)))
    with serving(FakeEngine(remember), responses=service, callers=CALLERS) as api:
        yield api


@pytest.fixture
def create(stored: ApiServer, prefix: str) -> Callable[..., Any]:
    def post(name: str = "", **sent: Any) -> Any:
        answer = stored.post(f"{prefix}/responses", {"model": "fake", **sent}, key(name) if name else None)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return post


def ended(api: ApiServer, path: str, headers: dict[str, str] | None = None) -> Any:
    """A response in the background, once it has ended."""
    end = time.monotonic() + LIMIT_S
    while (raw := api.get(path, headers).json())["status"] in ("queued", "in_progress"):
        assert time.monotonic() < end
        time.sleep(0.01)
    return raw


# --- continued ---


@pytest.mark.parametrize("name", ["", "ann"])
def test_a_conversation_is_continued_by_id(create: Callable[..., Any], prompts: list[str], name: str) -> None:
    first = create(name, input=say("one"), instructions="Count.")
    second = create(name, input=say("two"), previous_response_id=first["id"], tools=[ADD])
    assert (first["store"], second["previous_response_id"]) == (True, first["id"])
    create(name, input=say("three"), previous_response_id=second["id"], instructions="Stop.")

    turns = [prompts[-1].index(text) for text in ("Stop.", "say: one", "assistant\none", "say: two", "assistant\ntwo")]
    assert turns == sorted(turns)
    assert "Count." not in prompts[-1]
    assert "Count." in prompts[0]


def test_a_call_is_answered_by_id(create: Callable[..., Any], prompts: list[str]) -> None:
    first = create(input=say(CALL), tools=[ADD])
    (call,) = first["output"]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "forty-two"}
    create(input=[output], tools=[ADD], previous_response_id=first["id"])

    assert prompts[-1].index('"add"') < prompts[-1].index("forty-two")


def test_an_item_is_referred_to_by_id(create: Callable[..., Any], stored: ApiServer, prefix: str) -> None:
    first = create(input=say("one"), stream=False)
    (listed,) = stored.get(f"{prefix}/responses/{first['id']}/input_items").json()["data"]
    items = [{"type": "item_reference", "id": item["id"]} for item in (listed, first["output"][0])]
    by_reference = create(input=[*items, {"role": "user", "content": "and then?"}])
    by_id = create(input="and then?", previous_response_id=first["id"])

    assert by_reference["usage"]["input_tokens"] == by_id["usage"]["input_tokens"]
    answer = stored.post(f"{prefix}/responses", {"model": "fake", "input": [{"type": "item_reference", "id": "msg_1"}]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "input[0].id")


def test_a_streamed_response_is_stored_before_its_last_event(stored: ApiServer, prefix: str) -> None:
    sdk = stored.sdk(prefix)
    with sdk.responses.stream(model="fake", input=say("one")) as stream:
        final = stream.get_final_response()

    assert sdk.responses.retrieve(final.id).output_text == "one"
    assert sdk.responses.create(model="fake", input=say("two"), previous_response_id=final.id).output_text == "two"


def test_all_text_is_sent_before_a_streamed_response_is_stored(prefix: str) -> None:
    may_save = threading.Event()

    class SlowResponses(MemoryResponses):
        def save(self, stored: StoredResponse) -> None:
            assert may_save.wait(LIMIT_S)
            super().save(stored)

    service = ResponsesService(store=SlowResponses(KEEP))
    with serving(FakeEngine(parrot), responses=service) as api:
        for event in api.sdk(prefix).responses.create(model="fake", input=say("one"), stream=True):
            if event.type == "response.output_text.done":
                assert event.text == "one"
                may_save.set()

    assert may_save.is_set()


def test_store_false_stores_nothing(create: Callable[..., Any], stored: ApiServer, prefix: str) -> None:
    raw = create(input=say("one"), store=False)

    assert raw["store"] is False
    assert stored.get(f"{prefix}/responses/{raw['id']}").status_code == 404
    answer = stored.post(f"{prefix}/responses", {"model": "fake", "input": "Hi", "previous_response_id": raw["id"]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "previous_response_id")


@pytest.mark.model
def test_a_continued_conversation_uses_the_prefix_cache(real_engine: OpenVINOEngine, prefix: str) -> None:
    with serving(real_engine, responses=in_memory()) as api:
        sent = {"model": real_engine.info.name, "max_output_tokens": 24, "temperature": 0}
        question = "Tell me about the capital of France, its rivers, its bridges, its museums and its history."
        first = api.post(f"{prefix}/responses", {**sent, "input": question}).json()
        again = {**sent, "input": "Go on.", "previous_response_id": first["id"]}
        usage = api.post(f"{prefix}/responses", again).json()["usage"]

    details = usage["input_tokens_details"]
    assert details["cached_tokens"] > 0
    assert details["cached_tokens"] + details["cache_write_tokens"] == usage["input_tokens"]


# --- retrieved and deleted ---


def test_a_response_is_retrieved_as_it_was(create: Callable[..., Any], stored: ApiServer, prefix: str) -> None:
    raw = create("ann", input=say("one"), metadata={"k": "v"})

    assert stored.get(f"{prefix}/responses/{raw['id']}", key("ann")).json() == raw
    answer = stored.get(f"{prefix}/responses/{raw['id']}?stream=true", key("ann"))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stream")


def test_another_key_finds_nothing(create: Callable[..., Any], stored: ApiServer, prefix: str) -> None:
    raw = create("ann", input=say("one"))
    path = f"{prefix}/responses/{raw['id']}"
    for headers in (key("bob"), None):
        assert stored.get(path, headers).status_code == 404
        assert stored.get(f"{path}/input_items", headers).status_code == 404
        assert stored.post(f"{path}/cancel", {}, headers).status_code == 404
        assert stored.http.delete(stored.url(path), headers=headers).status_code == 404
        body = {"model": "fake", "input": "Hi", "previous_response_id": raw["id"]}
        assert stored.post(f"{prefix}/responses", body, headers).status_code == 404
        assert stored.get(f"{prefix}/responses", headers).json()["data"] == []


def test_a_deleted_response_is_gone(create: Callable[..., Any], stored: ApiServer, prefix: str) -> None:
    raw = create(input=say("one"))
    path = f"{prefix}/responses/{raw['id']}"

    deleted = stored.http.delete(stored.url(path)).json()
    assert deleted == {
        "id": raw["id"],
        "object": "response",
        "deleted": True,
        "message": "Response deleted successfully",
    }
    assert stored.get(path).status_code == stored.http.delete(stored.url(path)).status_code == 404


def test_responses_are_listed_newest_first(create: Callable[..., Any], stored: ApiServer, prefix: str) -> None:
    ids = [create(input=say(text))["id"] for text in ("one", "two", "three")][::-1]

    page = stored.get(f"{prefix}/responses?limit=2").json()
    assert ([raw["id"] for raw in page["data"]], page["has_more"]) == (ids[:2], True)
    assert (page["object"], page["first_id"], page["last_id"]) == ("list", *ids[:2])
    rest = stored.get(f"{prefix}/responses?after={page['last_id']}").json()
    assert ([raw["id"] for raw in rest["data"]], rest["has_more"]) == (ids[2:], False)
    for query in ("limit=0", "limit=101", "limit=x", "before=resp_1"):
        assert stored.get(f"{prefix}/responses?{query}").status_code == 400
    assert stored.get(f"{prefix}/responses?after=resp_1").status_code == 404


def test_input_items_are_listed_in_either_order(create: Callable[..., Any], stored: ApiServer, prefix: str) -> None:
    items = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    raw = create(input=items)
    path = f"{prefix}/responses/{raw['id']}/input_items"

    def texts(query: str) -> list[str]:
        return [item["content"][0]["text"] for item in stored.get(f"{path}?{query}").json()["data"]]

    assert (texts("order=asc"), texts(""), texts("limit=2")) == (["a", "b", "c"], ["c", "b", "a"], ["c", "b"])
    last = stored.get(f"{path}?limit=2").json()
    assert (last["has_more"], texts(f"after={last['last_id']}")) == (True, ["a"])
    assert [item["content"][0]["type"] for item in last["data"]] == ["input_text", "output_text"]
    sdk_items = stored.sdk(prefix).responses.input_items.list(raw["id"], order="asc")
    assert [item.type for item in sdk_items] == ["message"] * 3


@pytest.mark.parametrize("service", [ResponsesService(), in_memory()])
def test_input_tokens_are_those_of_a_response(prefix: str, service: ResponsesService) -> None:
    body = {"model": "fake", "input": say("one"), "instructions": "Be brief.", "tools": [ADD]}
    with serving(responses=service) as api:
        counted = api.post(f"{prefix}/responses/input_tokens", body).json()
        usage = api.post(f"{prefix}/responses", body).json()["usage"]
        faulty = api.post(f"{prefix}/responses/input_tokens", {**body, "tools": [ADD, ADD]})

    assert counted == {"object": "response.input_tokens", "input_tokens": usage["input_tokens"]}
    assert (faulty.status_code, faulty.json()["error"]["param"]) == (400, "tools[1].name")


# --- in the background ---


@pytest.mark.parametrize("name", ["", "ann"])
def test_a_response_runs_in_the_background(
    create: Callable[..., Any], stored: ApiServer, prefix: str, name: str
) -> None:
    stored.engine.pause()
    raw = create(name, input=say("one"), background=True)
    assert (raw["status"], raw["background"], raw["store"], raw["output"]) == ("queued", True, True, [])
    body = {"model": "fake", "input": "Hi", "previous_response_id": raw["id"]}
    headers = key(name) if name else None
    answer = stored.post(f"{prefix}/responses", body, headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "previous_response_id")
    stored.engine.resume()

    done = ended(stored, f"{prefix}/responses/{raw['id']}", headers)
    assert (done["status"], done["background"], done["id"]) == ("completed", True, raw["id"])
    assert done["output"][0]["content"][0]["text"] == "one"


def test_a_response_in_the_background_can_be_cancelled(
    create: Callable[..., Any], stored: ApiServer, prefix: str
) -> None:
    stored.engine.pause()
    raw = create(input=say("one"), background=True)
    stored.engine.wait_for(has(waiting=1), LIMIT_S)
    path = f"{prefix}/responses/{raw['id']}"

    assert stored.post(f"{path}/cancel", {}).json()["status"] == "cancelled"
    assert stored.get(path).json()["status"] == "cancelled"
    stored.engine.resume()
    stored.wait_until_idle()
    assert stored.post(f"{path}/cancel", {}).json()["status"] == "cancelled"
    other = create(input=say("one"))
    answer = stored.post(f"{prefix}/responses/{other['id']}/cancel", {})
    assert answer.status_code == 400


def test_a_failure_in_the_background_is_a_failed_response(
    create: Callable[..., Any], stored: ApiServer, prefix: str
) -> None:
    stored.engine.pause()
    raw = create(input=say("one"), background=True)
    stored.engine.wait_for(has(waiting=1), LIMIT_S)
    stored.engine.fail_next_step(RuntimeError("as the test asked"))
    stored.engine.resume()

    done = ended(stored, f"{prefix}/responses/{raw['id']}")
    assert (done["status"], done["error"]["code"]) == ("failed", "server_error")
    assert "engine failed" in done["error"]["message"]


def test_an_invalid_response_is_rejected_at_once(stored: ApiServer, prefix: str) -> None:
    for sent, param in (
        ({"stream": True}, "stream"),
        ({"store": False}, "store"),
        ({"temperature": 9}, "temperature"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ):
        answer = stored.post(f"{prefix}/responses", {"model": "fake", "input": "Hi", "background": True, **sent})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    answer = stored.post(f"{prefix}/responses", {"model": "other", "input": "Hi", "background": True})
    assert answer.status_code == 404


def test_the_background_has_the_limits_and_the_ledger_of_its_key(prefix: str) -> None:
    ledger = InMemoryLedger()
    callers = {"ann": Caller("id of ann", "ann", limits=Limits(concurrent_requests=1))}
    with serving(responses=in_memory(), callers=callers, ledger=ledger, admissions=AdmissionController()) as api:
        body = {"model": "fake", "input": say("one"), "background": True}
        raw = api.post(f"{prefix}/responses", body, key("ann")).json()
        done = ended(api, f"{prefix}/responses/{raw['id']}", key("ann"))
        api.observed.wait_for(2)

    assert done["status"] == "completed", done
    used = {entry.id: entry.usage.total_tokens for entry in ledger.entries if entry.key_id == "id of ann"}
    assert used[raw["id"]] == done["usage"]["total_tokens"]
    assert sum(used.values()) == used[raw["id"]]


def test_a_response_of_a_server_that_was_killed_has_failed(
    create: Callable[..., Any], stored: ApiServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here nothing tells any more that it is worked on."""
    monkeypatch.setattr(keeper, "LEASE", timedelta(seconds=-1))
    stored.engine.pause()
    raw = create(input=say("one"), background=True)
    found = stored.get(f"{prefix}/responses/{raw['id']}").json()
    (listed,) = stored.get(f"{prefix}/responses").json()["data"]
    stored.engine.resume()

    assert (raw["status"], found["status"], found["error"]["code"]) == ("queued", "failed", "server_error")
    assert listed == found


def test_a_response_in_the_background_is_kept_alive(
    create: Callable[..., Any],
    stored: ApiServer,
    database: Database,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "LEASE", timedelta(seconds=0.3))
    stored.engine.pause()
    raw = create("ann", input=say("one"), background=True)

    def alive_until() -> datetime:
        row = DatabaseResponses(database, KEEP).find(CALLERS["ann"].id, raw["id"])
        assert row is not None
        assert row.alive_until is not None
        return row.alive_until

    first, end = alive_until(), time.monotonic() + LIMIT_S
    while alive_until() == first:
        assert time.monotonic() < end
        time.sleep(0.01)
    stored.engine.resume()
    assert ended(stored, f"{prefix}/responses/{raw['id']}", key("ann"))["id"] == raw["id"]


# --- what stays out of the log ---


def test_no_content_is_in_the_log(create: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "crossette"):
        first = create("ann", input=say("a secret answer"), instructions="a secret order")
        create("ann", input=say("another"), previous_response_id=first["id"])

    assert "secret" not in caplog.text


def test_a_server_without_the_setting_says_so(api: ApiServer, prefix: str) -> None:
    raw = api.post(f"{prefix}/responses", {"model": "fake", "input": "Hi"}).json()
    assert raw["store"] is False
    path = f"{prefix}/responses/{raw['id']}"
    answers = [api.get(path), api.get(f"{prefix}/responses"), api.get(f"{path}/input_items")]
    answers += [api.post(f"{path}/cancel", {}), api.http.delete(api.url(path))]
    reference = [{"type": "item_reference", "id": "msg_1"}]
    answers.append(api.post(f"{prefix}/responses", {"model": "fake", "input": reference}))
    for answer in answers:
        assert answer.status_code == 400
        assert "store_responses" in answer.json()["error"]["message"]
