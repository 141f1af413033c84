"""/batches over a real socket, with the SDK."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Batch

from crossette.accounts.access import Caller, Limits
from crossette.accounts.database.database import Database
from crossette.accounts.database.ledger_writer import DatabaseLedger
from crossette.accounts.key_accounts import LocalAccounts
from crossette.accounts.limits import Limiter, Reservation
from crossette.accounts.prices import Price
from crossette.api.guards.admission import AdmissionController
from crossette.errors import Unauthorized
from crossette.testing.fake_engine import FakeEngine
from support.api_server import PREFIXES, ApiServer, has, parrot, say, serving, strictly
from support.batch_files import CHAT, chat_line, create, jsonl, results, texts, wait_for
from support.file_storage import storage
from support.key_clock import Clock
from support.ledger_entries import InMemoryLedger


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with storage(tmp_path_factory.mktemp("batches")) as kept, serving(storage=kept) as running:
        yield running


@pytest.mark.parametrize("prefix", PREFIXES)
def test_all_lines_are_answered_in_the_order_of_the_input(server: ApiServer, prefix: str) -> None:
    sdk = server.sdk(prefix)
    batch = create(sdk, [chat_line(f"id {n}", f"text {n}") for n in range(150)], metadata={"run": "1"})
    assert (batch.status, batch.endpoint, batch.metadata) == ("validating", CHAT, {"run": "1"})

    done = wait_for(sdk, batch.id)

    assert (done.status, done.model, done.errors, done.error_file_id) == ("completed", "fake", None, None)
    assert done.request_counts is not None
    assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (150, 150, 0)
    for moment in (done.in_progress_at, done.finalizing_at, done.completed_at):
        assert moment is not None
        assert moment >= done.created_at
    answers = results(sdk, done.output_file_id)
    assert list(texts(answers).items()) == [(f"id {n}", f"text {n}") for n in range(150)]
    assert done.usage is not None
    assert done.usage.total_tokens == sum(line["response"]["body"]["usage"]["total_tokens"] for line in answers)


def test_a_batch_is_an_object_of_the_sdk(server: ApiServer) -> None:
    created = create(server.sdk("/v1"), [chat_line("a", "b")])
    wait_for(server.sdk("/v1"), created.id)

    assert strictly(Batch, server.get(f"/v1/batches/{created.id}").json()) == set()


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": say("a|b")}], "n": 2, "stop": "b"}),
        ("/inference/v1/chat/completions", {"messages": [{"role": "user", "content": say("a b")}], "stop": "b"}),
        ("/v1/completions", {"prompt": [say("x"), say("y")], "logprobs": 2}),
        ("/inference/v1/completions", {"prompt": say("x"), "perf_metrics_in_response": False}),
        ("/v1/messages", {"messages": [{"role": "user", "content": say("x")}], "max_tokens": 20}),
    ],
)
def test_an_answer_is_what_the_endpoint_answers(server: ApiServer, url: str, body: dict[str, Any]) -> None:
    sdk, body = server.sdk("/v1"), {"model": "fake", **body}
    done = wait_for(sdk, create(sdk, [{"custom_id": "a", "method": "POST", "url": url, "body": body}], url).id)

    (line,) = results(sdk, done.output_file_id)
    live = server.post(url, body).json()
    answer = line["response"]["body"]
    assert (line["response"]["status_code"], line["error"], line["custom_id"]) == (200, None, "a")
    assert line["response"]["request_id"] == line["id"]
    assert line["id"].startswith("batch_req_")
    for own in ("id", "created"):
        assert type(answer.pop(own, None)) is type(live.pop(own, None))
    assert answer == live


def test_requests_with_errors_go_to_the_error_file(server: ApiServer) -> None:
    sdk = server.sdk("/v1")
    lines = [chat_line("good", "x"), chat_line("hot", "x", temperature=9), chat_line("lost", "x", model="none")]
    done = wait_for(sdk, create(sdk, lines).id)

    assert done.request_counts is not None
    assert (done.status, done.request_counts.completed, done.request_counts.failed) == ("completed", 1, 2)
    assert list(texts(results(sdk, done.output_file_id))) == ["good"]
    hot, lost = results(sdk, done.error_file_id)
    assert (hot["custom_id"], hot["response"]["status_code"], hot["error"]) == ("hot", 400, None)
    assert hot["response"]["body"]["error"]["param"] == "temperature"
    assert (lost["custom_id"], lost["response"]["status_code"]) == ("lost", 404)


def test_a_file_with_invalid_lines_fails_and_lists_them(server: ApiServer) -> None:
    sdk = server.sdk("/v1")
    lines = [
        jsonl([chat_line("a", "x")]),
        b"\n  \n",
        b"not json\n",
        jsonl([chat_line("a", "x")]),
        jsonl([chat_line("b", "x", url="/v1/completions")]),
        jsonl([chat_line("c", "x", stream=True)]),
        jsonl([chat_line("", "x")]),
        jsonl([{"custom_id": "d"}]),
        jsonl([{**chat_line("e", "x"), "other": 1}]),
        jsonl([{**chat_line("f", "x"), "body": []}]),
    ]
    done = wait_for(sdk, create(sdk, b"".join(lines)).id)

    assert (done.status, done.failed_at is not None, done.output_file_id) == ("failed", True, None)
    assert done.errors is not None
    assert [(error.line, error.code, error.param) for error in done.errors.data or []] == [
        (4, "invalid_json_line", None),
        (5, "duplicate_custom_id", "custom_id"),
        (6, "url_mismatch", "url"),
        (7, "unsupported_parameter", "body.stream"),
        (8, "invalid_custom_id", "custom_id"),
        (9, "invalid_request", None),
        (10, "invalid_request", None),
        (11, "invalid_request", None),
    ]


def test_an_empty_file_fails(server: ApiServer) -> None:
    sdk = server.sdk("/v1")
    done = wait_for(sdk, create(sdk, b"\n\n").id)

    assert done.errors is not None
    assert [error.code for error in done.errors.data or []] == ["empty_file"]


def test_a_model_of_several_lines_is_in_the_batch_only_if_it_is_one(server: ApiServer) -> None:
    sdk = server.sdk("/v1")
    done = wait_for(sdk, create(sdk, [chat_line("a", "x"), chat_line("b", "x", model="Fake")]).id)

    assert (done.status, done.model) == ("completed", None)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"endpoint": "/v1/embedding"}, "endpoint"),
        ({"endpoint": "chat/completions"}, "endpoint"),
        ({"input_file_id": "file-none"}, "input_file_id"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "30d"}, "completion_window"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"metadata": {"k": "x" * 513}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
        ({"output_expires_after": {"anchor": "now", "seconds": 3600}}, "output_expires_after.anchor"),
        ({"other": 1}, "other"),
    ],
)
def test_an_invalid_batch_is_a_400(server: ApiServer, prefix: str, changed: dict[str, Any], param: str) -> None:
    file = server.sdk("/v1").files.create(file=("in.jsonl", b"x"), purpose="batch")
    body = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"}

    answer = server.post(f"{prefix}/batches", {**body, **changed})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def test_an_output_file_is_no_input(server: ApiServer) -> None:
    sdk = server.sdk("/v1")
    done = wait_for(sdk, create(sdk, [chat_line("a", "x")]).id)
    assert done.output_file_id is not None

    with pytest.raises(openai.BadRequestError, match="batch_output"):
        sdk.batches.create(input_file_id=done.output_file_id, endpoint=CHAT, completion_window="24h")


def test_a_list_has_pages(tmp_path: Path) -> None:
    with storage(tmp_path) as kept, serving(storage=kept) as server:
        sdk = server.sdk("/v1")
        ids = [create(sdk, b"").id for _ in range(5)]

        assert [batch.id for batch in sdk.batches.list(limit=2)] == ids[::-1]
        first = server.get("/v1/batches?limit=2").json()
        assert (first["first_id"], first["last_id"], first["has_more"]) == (ids[4], ids[3], True)


def test_a_cancelled_batch_keeps_its_answers_and_says_what_was_not_run(tmp_path: Path) -> None:
    engine = FakeEngine(parrot, max_sequences=2)
    with storage(tmp_path) as kept, serving(engine, storage=kept) as server:
        sdk = server.sdk("/v1")
        engine.pause()
        batch = create(sdk, [chat_line("done", "x"), *(chat_line(f"left {n}", "y" * 9) for n in range(4))])
        engine.wait_for(lambda stats: stats.running + stats.waiting == 2)
        for _ in range(2):
            engine.step()
        wait_until_recorded(server, batch.id, 1)

        cancelling = sdk.batches.cancel(batch.id)
        assert (cancelling.status, cancelling.cancelling_at is not None) == ("cancelling", True)
        done = wait_for(sdk, batch.id)

        assert done.request_counts is not None
        assert (done.status, done.request_counts.completed, done.request_counts.failed) == ("cancelled", 1, 4)
        assert texts(results(sdk, done.output_file_id)) == {"done": "x"}
        left = results(sdk, done.error_file_id)
        assert [line["custom_id"] for line in left] == [f"left {n}" for n in range(4)]
        assert {(line["error"]["code"], line["response"]) for line in left} == {("batch_cancelled", None)}
        server.wait_until_idle()
        with pytest.raises(openai.ConflictError, match="cancelled"):
            sdk.batches.cancel(batch.id)


def wait_until_recorded(server: ApiServer, batch_id: str, number: int) -> None:
    sdk = server.sdk("/v1")
    while True:
        counts = sdk.batches.retrieve(batch_id).request_counts
        if counts is not None and counts.completed == number:
            return


def test_a_batch_expires_at_the_end_of_its_window(tmp_path: Path) -> None:
    engine, clock = FakeEngine(parrot, max_sequences=1), Clock()
    with storage(tmp_path, clock=clock) as kept, serving(engine, storage=kept) as server:
        sdk = server.sdk("/v1")
        engine.pause()
        batch = create(sdk, [chat_line("a", "x"), chat_line("b", "y" * 9)], completion_window="1h")
        assert batch.expires_at == batch.created_at + 3600
        engine.wait_for(has(waiting=1))
        engine.step()
        engine.step()
        wait_until_recorded(server, batch.id, 1)

        clock.now += timedelta(hours=1)
        create(sdk, b"")  # makes the runner look at once
        done = wait_for(sdk, batch.id)

        assert (done.status, done.expired_at is not None) == ("expired", True)
        assert texts(results(sdk, done.output_file_id)) == {"a": "x"}
        (left,) = results(sdk, done.error_file_id)
        assert (left["custom_id"], left["error"]["code"]) == ("b", "batch_expired")


# --- keys ---

CALLERS = {"sk-a": Caller("key-a", "alice"), "sk-b": Caller("key-b", "bob", models=frozenset({"other"}))}


def caller_of(key_id: str) -> Caller:
    for caller in CALLERS.values():
        if caller.id == key_id:
            return caller
    raise Unauthorized("The API key you provided is invalid.")


class CountingLimiter(Limiter):
    """Counts the requests that ask for admission."""

    num_begun = 0

    def begin(self, caller: Caller, now: float) -> Reservation | None:
        self.num_begun += 1
        return super().begin(caller, now)


def with_key(server: ApiServer, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url("/v1"), api_key=key, max_retries=0)


def test_batches_of_another_key_are_not_found_and_its_files_no_input(tmp_path: Path) -> None:
    with (
        storage(tmp_path, caller_of=caller_of) as kept,
        serving(storage=kept, callers=CALLERS) as server,
        with_key(server, "sk-a") as mine,
        with_key(server, "sk-b") as theirs,
    ):
        batch = create(mine, [chat_line("a", "x")])
        for call in (theirs.batches.retrieve, theirs.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                call(batch.id)
        assert list(theirs.batches.list()) == []
        with pytest.raises(openai.BadRequestError, match="No such file"):
            theirs.batches.create(input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h")
        assert wait_for(mine, batch.id).status == "completed"


def test_a_line_has_the_rights_of_its_key(tmp_path: Path) -> None:
    with (
        storage(tmp_path, caller_of=caller_of) as kept,
        serving(storage=kept, callers=CALLERS) as server,
        with_key(server, "sk-b") as sdk,
    ):
        done = wait_for(sdk, create(sdk, [chat_line("a", "x")]).id)
        (line,) = results(sdk, done.error_file_id)
    assert line["response"]["status_code"] == 404


def test_the_lines_of_a_revoked_key_are_refused(tmp_path: Path) -> None:
    def nobody(key_id: str) -> Caller:
        raise Unauthorized("The API key you provided is invalid.")

    with (
        storage(tmp_path, caller_of=nobody) as kept,
        serving(storage=kept, callers=CALLERS) as server,
        with_key(server, "sk-a") as sdk,
    ):
        done = wait_for(sdk, create(sdk, [chat_line("a", "x")]).id)
        (line,) = results(sdk, done.error_file_id)
    assert line["response"]["status_code"] == 401


@pytest.mark.parametrize(
    "limits",
    [Limits(requests_per_minute=6_000), Limits(concurrent_requests=2), Limits(prompt_tokens_per_minute=60_000)],
)
def test_a_line_waits_for_the_limits_of_its_key(tmp_path: Path, limits: Limits) -> None:
    limited = Caller("key-a", "alice", limits=limits)
    with (
        storage(tmp_path, caller_of=lambda key_id: limited) as kept,
        serving(
            storage=kept,
            callers={"sk-a": limited},
            admissions=AdmissionController(LocalAccounts(limiter := CountingLimiter())),
            ledger=(book := InMemoryLedger()),
        ) as server,
        with_key(server, "sk-a") as sdk,
    ):
        done = wait_for(sdk, create(sdk, [chat_line(str(n), "x" * n) for n in range(40)]).id)

    assert done.request_counts is not None
    assert (done.status, done.request_counts.completed) == ("completed", 40)
    assert len(book.entries) == 40
    assert limiter.num_begun <= 42  # hardly any was refused and sent again


def test_the_ledger_has_a_row_for_each_line_at_the_price_of_batches(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    database.migrate()
    ledger = DatabaseLedger(database, {"fake": Price(1e6, 1e6, 1e6)}, batch_price=0.5)
    ledger.start()
    with storage(tmp_path) as kept, serving(storage=kept, ledger=ledger) as server:
        sdk = server.sdk("/v1")
        done = wait_for(sdk, create(sdk, [chat_line(str(n), "x") for n in range(10)]).id)
        live = server.post(CHAT, chat_line("", "x")["body"]).json()["usage"]["total_tokens"]
    ledger.close()

    assert done.usage is not None
    with database.read() as connection:
        rows = connection.exec_driver_sql("SELECT batch_id, count(*), sum(cost) FROM requests GROUP BY 1").all()
    database.close()
    assert sorted(map(tuple, rows)) == [("", 1, live), (done.id, 10, done.usage.total_tokens / 2)]


# --- behind live traffic ---


def test_a_live_request_runs_before_lines_that_wait(tmp_path: Path) -> None:
    begun: list[bytes] = []

    def noting(request: Any, index: int) -> bytes:
        begun.append(bytes(min(token, 255) for token in request.prompt).partition(b"say: ")[2][:4])
        return parrot(request, index)

    engine = FakeEngine(noting, max_sequences=1)
    with storage(tmp_path) as kept, serving(engine, storage=kept) as server:
        sdk = server.sdk("/v1")
        engine.pause()
        batch = create(sdk, [chat_line(str(n), f"line {n}") for n in range(3)])
        engine.wait_for(has(waiting=1))
        live = server.begin(CHAT, chat_line("", "live")["body"])
        engine.wait_for(has(waiting=2))
        engine.step()
        engine.wait_for(has(steps=1))
        running = [sequence.request.priority for sequence in engine._running]
        engine.resume()
        with live:
            assert b"live" in live.recv(100_000)
        assert wait_for(sdk, batch.id).status == "completed"

    assert running == [0]
    assert sorted(begun) == [b"line"] * 3 + [b"live"]


def test_a_batch_fills_its_engine_and_no_more(tmp_path: Path) -> None:
    engine = FakeEngine(parrot, max_sequences=5)
    with storage(tmp_path) as kept, serving(engine, storage=kept) as server:
        sdk = server.sdk("/v1")
        engine.pause()
        batch = create(sdk, [chat_line(str(n), "x" * 9) for n in range(30)])
        engine.wait_for(has(waiting=5))
        engine.step()
        engine.wait_for(has(running=5, waiting=0))
        page = server.get("/metrics").text
        assert ("crossette_batches 1.0" in page, "crossette_batch_lines_pending 30.0" in page) == (True, True)
        assert "crossette_batch_lines_running 5.0" in page
        engine.resume()
        assert wait_for(sdk, batch.id).status == "completed"


# --- restarts ---


def test_a_batch_goes_on_after_a_shutdown_and_runs_no_line_twice(tmp_path: Path) -> None:
    lines = [chat_line("a", "x"), chat_line("b", "y" * 9), chat_line("c", "z")]
    engine = FakeEngine(parrot, max_sequences=2)
    with storage(tmp_path) as kept, serving(engine, storage=kept) as server:
        engine.pause()
        batch = create(server.sdk("/v1"), lines)
        engine.wait_for(lambda stats: stats.running + stats.waiting == 2)
        engine.step()
        engine.step()
        wait_until_recorded(server, batch.id, 1)

    book = InMemoryLedger()
    with storage(tmp_path) as kept, serving(storage=kept, ledger=book) as server:
        sdk = server.sdk("/v1")
        done = wait_for(sdk, batch.id)
        assert done.status == "completed"
        assert texts(results(sdk, done.output_file_id)) == {"a": "x", "b": "y" * 9, "c": "z"}
    assert len(book.entries) == 2


def test_a_server_that_is_shutting_down_creates_no_batch(server: ApiServer, tmp_path: Path) -> None:
    with storage(tmp_path) as kept, serving(storage=kept) as draining:
        file = draining.sdk("/v1").files.create(file=("in.jsonl", b"x"), purpose="batch")
        draining.app.drain()
        with pytest.raises(openai.InternalServerError, match="shutting down"):
            draining.sdk("/v1").batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_server_that_stores_no_files_names_the_setting(prefix: str) -> None:
    with serving() as server:
        for answer in (server.post(f"{prefix}/batches", {}), server.get(f"{prefix}/batches")):
            assert answer.status_code == 400
            assert "store_files" in answer.json()["error"]["message"]
