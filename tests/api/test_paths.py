"""Paths in every notation, paths that are not built, the start page, and what monitors request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette import __version__
from crossette.accounts.access import Caller
from crossette.api.guards.origins import LOOPBACK, OriginSettings
from crossette.api.paths import CanonicalPath, canonical_path
from crossette.api.unserved import AT_THE_ROOT, IN_A_DIALECT
from crossette.engine import EngineStats
from crossette.errors import Unauthorized
from crossette.testing.fake_engine import FakeEngine
from support.api_server import ALIASES, DIALECTS, ApiServer, parrot, say, serving
from support.ledger_entries import InMemoryLedger
from support.waiting import wait_until

KEY = "sk-crossette-alice"
BODY = {"model": "fake", "prompt": say("one two"), "stop": "one"}
NOTATIONS = {
    "/v1": ["//v1", "/v1/v1", "/v1//v1/", "/v1/v1/v1", "///v1"],
    "/inference/v1": ["//inference//v1", "/inference/v1/v1", "/inference/inference/v1", "/inference/v1/inference/v1"],
}
SPELLED = [(prefix, base) for prefix, bases in NOTATIONS.items() for base in bases]


class Keys:
    """An `Authenticator` of one key."""

    def caller(self, key: str | None) -> Caller:
        if key == KEY:
            return Caller("key-a", "alice", models=frozenset({"fake"}))
        raise Unauthorized("The API key you provided is invalid.")


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[ApiServer, InMemoryLedger]]:
    ledger = InMemoryLedger()
    with serving(aliases=ALIASES, access=Keys(), ledger=ledger) as server:
        yield server, ledger


def message(server: ApiServer, method: str, path: str) -> str:
    """The message of a 404."""
    answer = server.http.request(method, server.url(path))
    assert answer.status_code == 404
    text: str = answer.json()["error"]["message"]
    return text


# --- notations of a path ---


@pytest.mark.parametrize(("prefix_", "base"), SPELLED)
def test_doubled_slashes_and_base_paths_are_the_same_path(api: ApiServer, prefix_: str, base: str) -> None:
    answer = api.post(f"{base}//completions/", BODY)

    assert answer.json()["choices"][0]["text"] == ("one" if DIALECTS[prefix_].include_stop else "")
    assert api.get(f"{base}/models").json() == api.get(f"{prefix_}/models").json()
    assert api.get(f"{base}//models//accounts/x/models/fake").json()["id"] == "accounts/x/models/fake"


@pytest.mark.parametrize(("prefix_", "base"), SPELLED)
def test_no_notation_of_a_path_needs_less_than_the_path(
    guarded: tuple[ApiServer, InMemoryLedger], prefix_: str, base: str
) -> None:
    server, ledger = guarded
    ledger.entries.clear()
    statuses = [
        server.post(f"{base}/completions", BODY).status_code,
        server.get(f"{base}//models").status_code,
        server.get("//metrics").status_code,
        server.get("//metrics", {"x-api-key": KEY}).status_code,
        server.post(f"{base}/engines/gpt-3.5-turbo/completions", {"prompt": "a"}).status_code,
    ]

    assert statuses == [401, 401, 401, 403, 401]
    assert server.post(f"{base}/completions", BODY, {"x-api-key": KEY}).status_code == 200
    wait_until(lambda: len(ledger.entries) == 3)  # a client may have its answer a moment before the entry is there
    assert [(entry.endpoint, entry.dialect, entry.status) for entry in ledger.entries] == [
        ("/completions", DIALECTS[prefix_].name, status) for status in (401, 401, 200)
    ]


@pytest.mark.parametrize(("prefix_", "base"), SPELLED)
def test_records_have_the_route_and_the_path_as_sent(prefix_: str, base: str) -> None:
    with serving() as api:
        api.post(f"{base}/completions/", BODY)
        api.observed.wait_for(1)
        page = api.get("/metrics").text

    (record, *_) = api.observed.records
    assert (record.route, record.path, record.endpoint) == (
        f"{prefix_}/completions",
        f"{base}/completions/",
        "completions",
    )
    assert record.dialect == DIALECTS[prefix_].name
    assert f'route="{prefix_}/completions"' in page


@pytest.mark.parametrize(
    ("sent", "path", "model"),
    [
        ("/", "/", ""),
        ("//", "/", ""),
        ("/v1", "/v1", ""),
        ("/v1/v1", "/v1", ""),
        ("/v1/v1x/models", "/v1/v1x/models", ""),
        ("/v11/models", "/v11/models", ""),
        ("/inference/v1/v1/models/", "/inference/v1/models", ""),
        ("/v1/inference/v1/models", "/v1/inference/v1/models", ""),
        ("/v1//models///a//b", "/v1/models/a//b", ""),
        ("/v1/models/v1/v1", "/v1/models/v1/v1", ""),
        ("/v1/engines/a/completions", "/v1/completions", "a"),
        ("/inference/v1/engines/accounts/x/models/y/completions", "/inference/v1/completions", "accounts/x/models/y"),
        ("/v1/engines/a/chat/completions", "/v1/chat/completions", "a"),
        ("/v1/engines//completions", "/v1/engines/completions", ""),
        ("/engines/a/completions", "/engines/a/completions", ""),
        ("//health//live/", "/health/live", ""),
    ],
)
def test_the_canonical_form(sent: str, path: str, model: str) -> None:
    assert canonical_path(sent) == CanonicalPath(path, model)


pieces = st.sampled_from(
    ["/", "//", "v1", "/v1", "/inference", "inference", "/models", "/engines", "/a", "completions"]
)


@given(st.lists(pieces, max_size=12))
def test_a_canonical_path_is_its_own_canonical_form(parts: list[str]) -> None:
    path = canonical_path("/" + "".join(parts)).path

    assert canonical_path(path).path == path
    assert path == "/" or not path.endswith("/")
    assert "//" not in path.partition("/models/")[0]


@pytest.mark.parametrize("piece", ["/", "/v1", "/inference", "/inference/v1", "/v1/", "/models", "/engines/a", "a/"])
def test_long_paths_take_no_longer_than_their_length(piece: str) -> None:
    """64 KiB is the limit of a head; a quadratic search would take minutes."""
    canonical_path("/v1/engines" + piece * (2**16 // len(piece)))
    canonical_path(piece * (2**16 // len(piece)) + "x")


# --- the model in the path ---


@pytest.mark.parametrize("model", ["fake", "accounts%2Ffireworks%2Fmodels%2Ffake", "accounts/x/models/gpt-3.5-turbo"])
@pytest.mark.parametrize("streamed", [False, True])
def test_the_path_may_name_the_model(api: ApiServer, prefix: str, model: str, streamed: bool) -> None:
    answer = api.post(f"{prefix}/engines/{model}/completions", {"prompt": say("Hello"), "stream": streamed})
    chat = api.post(f"{prefix}/engines/{model}/chat/completions", {"messages": [{"role": "user", "content": "a"}]})

    assert (answer.status_code, chat.status_code) == (200, 200)
    assert json.dumps(model.replace("%2F", "/")) in answer.text
    assert chat.json()["model"] == model.replace("%2F", "/")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "fake", "prompt": "a"}, 200, None),
        ({"model": None, "prompt": "a"}, 200, None),
        ({"model": "gpt-3.5-turbo", "prompt": "a"}, 400, "model"),
        ({"model": 5, "prompt": "a"}, 400, "model"),
        ({"prompt": "a", "huh": 1}, 400, "huh"),
        ([], 400, None),
        (b"", 400, None),
        (b"{", 400, None),
        (b'\xef\xbb\xbf{"prompt": "a"}', 200, None),
        (b'{"prompt": "\xff"}', 400, None),
    ],
)
def test_a_body_beside_a_model_in_the_path(
    api: ApiServer, prefix: str, body: Any, status: int, param: str | None
) -> None:
    answer = api.post(f"{prefix}/engines/fake/completions", body)

    assert answer.status_code == status
    if status == 400:
        assert answer.json()["error"]["param"] == param


def test_an_unknown_model_in_the_path_is_the_same_404(api: ApiServer, prefix: str) -> None:
    by_path = api.post(f"{prefix}/engines/other/completions", {"prompt": "a"})
    by_body = api.post(f"{prefix}/completions", {"model": "other", "prompt": "a"})

    assert (by_path.status_code, by_path.json()["error"]) == (404, by_body.json()["error"])


# --- paths without a route ---


@pytest.mark.parametrize("path", ["/conversations", "/audio/speech", "/images/generations", "/moderations"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_known_path_is_a_404_that_says_what_is_not_built(api: ApiServer, prefix: str, method: str, path: str) -> None:
    text = message(api, method, prefix + path)

    assert text.startswith(f"Path not found: {method} {prefix}{path}. Not built here: ")
    assert "Served under /v1 (OpenAI) and /inference/v1 (Fireworks): /completions, /chat/completions, " in text


@pytest.mark.parametrize("path", IN_A_DIALECT)
def test_every_known_path_of_a_dialect_is_reported_with_any_base_path(api: ApiServer, path: str) -> None:
    known = IN_A_DIALECT[path]
    for prefix in (*DIALECTS, ""):
        if (prefix, path) not in {("", "/chat/completions"), ("", "/engines"), ("", "/health")}:
            instead = known.instead.replace("{base}", prefix or "/v1")
            text = message(api, "GET", f"{prefix}{path}/more")
            assert f"Not built here: {known.name}." in text
            assert not instead or f"Use {instead}." in text


@pytest.mark.parametrize("path", AT_THE_ROOT)
def test_every_known_path_of_the_server_is_reported(api: ApiServer, path: str) -> None:
    for sent in (path, f"/{path}/", f"{path}/more"):
        assert f"Not built here: {AT_THE_ROOT[path].name}." in message(api, "POST", sent)


def test_what_is_named_instead_is_served(api: ApiServer) -> None:
    """An endpoint with these methods; a missing key, model or body is not the path's fault."""
    for known in (*IN_A_DIALECT.values(), *AT_THE_ROOT.values()):
        if known.instead:
            method, path = known.instead.replace("{base}", "/v1").replace("{name}", "fake").split()[:2]
            assert api.http.request(method, api.url(path)).status_code in (200, 400)


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        ("/chat/completions", "/chat/completions"),
        ("/completions", "/completions"),
        ("//models/", "/models"),
        ("/models/fake", "/models/fake"),
        ("/usage", "/usage"),
        ("/inference/chat/completions", "/chat/completions"),
        ("/engines/fake/completions", "/engines/fake/completions"),
    ],
)
def test_a_missing_base_path_is_named(api: ApiServer, path: str, rest: str) -> None:
    text = message(api, "POST", path)

    assert f"Its base path is missing. Use /v1{rest} (OpenAI) or /inference/v1{rest} (Fireworks)." in text


