"""Allowed web origins and host names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import closing
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from crossette.api.app import App
from crossette.api.guards.origins import LOOPBACK, OriginSettings, allowed_hosts, any_origin_of, check_origins
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
        assert_forbidden(refused, prefix, "may not send requests")
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


# --- patterns of origins ---

MATCHES = [
    ("http://localhost:*", "http://localhost:3000", True),
    ("http://localhost:*", "http://localhost", True),
    ("http://localhost:*", "https://localhost:3000", False),
    ("http://localhost:*", "http://localhost.evil.net:80", False),
    ("http://localhost:*", "http://localhost:80.evil.net", False),
    ("http://localhost:*", "http://localhost:80@evil.net", False),
    ("http://localhost:*", "http://localhost:", False),
    ("http://localhost:*", "http://evil-localhost:1", False),
    ("http://[::1]:*", "http://[::1]:8080", True),
    ("http://[::1]:*", "http://[::2]:8080", False),
    ("https://*.example.org", "https://a.example.org", True),
    ("https://*.example.org", "https://a.b-c.xn--d.example.org", True),
    ("https://*.example.org", "https://example.org", False),
    ("https://*.example.org", "https://evilexample.org", False),
    ("https://*.example.org", "https://.example.org", False),
    ("https://*.example.org", "https://example.org.evil.net", False),
    ("https://*.example.org", "https://a.example.org.evil.net", False),
    ("https://*.example.org", "https://evil.org/.example.org", False),
    ("https://*.example.org", "https://evil.org?.example.org", False),
    ("https://*.example.org", "https://evil.org#.example.org", False),
    ("https://*.example.org", "https://evil.org:80.example.org", False),
    ("https://*.example.org", "https://me@a.example.org", False),
    ("https://*.example.org", "https://a.exampleXorg", False),
    ("https://*.example.org", "http://a.example.org", False),
    ("https://*.example.org", "https://a.example.org:8443", False),
    ("https://*.example.org:8443", "https://a.example.org:8443", True),
    ("https://*.example.org:*", "https://a.example.org:1", True),
    ("vscode-webview://*", "vscode-webview://1b7j0k2a3d", True),
    ("vscode-webview://*", "vscode-webview-x://1b7j0k2a3d", False),
    ("vscode-webview://*", "https://vscode-webview", False),
    ("vscode-webview://*", "vscode-webview://", False),
    ("chrome-extension://*", "chrome-extension://abcdefghijklmnop", True),
    ("chrome-extension://*", "chrome-extension://a/b", False),
    ("safari-web-extension://*", "safari-web-extension://0A1B-2C", True),
    ("http://*:*", "http://[fe80::1]:3000", True),
    ("https://*", "https://any.example", True),
    ("https://*", "https://any.example:1", False),
    ("https://*", "https://", False),
    ("null", "null", True),
    ("null", "https://null", False),
]


@pytest.mark.parametrize(("pattern", "origin", "allowed"), MATCHES)
def test_a_pattern_allows_only_what_it_says(pattern: str, origin: str, allowed: bool) -> None:
    check_origins(OriginSettings(cors_origin=(pattern,)))

    assert bool(re.fullmatch(any_origin_of([PAGE, pattern]), origin)) is allowed


@pytest.mark.parametrize(
    ("pattern", "origin", "other"),
    [
        ("http://localhost:*", "http://localhost:5173", "http://localhost.evil.net:5173"),
        ("https://*.example.org", "https://a.example.org", "https://a.example.org.evil.net"),
        ("vscode-webview://*", "vscode-webview://1b7j0k2a3d", "https://1b7j0k2a3d"),
    ],
)
def test_a_page_whose_origin_matches_a_pattern_gets_answers_and_preflights(
    prefix: str, pattern: str, origin: str, other: str
) -> None:
    preflight = {"access-control-request-method": "POST"}
    with serving(origins=OriginSettings(cors_origin=(pattern,))) as api:
        url = api.url(f"{prefix}/completions")
        for streamed in (False, True):
            answer = api.post(f"{prefix}/completions", BODY | {"stream": streamed}, {"origin": origin})
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
            assert "Origin" in answer.headers["vary"]
        asked = api.http.options(url, headers=preflight | {"origin": origin})
        refused = api.http.options(url, headers=preflight | {"origin": other})
        assert_forbidden(api.post(f"{prefix}/completions", BODY, {"origin": other}), prefix, other)

    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, origin)
    assert "Origin" in asked.headers["vary"]
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers
    assert "Origin" in refused.headers["vary"]


labels = st.from_regex("[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
hosts = st.lists(labels, min_size=1, max_size=3).map(".".join)
ports = st.one_of(st.just(""), st.integers(1, 65535).map(lambda port: f":{port}"))
junk = st.text("/?#@:.[]*\\ax-0", max_size=6)


@given(hosts, ports, hosts, junk, junk)
def test_no_text_around_a_host_makes_another_host_match(
    host: str, port: str, other: str, before: str, after: str
) -> None:
    """An origin that matches is a scheme, a host and a port, and the host is the pattern's or under it."""
    sent = f"https://{before}{other}{after}.{host}{port}"
    if re.fullmatch(any_origin_of([f"https://*.{host}:*"]), sent):
        parts = urlsplit(sent)
        assert (parts.path, parts.query, parts.fragment, parts.username) == ("", "", "", None)
        assert parts.hostname is not None
        assert parts.hostname.endswith(f".{host}")
    assert re.fullmatch(any_origin_of([f"https://*.{host}:*"]), f"https://{other}.{host}{port}")
    assert not re.fullmatch(any_origin_of([f"https://*.{host}:*"]), f"https://{host}{port}")
    assert not re.fullmatch(any_origin_of([f"https://{host}:*"]), f"https://{host}.{other}{port}")


