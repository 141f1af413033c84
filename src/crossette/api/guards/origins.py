"""Allowed web origins and host names: protection against requests that other sites send from a user's browser.

Any web page can send requests to a server on the same machine. The `Origin` header identifies such a page; the `Host`
header reveals a page whose own name resolves to this server (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from crossette.api.exchange import Exchange
from crossette.api.health import PROBES
from crossette.errors import ConfigError, Forbidden
from crossette.settings import setting
from crossette.urls import check_hostname, split_url

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

_DEFAULT_PORTS = {"http": 80, "https": 443}
"""An origin omits the default port of its scheme."""
_LABEL = "[A-Za-z0-9_~-]+"
_SOME_LABEL = "any--label"
"""Replaces the * of a host for its validation."""
_ANY_HOST = f"(?:{_LABEL}(?:[.]{_LABEL})*|\\[[0-9a-f:.]+\\])"
_PORT = re.compile(":[0-9*]*$")
_NOT_ASCII = "browsers send non-ASCII letters as xn--…"


@dataclass(frozen=True, slots=True)
class OriginSettings:
    """The origins and host names that browsers may use."""

    cors_origin: tuple[str, ...] = setting(
        (),
        "Origin of web pages that may send requests, as https://app.example, or * for all. A pattern is "
        "http://localhost:* (any port), https://*.example.org (subdomains) or vscode-webview://* (any host). "
        "Repeatable.",
    )
    allowed_host: tuple[str, ...] = setting(
        (),
        "Host name that requests may use for the server, as api.example, *.example, or * for all. Repeatable. "
        "By default: on a loopback address the loopback names and --host, on other addresses all names.",
    )


def check_origins(settings: OriginSettings) -> None:
    """Raise ConfigError for an entry that no browser sends, so that it could never match."""
    for origin in settings.cors_origin:
        if origin not in ("*", "null") and (wrong := _why_no_pattern(origin)):
            raise ConfigError(
                f"--cors-origin {origin!r} is not an origin or a pattern: {wrong}. Give it as browsers send it: "
                "https://app.example, http://localhost:3000, null, or * for all; or as a pattern: "
                "http://localhost:*, https://*.example.org, chrome-extension://*."
            )
    for name in settings.allowed_host:
        if name != "*" and (wrong := _why_no_name(name.removeprefix("*."))):
            raise ConfigError(
                f"--allowed-host {name!r} is not a host name: {wrong}. Give it without http:// and port: "
                "api.example, *.example, 127.0.0.1, [::1], or * for all."
            )


def _why_no_pattern(text: str) -> str:
    """Why `text` is neither an origin nor a pattern; "" if it is."""
    scheme, host, port = _parts(text)
    parent = "" if host == "*" else host.removeprefix("*.")
    if "*" in scheme:
        return "a scheme cannot be a pattern" if "://" in text else "its scheme is missing"
    if "*" in parent or host == "*.":
        return "in a host, * stands for the whole host or, as its first label, for subdomains"
    if "*" in port and port != ":*":
        return "a port is a number or *"
    if parent != host and _is_address(parent):
        return "an address has no subdomains"
    example = f"{scheme}://{host.replace('*', _SOME_LABEL)}{port.removesuffix(':*')}"
    return _why_no_origin(example).replace(_SOME_LABEL, "*")


def origin_pattern(text: str) -> str:
    """The regular expression of the origins that an entry of `--cors-origin` allows, for a full match."""
    if text == "*":
        return ".*"
    scheme, host, port = _parts(text)
    if host == "*":
        host_pattern = _ANY_HOST
    elif host.startswith("*."):
        host_pattern = f"{_LABEL}(?:[.]{_LABEL})*{re.escape(host[1:])}"
    else:
        host_pattern = re.escape(host)
    separator = "://" if host else ""  # `null` has none
    return re.escape(scheme + separator) + host_pattern + ("(?::[0-9]{1,5})?" if port == ":*" else re.escape(port))


def _parts(text: str) -> tuple[str, str, str]:
    """Scheme, host and port of an origin or a pattern. The port has its colon; `null` is a scheme alone."""
    scheme, _, authority = text.partition("://")
    found = _PORT.search(authority)
    port = found[0] if found else ""
    return scheme, authority.removesuffix(port), port


def _is_address(host: str) -> bool:
    """Whether a host is an IP address, as URLs are read: its last label is a number, or it has brackets."""
    return host.startswith("[") or host.rpartition(".")[2].isdecimal()


def _why_no_origin(text: str) -> str:
    """Why `text` is not an origin in the notation of RFC 6454, which browsers use; "" if it is."""
    try:
        parts = split_url(text)
    except ValueError as error:
        return str(error)
    origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"
    if parts.port is not None and parts.port == _DEFAULT_PORTS.get(parts.scheme):
        origin = origin.removesuffix(f":{parts.port}")
    if not origin.isascii():
        return _NOT_ASCII
    return "" if text == origin else f"browsers send {origin}"


def _why_no_name(name: str) -> str:
    """Why `name` is not a host name; "" if it is."""
    try:
        check_hostname(name)
    except ValueError as error:
        return str(error)
    return "" if name.isascii() else _NOT_ASCII


def allowed_hosts(settings: OriginSettings, bound_to: str, host: str) -> tuple[str, ...]:
    """The allowed host names of a server that is bound to `bound_to`, configured as `host`; () for all.

    The address decides: a host name or a short notation (`127.1`) may resolve to a loopback address.
    """
    if settings.allowed_host:
        return () if "*" in settings.allowed_host else tuple(name.lower() for name in settings.allowed_host)
    if not is_loopback(bound_to):
        return ()
    return tuple(dict.fromkeys((*LOOPBACK, _in_url(bound_to), _in_url(host))))


def is_loopback(address: str) -> bool:
    """Whether an address, as a socket reports it, is reachable from this machine only."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def with_cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """`app` with CORS for these origins."""
    # Keys are in a header that pages set themselves, so credentials such as cookies are not allowed.
    return CORSMiddleware(
        app,
        allow_origins=["*"] if "*" in origins else [],
        allow_origin_regex=any_origin_of(origins),
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["*"],
    )


def any_origin_of(origins: Sequence[str]) -> str:
    """The regular expression of all origins that these entries allow, for a full match; of none without entries."""
    return "|".join(map(origin_pattern, origins)) or "(?!)"


def check_host(exchange: Exchange, hosts: Sequence[str]) -> None:
    """Raise Forbidden for a `Host` that is not allowed.

    Health checks are exempt: monitoring may use any address of the server.
    """
    host = exchange.headers.get("host", "")
    if hosts and host and exchange.path not in PROBES and not _is_one_of(_name(host), hosts):
        raise Forbidden(
            f"The host name '{_name(host)}' is not allowed. Use one of these: {', '.join(hosts)}.",
            hint="--allowed-host allows further names",
        )


def check_origin(exchange: Exchange, allowed: re.Pattern[str]) -> None:
    """Raise Forbidden for a web page of another origin that is not allowed. Requests without `Origin` pass."""
    origin = exchange.headers.get("origin")
    if origin is None or allowed.fullmatch(origin) or origin.partition("://")[2] == exchange.headers.get("host", ""):
        return
    raise Forbidden(
        f"Web pages of the origin '{origin}' may not send requests to this server.",
        hint="--cors-origin allows further origins",
    )


def _is_one_of(name: str, hosts: Sequence[str]) -> bool:
    return name in hosts or any(host.startswith("*.") and name.endswith(host[1:]) for host in hosts)


def _name(host: str) -> str:
    """The host name in a `Host` header, without its port: `[::1]` of `[::1]:8000`."""
    end = host.find("]") + 1
    return (host[:end] or host.partition(":")[0]).lower()


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address.lower()