@pytest.mark.parametrize("endpoint", ["/chat/completions", "/completions"])
@pytest.mark.parametrize(
    "rest", ["/chat/completions", "/completions", "/models", "/v1/chat/completions", "/models/a/b"]
)
def test_a_base_url_that_ends_in_an_endpoint_is_named(api: ApiServer, prefix: str, endpoint: str, rest: str) -> None:
    meant = prefix + rest.removeprefix("/v1")
    text = message(api, "POST", f"{prefix}{endpoint}{rest}")

    assert f"Its base path is followed by two endpoints. Use {meant}: a base URL ends in {prefix}." in text


@pytest.mark.parametrize("before", ["/api", "/openai", "/x/y"])
@pytest.mark.parametrize("rest", ["/chat/completions", "/models", "/models/a/v1/b"])
def test_a_base_path_after_another_one_is_named(api: ApiServer, prefix: str, before: str, rest: str) -> None:
    text = message(api, "POST", before + prefix + rest)

    assert f"Its base path is not at its start. Use {prefix}{rest}." in text


def test_two_base_paths_are_a_404_that_offers_both(api: ApiServer) -> None:
    text = message(api, "POST", "/v1/v1/inference/v1/completions")

    assert "It has two base paths. Use /v1/completions (OpenAI) or /inference/v1/completions (Fireworks)." in text