@given(st.text("htps:/*.[]1a-@# ", max_size=14).map(lambda text: f"http{text}"))
def test_an_entry_is_rejected_or_a_pattern_without_surprises(entry: str) -> None:
    """Any text is an error or an expression that matches no more than one scheme."""
    try:
        check_origins(OriginSettings(cors_origin=(entry,)))
    except ConfigError:
        return
    scheme = entry.partition("://")[0]
    expression = any_origin_of([entry])
    assert not re.fullmatch(expression, f"x{scheme}://a")
    assert not re.fullmatch(expression, f"{scheme}://a/b")
    assert "*" in entry or re.fullmatch(expression, entry)


def test_a_long_origin_takes_no_longer_than_its_length() -> None:
    expression = re.compile(any_origin_of(["https://*.example.org", "http://*:*"]))

    for text in ("a" * 60_000, "a." * 30_000, ":1" * 30_000, ".example.org" * 5000):
        assert not expression.fullmatch(f"https://{text}!")


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
        assert_forbidden(answer, prefix, *LOOPBACK)


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
        ("*.example.org", "scheme is missing"),
        ("**", "scheme is missing"),
        ("*://localhost", "a scheme cannot be a pattern"),
        ("http*://localhost", "a scheme cannot be a pattern"),
        ("https://a*.example", "in a host, * stands for"),
        ("https://*app.example", "in a host, * stands for"),
        ("https://app.*", "in a host, * stands for"),
        ("https://*.*", "in a host, * stands for"),
        ("https://*.*.example", "in a host, * stands for"),
        ("https://*.", "in a host, * stands for"),
        ("https://*/path", "in a host, * stands for"),
        ("https://me@*", "in a host, * stands for"),
        ("http://localhost:*/", "in a host, * stands for"),
        ("https://*..example", "neither a name nor an address"),
        ("http://localhost:8*", "a port is a number or *"),
        ("http://localhost:**", "a port is a number or *"),
        ("http://localhost:", "followed by something other than a port"),
        ("http://*.127.0.0.1:*", "an address has no subdomains"),
        ("http://*.[::1]", "an address has no subdomains"),
        ("HTTPS://*", "browsers send https://*"),
        ("https://*:443", "browsers send https://*"),
        ("https://*.App.example", "browsers send https://*.app.example"),
        ("https://*.app.example/", "browsers send https://*.app.example"),
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
        return build.origins(listener.getsockname()[0], settings)


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
