"""Authentication, the models of a key, and the secrecy of keys."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from openai import AuthenticationError, OpenAI

from crossette.accounts.access import Caller
from crossette.errors import Unauthorized
from crossette.testing.fake_engine import FakeEngine
from crossette.types import GenerationRequest
from support.api_server import ALIASES, LIMIT_S, ApiServer, parrot, say, serving

ALICE, BOSS, NARROW = "sk-crossette-alice", "sk-crossette-boss", "sk-crossette-narrow"
CALLERS = {
    ALICE: Caller("key-a", "alice"),
    BOSS: Caller("key-b", "boss", is_admin=True),
    NARROW: Caller("key-n", "narrow", models=frozenset({"gpt-3.5-turbo"})),
}


class Keys:
    """An `Authenticator` of fixed keys."""

    def caller(self, key: str | None) -> Caller:
        if key in CALLERS:
            return CALLERS[key]
        raise Unauthorized("The API key you provided is invalid.")


class TenantEngine(FakeEngine):
    """An engine that records the tenants of its requests."""

    def __init__(self) -> None:
        super().__init__(self._script)
        self.tenants: list[str] = []

    def _script(self, request: GenerationRequest, index: int) -> bytes:
        self.tenants.append(request.tenant)
        return parrot(request, index)


@pytest.fixture(scope="module")
def engine() -> TenantEngine:
    return TenantEngine()


@pytest.fixture(scope="module")
def guarded(engine: TenantEngine) -> Iterator[ApiServer]:
    with serving(engine, aliases=ALIASES, access=Keys()) as server:
        yield server


def ask(server: ApiServer, prefix: str, headers: dict[str, str], model: str = "fake") -> tuple[int, dict[str, str]]:
    answer = server.post(f"{prefix}/completions", {"model": model, "prompt": say("a")}, headers)
    return answer.status_code, answer.json().get("error", {})


# --- authentication ---


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {ALICE}"},
        {"authorization": f"bearer   {ALICE}"},
        {"x-api-key": ALICE},
        {"authorization": f"Bearer {ALICE}", "x-api-key": "x"},
        {"authorization": "Basic eDp5", "x-api-key": ALICE},
        {"authorization": "Bearer", "x-api-key": ALICE},
    ],
)
def test_a_key_is_accepted_in_either_header(guarded: ApiServer, prefix: str, headers: dict[str, str]) -> None:
    assert ask(guarded, prefix, headers) == (200, {})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer x"},
        {"x-api-key": "x"},
        {"authorization": f"Basic {ALICE}"},
        {"authorization": ALICE},
    ],
)
def test_a_wrong_key_is_a_401_with_the_dialects_code(guarded: ApiServer, prefix: str, headers: dict[str, str]) -> None:
    kind, code = ("invalid_request_error", "invalid_api_key") if prefix == "/v1" else ("error", "UNAUTHORIZED")

    assert ask(guarded, prefix, headers) == (
        401,
        {"message": "The API key you provided is invalid.", "type": kind, "code": code, "param": None},
    )


@pytest.mark.parametrize("path", ["/models", "/models/fake", "/usage", "/nonsense"])
def test_every_path_of_a_dialect_requires_a_key(guarded: ApiServer, prefix: str, path: str) -> None:
    answer = guarded.get(prefix + path)

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_metrics_require_an_admin_key(guarded: ApiServer) -> None:
    def status(key: str) -> int:
        return guarded.get("/metrics", {"authorization": f"Bearer {key}"}).status_code

    assert (guarded.get("/metrics").status_code, status(ALICE), status(BOSS)) == (401, 403, 200)


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/openapi.json", "/docs"])
def test_health_and_documentation_need_no_key(guarded: ApiServer, path: str) -> None:
    assert guarded.get(path).status_code == 200


def test_the_sdk_raises_authentication_error(guarded: ApiServer, prefix: str) -> None:
    with (
        OpenAI(base_url=guarded.url(prefix), api_key="x", max_retries=0, timeout=LIMIT_S) as sdk,
        pytest.raises(AuthenticationError, match="The API key you provided is invalid"),
    ):
        sdk.models.list()


def test_without_keys_any_key_is_accepted(api: ApiServer, prefix: str) -> None:
    assert ask(api, prefix, {"authorization": "Bearer EMPTY"}) == ask(api, prefix, {"x-api-key": "x"}) == (200, {})


# --- authorization ---


def test_the_key_is_the_engines_tenant(guarded: ApiServer, engine: TenantEngine, prefix: str) -> None:
    engine.tenants.clear()
    for key in (ALICE, BOSS):
        ask(guarded, prefix, {"x-api-key": key})

    assert engine.tenants == ["key-a", "key-b"]


def test_a_key_lists_only_its_models(guarded: ApiServer, prefix: str) -> None:
    listed = guarded.get(f"{prefix}/models", {"x-api-key": NARROW}).json()["data"]

    assert [entry["id"] for entry in listed] == ["gpt-3.5-turbo"]
    assert ask(guarded, prefix, {"x-api-key": NARROW}, "gpt-3.5-turbo") == (200, {})
    assert ask(guarded, prefix, {"x-api-key": NARROW}, "accounts/x/models/gpt-3.5-turbo") == (200, {})


@pytest.mark.parametrize("model", ["fake", "accounts/x/models/fake", "nonsense"])
def test_a_model_that_a_key_may_not_use_is_a_404_like_any_unknown_one(
    guarded: ApiServer, prefix: str, model: str
) -> None:
    status, error = ask(guarded, prefix, {"x-api-key": NARROW}, model)
    looked_up = guarded.get(f"{prefix}/models/{model}", {"x-api-key": NARROW})

    assert (status, error["param"]) == (404, "model")
    assert error["message"].startswith(f"The model '{model}' is not served here.")
    assert " Served: gpt-3.5-turbo. " in error["message"]
    assert (looked_up.status_code, looked_up.json()["error"]) == (404, error)


def test_a_key_may_use_the_aliases_of_its_models(guarded: ApiServer) -> None:
    only = guarded.app.models.only

    assert only(frozenset({"fake"})).names() == ["fake", *ALIASES]
    assert only(frozenset({"other"})).names() == []
    assert only(None) is guarded.app.models


# --- secrecy ---


@pytest.mark.parametrize("key", [ALICE, "sk-wrong-but-secret"])
def test_a_key_is_in_no_log_line_and_no_response(
    guarded: ApiServer, prefix: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
            answers = [
                guarded.get(f"{prefix}/models/nonsense", headers),
                guarded.post(f"{prefix}/completions", {"model": "fake", "prompt": "a", "nonsense": 1}, headers),
                guarded.post(f"{prefix}/completions", b"{", headers),
            ]
            responses = "".join(f"{answer.text} {answer.headers}" for answer in answers)
            assert key not in responses
    lines = [record.getMessage() for record in caplog.records if record.name.startswith(("crossette", "uvicorn"))]

    assert len(lines) >= 6
    assert [line for line in lines if key in line] == []