@pytest.mark.parametrize("path", ["/foo", "/v1/foo", "/v1", "/inference", "/inference/v1", "/v1/chat", "/embeddingsx"])
def test_an_unknown_path_is_a_plain_404_that_lists_what_is_served(api: ApiServer, path: str) -> None:
    assert message(api, "GET", path).startswith(f"Path not found: GET {path}. Served under /v1 (OpenAI) and ")


def test_a_long_path_is_cut_in_the_message(api: ApiServer) -> None:
    assert len(message(api, "GET", "/v1/" + "x" * 10_000)) < 600


def test_a_path_without_a_route_needs_a_key_first(guarded: tuple[ApiServer, InMemoryLedger], prefix: str) -> None:
    assert guarded[0].get(f"{prefix}/embeddings").status_code == 401


# --- the start page ---


def test_the_start_page_is_json_for_programs(api: ApiServer) -> None:
    for accept in (
        "*/*",
        "",
        "image/png",
        "application/json",
        "application/json, text/plain, */*",
        "text/plain;q=0.5, application/json; q=0.9",
        "application/json, text/html;q=0.1",
        "text/html;q=0, text/plain;q=x",
    ):
        answer = api.get("/", {"accept": accept})
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["base_paths"] == {"openai": "/v1", "fireworks": "/inference/v1"}
    assert {"GET, POST /ping", "POST /v1/completions", "GET /metrics"} <= set(answer.json()["paths"])
    assert answer.headers["vary"] == "accept"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("application/json;q=0.5, TEXT/HTML;charset=utf-8", "text/html"),
        ("text/plain", "text/plain"),
        ("text/plain, application/json;q=0.9", "text/plain"),
    ],
)
def test_the_start_page_is_a_few_lines_for_people(api: ApiServer, accept: str, media_type: str) -> None:
    answer = api.get("/", {"accept": accept})

    assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert answer.headers["vary"].startswith("accept")
    for part in ("crossette", "/v1", "/inference/v1", "docs", "openapi.json"):
        assert part in answer.text


