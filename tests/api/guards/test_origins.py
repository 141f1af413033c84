"""Allowed web origins and host names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from crossette.api.app import App
from crossette.api.guards.origins import LOOPBACK, OriginSettings, allowed_hosts, check_origins
from crossette.errors import ConfigError
from crossette.server import build
from crossette.server.listener import bind
from crossette.server.settings import load_settings
from support.api_server import DIALECTS, ApiServer, say, serving

BODY = {"model": "fake", "prompt": say("Hello")}
PAGE = "https://app.example"
LISTED = OriginSettings(cors_origin=(PAGE, "http://localhost:3000"))


def assert_forbidden(answer: httpx.Response, prefix: str, *parts: str) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (403, *DIALECTS[prefix].errors["forbidden"])
    assert [part for part in parts if part not in error["message"]] == []


# --- origins ---


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:1", "null", "http://[", "\u00e9", ""])
def test_another_origin_is_rejected_before_any_work(api: ApiServer, prefix: str, origin: str) -> None:
    """A form or a text/plain request needs no preflight, so CORS alone would not prevent it."""
    steps = api.engine.stats().steps
    for headers in ({}, {"content-type": "text/plain"}):
        content = json.dumps(BODY).encode()
        head = [(b"origin", origin.encode("latin-1")), *((k.encode(), v.encode()) for k, v in headers.items())]
        refused = api.http.post(api.url(f"{prefix}/completions"), content=content, headers=head)
        assert_forbidden(refused, prefix, "--cors-origin")
    assert api.engine.stats().steps == steps


def test_a_page_of_the_same_origin_is_allowed(api: ApiServer, prefix: str) -> None:
    assert api.post(f"{prefix}/completions", BODY, {"origin": api.root}).status_code == 200


def test_without_allowed_origins_there_are_no_cors_headers(api: ApiServer, prefix: str) -> None:
    answer = api.http.options(
        api.url(f"{prefix}/completions"), headers={"origin": PAGE, "access-control-request-method": "POST"}
    )

    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_an_allowed_origin_can_read_answers_headers_and_errors(prefix: str) -> None:
    with serving(origins=LISTED) as api:
        answers = [
            api.post(f"{prefix}/completions", BODY, {"origin": PAGE}),
            api.post(f"{prefix}/completions", BODY | {"stream": True}, {"origin": PAGE}),
            api.post(f"{prefix}/completions", {}, {"origin": PAGE}),
        ]

    assert [answer.status_code for answer in answers] == [200, 200, 400]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert answer.headers["access-control-expose-headers"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
        assert answer.headers["x-request-id"]


def test_an_allowed_origin_gets_a_preflight_response(prefix: str) -> None:
    with serving(origins=LISTED) as api:
        preflight = {
            "origin": PAGE,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type,x-stainless-lang",
        }
        answer = api.http.options(api.url(f"{prefix}/completions"), headers=preflight)

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-headers"] == preflight["access-control-request-headers"]
    assert answer.headers["access-control-allow-methods"] == "GET, POST"


def test_an_origin_is_rejected_if_only_others_are_allowed(prefix: str) -> None:
    with serving(origins=LISTED) as api:
        refused = api.post(f"{prefix}/completions", BODY, {"origin": "https://evil.example"})

    assert_forbidden(refused, prefix, "https://evil.example")
    assert "access-control-allow-origin" not in refused.headers


def test_a_wildcard_allows_every_origin(prefix: str) -> None:
    with serving(origins=OriginSettings(cors_origin=("*",))) as api:
        answer = api.post(f"{prefix}/completions", BODY, {"origin": "https://any.example"})

    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


def test_forwarding_headers_do_not_change_client_or_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise such headers would be trusted from local clients, and so from web pages."""
    scopes: list[Scope] = []
    call = App.__call__

    async def noting(self: App, scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await call(self, scope, receive, send)

    monkeypatch.setattr(App, "__call__", noting)
    with serving() as api:
        api.get("/v1/models", {"x-forwarded-for": "10.9.8.7", "x-forwarded-proto": "https"})

    (scope,) = scopes
    assert (scope["client"][0], scope["scheme"]) == ("127.0.0.1", "http")


# --- host names ---


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("evil.example", 403),
        ("evil.example:8000", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:8000", 403),
        ("[::2]:80", 403),
        ("[", 400),
        (":", 403),
    ],
)
def test_on_loopback_only_loopback_names_are_allowed(prefix: str, host: str, status: int) -> None:
    with serving(origins=OriginSettings(allowed_host=LOOPBACK)) as api:
        answer = api.get(f"{prefix}/models", {"host": host})

    assert answer.status_code == status
    if status == 403:
        assert_forbidden(answer, prefix, "--allowed-host")


def test_dns_rebinding_is_rejected_even_with_the_same_origin(prefix: str) -> None:
    with serving(origins=OriginSettings(allowed_host=LOOPBACK)) as api:
        headers = {"host": "evil.example", "origin": "http://evil.example"}
        assert_forbidden(api.post(f"{prefix}/completions", BODY, headers), prefix, "evil.example")


