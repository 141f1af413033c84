"""Every request that generates leaves exactly one ledger entry, however it ends."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event
from typing import Any

import pytest

from crossette.accounts.access import ANONYMOUS, Caller
from crossette.accounts.ledger import Entry, LedgerStats, NoLedger, UsageQuery, UsageRow
from crossette.api.account import entry_of
from crossette.api.exchange import Exchange
from crossette.errors import DatabaseError, EngineFailure, Unauthorized
from crossette.testing.fake_engine import FakeEngine
from crossette.types import Usage
from support.api_server import DIALECTS, LIMIT_S, ApiServer, parrot, say, serving
from support.records import WORK, make_record

ENDPOINTS = {"/completions": "cmpl-", "/chat/completions": "chatcmpl-"}
ROW = UsageRow("key-a", "alice", "fake", None, 3, 1, 10, 4, 5, 0, 0.25)
STATS = LedgerStats(written=3, waiting=1, lost=2, lag_s=0.5)


class Notebook(NoLedger):
    """A ledger whose entries a test reads."""

    def __init__(self) -> None:
        self.keeps_content = False
        self.entries: list[Entry] = []
        self.queries: list[UsageQuery] = []
        self.is_away = False

    def note(self, entry: Entry) -> None:
        self.entries.append(entry)

    def usage(self, query: UsageQuery) -> Sequence[UsageRow]:
        self.queries.append(query)
        if self.is_away:
            raise DatabaseError("it is away")
        return [ROW]

    def stats(self) -> LedgerStats:
        return STATS

    def only(self) -> Entry:
        """The only entry, as soon as it is added."""
        for _ in range(LIMIT_S * 100):
            if self.entries:
                (entry,) = self.entries
                return entry
            Event().wait(0.01)
        raise AssertionError("no entry came")


class Keys:
    def caller(self, key: str | None) -> Caller:
        if key == "wrong":
            raise Unauthorized("The API key you provided is invalid.")
        return Caller("key-a", "alice") if key else ANONYMOUS


@pytest.fixture(scope="module")
def shared_notebook() -> Notebook:
    return Notebook()


@pytest.fixture(scope="module")
def noted(shared_notebook: Notebook) -> Iterator[ApiServer]:
    with serving(FakeEngine(parrot), aliases={"alias": "fake"}, access=Keys(), ledger=shared_notebook) as server:
        yield server


@pytest.fixture
def notebook(noted: ApiServer, shared_notebook: Notebook) -> Iterator[Notebook]:
    """An empty ledger. After the test the engine is idle."""
    shared_notebook.__init__()  # type: ignore[misc]  # the server uses this object
    yield shared_notebook
    noted.engine.resume()
    noted.wait_until_idle()


@pytest.fixture(params=ENDPOINTS)
def endpoint(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def make_body(endpoint: str, *texts: str, **fields: object) -> dict[str, object]:
    order = say(*(texts or ("abc",)))
    prompt: dict[str, object] = (
        {"messages": [{"role": "user", "content": order}]} if "chat" in endpoint else {"prompt": order}
    )
    return {"model": "fake", **prompt, **fields}


# --- one entry ---


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_an_answer_leaves_an_entry_with_its_counts(
    noted: ApiServer, notebook: Notebook, prefix: str, endpoint: str, streamed: bool
) -> None:
    body = make_body(
        endpoint, "abc", "abcdef", n=2, max_tokens=4, stream=streamed, user="someone", metadata={"team": "blue"}
    )
    begun = datetime.now(UTC)
    headers = {"x-api-key": "k", "user-agent": "tester/1" + "x" * 300, "x-request-id": "mine"}

    answer = noted.post(prefix + endpoint, body | {"model": "alias"}, headers)

    assert answer.status_code == 200
    entry = notebook.only()
    prompt = entry.usage.prompt_tokens
    assert entry == Entry(
        id=entry.id,
        request_id="mine",
        time=entry.time,
        key_id="key-a",
        dialect=DIALECTS[prefix].name,
        endpoint=endpoint,
        model="fake",
        status=200,
        total_s=entry.total_s,
        first_token_s=entry.first_token_s,
        finish_reason="stop,length",
        usage=Usage(prompt, 7, cached_tokens=entry.usage.cached_tokens),
        client=("tester/1" + "x" * 300)[:200],
        user="someone",
        metadata={"team": "blue"},
    )
    assert entry.id.startswith(ENDPOINTS[endpoint])
    assert begun <= entry.time <= datetime.now(UTC)
    assert entry.first_token_s is not None
    assert 0 <= entry.first_token_s <= entry.total_s


def test_the_entry_has_the_id_and_the_usage_of_the_answer(
    noted: ApiServer, notebook: Notebook, prefix: str, endpoint: str
) -> None:
    raw = noted.post(prefix + endpoint, make_body(endpoint)).json()

    entry = notebook.only()
    assert (entry.id, entry.key_id) == (raw["id"], "")
    assert (entry.usage.prompt_tokens, entry.usage.completion_tokens) == (
        raw["usage"]["prompt_tokens"],
        raw["usage"]["completion_tokens"],
    )


def test_safety_identifier_is_the_user_if_user_is_left_out(noted: ApiServer, notebook: Notebook) -> None:
    noted.post("/v1/completions", make_body("/completions", safety_identifier="hash"))

    assert notebook.only().user == "hash"


@pytest.mark.parametrize(
    ("body", "headers", "status", "model"),
    [
        (b"{", {}, 400, ""),
        (b"{}", {}, 400, ""),
        ({"temperature": 9}, {}, 400, "fake"),
        ({"temperature": 9, "model": "alias"}, {}, 400, "fake"),
        ({"temperature": 9, "model": "unknown"}, {}, 400, "unknown"),
        ({"metadata": {"k": "x" * 600}}, {}, 400, "fake"),
        ({"model": "unknown" * 100}, {}, 404, ("unknown" * 100)[:200]),
        ({"max_tokens": 10**6, "context_length_exceeded_behavior": "error"}, {}, 400, "fake"),
        ({}, {"x-api-key": "wrong"}, 401, ""),
    ],
    ids=["json", "empty", "value", "alias", "value and model", "metadata", "model", "window", "key"],
)
def test_a_rejected_request_leaves_an_entry_with_its_status(
    noted: ApiServer,
    notebook: Notebook,
    prefix: str,
    endpoint: str,
    body: Any,
    headers: dict[str, str],
    status: int,
    model: str,
) -> None:
    sent = body if isinstance(body, bytes) else make_body(endpoint) | body

    assert noted.post(prefix + endpoint, sent, headers).status_code == status

    entry = notebook.only()
    assert (entry.status, entry.model, entry.usage, entry.finish_reason) == (status, model, Usage(0, 0), None)
    assert (entry.first_token_s, entry.metadata) == (None, None)
    assert entry.is_served == (model == "fake")


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("num_steps", [0, 1, 3])
def test_a_disconnect_leaves_one_entry_with_the_generated_tokens(
    noted: ApiServer, notebook: Notebook, prefix: str, endpoint: str, streamed: bool, num_steps: int
) -> None:
    noted.engine.pause()
    body = make_body(endpoint, "x" * 500, max_tokens=400, stream=streamed)
    with noted.begin(prefix + endpoint, body):
        noted.engine.wait_for(lambda stats: stats.waiting + stats.running == 1, LIMIT_S)
        for _ in range(num_steps):
            noted.engine.step()
    noted.wait_until_idle()

    entry = notebook.only()
    assert (entry.status, entry.finish_reason, entry.model) == (499, None, "fake")
    assert (entry.usage.prompt_tokens > 0) == (num_steps > 0)
    assert entry.usage.completion_tokens <= num_steps


@pytest.mark.parametrize("num_steps", [0, 2])
def test_a_stream_that_fails_is_an_error_in_the_ledger(
    noted: ApiServer, notebook: Notebook, prefix: str, endpoint: str, num_steps: int
) -> None:
    noted.engine.pause()
    with noted.begin(prefix + endpoint, make_body(endpoint, "x" * 500, max_tokens=400, stream=True)) as connection:
        noted.engine.wait_for(lambda stats: stats.waiting + stats.running == 1, LIMIT_S)
        for _ in range(num_steps):
            noted.engine.step()
        if num_steps:
            assert connection.recv(1)
        noted.engine.fail_next_step(EngineFailure("The step failed."))
        noted.engine.step()
        entry = notebook.only()

    assert (entry.status, entry.finish_reason) == ((200, "error") if num_steps else (500, None))


def test_other_endpoints_leave_no_entry(noted: ApiServer, notebook: Notebook, prefix: str) -> None:
    for path in ("/health/live", "/docs", f"{prefix}/models", f"{prefix}/completions", f"{prefix}/usage"):
        noted.get(path)
    noted.post(f"{prefix}/nonsense", {})

    assert notebook.entries == []


# --- content ---


def test_content_is_kept_only_if_the_ledger_keeps_it(
    noted: ApiServer, notebook: Notebook, prefix: str, endpoint: str
) -> None:
    noted.post(prefix + endpoint, make_body(endpoint))

    assert (notebook.only().request_content, notebook.only().answer_content) == (None, None)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_content_is_the_bytes_on_the_wire(
    noted: ApiServer, notebook: Notebook, prefix: str, endpoint: str, streamed: bool
) -> None:
    notebook.keeps_content = True
    content = b'{"model": "unknown", "stream": ' + (b"true" if streamed else b"false") + b', "user": "\xc3\xa4"}'

    answer = noted.post(prefix + endpoint, content)

    entry = notebook.only()
    assert (entry.request_content, entry.answer_content) == (content.decode(), answer.text)


def test_the_content_of_a_compressed_body_is_its_text(noted: ApiServer, notebook: Notebook) -> None:
    notebook.keeps_content = True
    content = b'{"model": "unknown", "messages": []}'

    noted.post("/v1/chat/completions", gzip.compress(content), {"content-encoding": "gzip"})

    assert notebook.only().request_content == content.decode()


def test_content_is_truncated_at_its_limit(noted: ApiServer, notebook: Notebook) -> None:
    notebook.keeps_content = True

    noted.post("/v1/completions", b" " * (2**20 + 5))

    assert len(notebook.only().request_content or "") == 2**20


# --- GET /usage ---


def test_an_admin_key_can_read_usage(noted: ApiServer, notebook: Notebook, prefix: str) -> None:
    answer = noted.get(f"{prefix}/usage?group_by=model,key&since=2026-11-01")

    assert (answer.status_code, answer.json()) == (
        200,
        {
            "object": "list",
            "data": [
                {
                    "key": "key-a",
                    "key_name": "alice",
                    "model": "fake",
                    "day": None,
                    "requests": 3,
                    "errors": 1,
                    "prompt_tokens": 10,
                    "cached_tokens": 4,
                    "completion_tokens": 5,
                    "reasoning_tokens": 0,
                    "cost": 0.25,
                }
            ],
        },
    )
    assert notebook.queries == [UsageQuery(("key", "model"), datetime(2026, 11, 1, tzinfo=UTC))]


def test_other_keys_cannot_read_usage(noted: ApiServer, notebook: Notebook, prefix: str) -> None:
    answer = noted.get(f"{prefix}/usage", {"x-api-key": "k"})

    kind, code = DIALECTS[prefix].errors["forbidden"]
    assert (answer.status_code, answer.json()["error"]["type"], answer.json()["error"]["code"]) == (403, kind, code)
    assert notebook.queries == []


@pytest.mark.parametrize(
    ("query", "param"),
    [("group_by=user", "group_by"), ("group_by=", "group_by"), ("since=now", "since"), ("by=key", "by")],
)
def test_an_invalid_query_parameter_is_rejected_by_name(
    noted: ApiServer, notebook: Notebook, prefix: str, query: str, param: str
) -> None:
    answer = noted.get(f"{prefix}/usage?{query}")

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert notebook.queries == []


def test_usage_that_cannot_be_read_is_a_503(noted: ApiServer, notebook: Notebook, prefix: str) -> None:
    notebook.is_away = True

    answer = noted.get(f"{prefix}/usage")

    assert (answer.status_code, answer.json()["error"]["message"]) == (503, "The ledger cannot be read now.")


def test_readiness_has_the_state_of_the_ledger(noted: ApiServer) -> None:
    assert noted.get("/health/ready").json()["ledger"] == {"written": 3, "waiting": 1, "lost": 2, "lag_s": 0.5}


def test_an_answer_that_was_cut_off_is_an_error() -> None:
    """As by a second Ctrl-C: the status was sent, then nothing more."""
    exchange = Exchange({"type": "http", "method": "POST", "path": "/v1/completions", "headers": []})
    whole, cut = (
        entry_of(exchange, make_record(work=replace(WORK, finish_reasons=reasons, ended_s=ended_s)), "openai", "/x")
        for reasons, ended_s in ((("stop",), 1.75), ((), None))
    )

    assert (whole.finish_reason, cut.finish_reason) == ("stop", "error")