@pytest.mark.parametrize("accept", ["*/*", "text/html", "text/plain"])
def test_the_start_page_needs_no_key_and_names_no_model(guarded: tuple[ApiServer, InMemoryLedger], accept: str) -> None:
    answer = guarded[0].get("/", {"accept": accept})

    assert answer.status_code == 200
    assert [name for name in ("fake", *ALIASES) if name in answer.text] == []


# --- monitors ---


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/health", "/ping", "/version", "/health/live", "/health/ready", "//health/"])
def test_monitors_need_no_key(guarded: tuple[ApiServer, InMemoryLedger], method: str, path: str) -> None:
    answer = guarded[0].http.request(method, guarded[0].url(path))

    assert answer.status_code == 200
    assert bool(answer.content) is (method == "GET")


def test_monitors_get_what_they_know(api: ApiServer) -> None:
    assert api.get("/health").json() == {"status": "ok"}
    assert api.get("/ping").json() == api.post("/ping", b"").json() == {"status": "ok"}
    assert api.get("/version").json() == {"version": __version__}
    answer = api.post("/health", b"")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/health", "/ping"])
def test_a_server_that_shuts_down_is_not_healthy(path: str) -> None:
    with serving() as api:
        api.app.drain()
        answer = api.get(path)

    assert (answer.status_code, answer.json()) == (503, {"status": "draining"})


@pytest.mark.parametrize(("fields", "status"), [({"stalled": True}, "stalled"), ({"alive": False}, "failed")])
def test_an_engine_that_stalls_or_fails_is_not_healthy(fields: dict[str, Any], status: str) -> None:
    class Unwell(FakeEngine):
        def stats(self) -> EngineStats:
            return replace(super().stats(), **fields)

    with serving(Unwell(parrot)) as api:
        answers = [api.get("/health"), api.get("/ping"), api.http.head(api.url("/health"))]

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert answers[0].json() == {"status": status}


@pytest.mark.parametrize(
    ("path", "status"), [("/health", 200), ("/ping", 200), ("//ping", 200), ("/", 403), ("/version", 403)]
)
def test_only_health_checks_answer_to_any_host_name(path: str, status: int) -> None:
    with serving(origins=OriginSettings(allowed_host=LOOPBACK)) as api:
        assert api.get(path, {"host": "10.1.2.3:8000"}).status_code == status
        assert api.get("/health/x", {"host": "10.1.2.3:8000"}).status_code == 403