def test_a_preflight_needs_an_allowed_host_and_is_recorded(prefix: str) -> None:
    preflight = {"origin": PAGE, "access-control-request-method": "POST"}
    settings = OriginSettings(cors_origin=(PAGE,), allowed_host=("api.example",))
    with serving(origins=settings) as api:
        answers = [
            api.http.options(api.url(f"{prefix}/completions"), headers=preflight | {"host": host})
            for host in ("evil.example", "api.example")
        ]
        api.observed.wait_for(2)

    refused, allowed = answers
    assert_forbidden(refused, prefix, "evil.example")
    assert not [name for name in refused.headers if name.startswith("access-control")]
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, PAGE)
    records = [(record.method, record.status, record.error) for record in api.observed.records]
    assert records == [("OPTIONS", 403, "forbidden"), ("OPTIONS", 200, "")]


def test_health_checks_allow_any_host_name() -> None:
    with serving(origins=OriginSettings(allowed_host=LOOPBACK)) as api:
        assert api.get("/health/live", {"host": "10.1.2.3:8000"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"), [("api.example", 200), ("a.b.api.example", 403), ("x.lab.example", 200), ("lab.example", 403)]
)
def test_host_names_can_be_exact_or_a_wildcard_suffix(host: str, status: int) -> None:
    with serving(origins=OriginSettings(allowed_host=("api.example", "*.lab.example"))) as api:
        assert api.get("/v1/models", {"host": host}).status_code == status


@pytest.mark.parametrize(
    ("given", "bound_to", "host", "names"),
    [
        ((), "127.0.0.1", "127.0.0.1", LOOPBACK),
        ((), "127.0.0.2", "127.0.0.2", (*LOOPBACK, "127.0.0.2")),
        ((), "::1", "::1", LOOPBACK),
        ((), "127.0.0.1", "localhost", LOOPBACK),
        ((), "127.0.0.1", "127.1", (*LOOPBACK, "127.1")),
        ((), "127.0.1.1", "MyMachine", (*LOOPBACK, "127.0.1.1", "mymachine")),
        ((), "0.0.0.0", "0.0.0.0", ()),
        ((), "0.0.0.0", "", ()),
        ((), "192.168.1.5", "localhost", ()),
        ((), "::", "::", ()),
        ((), "fe80::1%eth0", "fe80::1%eth0", ()),
        (("API.example",), "127.0.0.1", "127.0.0.1", ("api.example",)),
        (("api.example",), "0.0.0.0", "0.0.0.0", ("api.example",)),
        (("*",), "127.0.0.1", "127.0.0.1", ()),
    ],
)
def test_default_host_names_depend_on_the_address(
    given: tuple[str, ...], bound_to: str, host: str, names: tuple[str, ...]
) -> None:
    assert allowed_hosts(OriginSettings(allowed_host=given), bound_to, host) == names


@pytest.mark.parametrize(
    ("origin", "reason"),
    [
        ("https://app.example/", "browsers send https://app.example"),
        ("https://App.example", "browsers send https://app.example"),
        ("HTTPS://app.example", "browsers send https://app.example"),
        ("https://app.example:443", "browsers send https://app.example"),
        ("http://app.example:80", "browsers send http://app.example"),
        ("https://me@app.example", "browsers send https://app.example"),
        ("https://app.example?x", "browsers send https://app.example"),
        ("app.example", "host is missing"),
        ("https://b\u00fccher.example", "xn--"),
        ("https://*.example", "neither a name nor an address"),
    ],
)
def test_an_origin_that_no_browser_sends_is_rejected(origin: str, reason: str) -> None:
    with pytest.raises(ConfigError, match="--cors-origin") as raised:
        check_origins(OriginSettings(cors_origin=(PAGE, origin)))

    assert reason in str(raised.value)


@pytest.mark.parametrize(
    "name", ["http://api.example", "api.example:8000", "api.example/", "::1", "a b", "*", "*.", "b\u00fccher.example"]
)
def test_an_invalid_host_name_is_rejected(name: str) -> None:
    with pytest.raises(ConfigError, match="--allowed-host"):
        check_origins(OriginSettings(allowed_host=(name.replace("*", "*.*"),)))


def test_origins_and_host_names_as_browsers_send_them_are_valid() -> None:
    origins = (PAGE, "http://localhost:3000", "https://[::1]:8443", "https://xn--bcher-kva.example", "null", "*")
    names = ("API.example", "*.lab.example", "127.0.0.1", "[::1]", "my_box", "*")

    check_origins(OriginSettings(cors_origin=(*origins, "chrome-extension://abcdef"), allowed_host=names))


def composed(flags: Mapping[str, object]) -> OriginSettings:
    """The origin settings of a server that is started with these flags."""
    settings = load_settings(flags)
    with closing(bind(settings.server.host, 0)) as listener:
        return build.origins(listener, settings)


def test_a_server_gets_the_host_names_of_its_address() -> None:
    assert composed({}).allowed_host == LOOPBACK
    assert composed({"host": "0.0.0.0"}).allowed_host == ()
    assert composed({"cors_origin": [PAGE]}).cors_origin == (PAGE,)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "LOCALHOST"])
def test_host_names_are_checked_for_every_notation_of_a_loopback_address(host: str) -> None:
    """No key is needed there, so a page that uses DNS rebinding would be an anonymous admin."""
    origins = composed({"host": host})
    with serving(origins=origins) as api:
        statuses = [api.get("/v1/models", {"host": f"{name}:8000"}).status_code for name in ("evil.example", host)]

    assert statuses == [403, 200]
