"""Which web pages may ask, and by which names the server answers: what browsers would let strangers do.

A page from anywhere can send requests to a server on the same machine. It is told apart by its `Origin`; and one
whose own name was made to point here (DNS rebinding), by the `Host` that it asks for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Scope

from crossette.errors import ConfigError, Forbidden
from crossette.settings import setting
from crossette.urls import check_hostname, split_url

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

_DEFAULT_PORTS = {"http": 80, "https": 443}
"""Which an origin leaves out."""
_NOT_ASCII = "its letters beyond ASCII are sent as xn--…"


@dataclass(frozen=True, slots=True)
class OriginSettings:
    """Who may ask in a browser."""

    cors_origin: tuple[str, ...] = setting(
        (), "Origin of web pages that may ask, as https://app.example, or * for all. Repeatable."
    )
    allowed_host: tuple[str, ...] = setting(
        (),
        "Name by which the server may be asked for, as api.example, *.example, or * for all. Repeatable. "
        "If none is given: on a loopback address the names of this machine to itself and --host, elsewhere all.",
    )


def check_origins(settings: OriginSettings) -> None:
    """Raise ConfigError for an entry that no browser would ever send, so that it would let nobody in."""
    for origin in settings.cors_origin:
        if origin not in ("*", "null") and (wrong := _why_no_origin(origin)):
            raise ConfigError(
                f"--cors-origin {origin!r} is no origin: {wrong}. Give it as browsers send it: https://app.example, "
                "http://localhost:3000, null, or * for all."
            )
    for name in settings.allowed_host:
        if name != "*" and (wrong := _why_no_name(name.removeprefix("*."))):
            raise ConfigError(
                f"--allowed-host {name!r} is no name of a server: {wrong}. Give it without http:// and port: "
                "api.example, *.example, 127.0.0.1, [::1], or * for all."
            )


def _why_no_origin(text: str) -> str:
    """ "" for an origin as RFC 6454 writes it, which is how browsers do."""
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
    try:
        check_hostname(name)
    except ValueError as error:
        return str(error)
    return "" if name.isascii() else _NOT_ASCII


def allowed_hosts(settings: OriginSettings, bound_to: str, host: str) -> tuple[str, ...]:
    """The names that a server bound to the address `bound_to`, which was asked for as `host`, answers by; () for all.

    What counts is the address: a name of this machine, or a short spelling (`127.1`), may stand for a loopback one.
    """
    if settings.allowed_host:
        return () if "*" in settings.allowed_host else tuple(name.lower() for name in settings.allowed_host)
    if not is_loopback(bound_to):
        return ()
    return tuple(dict.fromkeys((*LOOPBACK, _in_url(bound_to), _in_url(host))))


def is_loopback(address: str) -> bool:
    """Whether an address, as a socket tells it, is reached from this machine alone."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def with_cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """`app`, answering browsers what pages of these origins may do; `app` itself if there are none."""
    if not origins:
        return app
    # Keys come in a header that pages set themselves, so cookies and the like are never asked for.
    return CORSMiddleware(
        app, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=["*"], expose_headers=["*"]
    )


def check_host(scope: Scope, hosts: Sequence[str]) -> None:
    """Raise Forbidden for a host that is not ours.

    Whoever watches the server's health asks for it by whatever address it has.
    """
    host = Headers(scope=scope).get("host", "")
    if hosts and host and not scope["path"].startswith("/health/") and not _is_one_of(_name(host), hosts):
        raise Forbidden(
            f"This server is not known as '{_name(host)}'. Known: {', '.join(hosts)}. "
            "Ask for one of these, or start the server with --allowed-host."
        )


def check_origin(scope: Scope, origins: Sequence[str]) -> None:
    """Raise Forbidden for a page from elsewhere that is not on the list. Programs send no `Origin`."""
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if origin is None or origin in origins or "*" in origins or origin.partition("://")[2] == headers.get("host", ""):
        return
    raise Forbidden(f"A web page of '{origin}' may not ask this server. Start the server with --cors-origin to let it.")


def _is_one_of(name: str, hosts: Sequence[str]) -> bool:
    return name in hosts or any(host.startswith("*.") and name.endswith(host[1:]) for host in hosts)


def _name(host: str) -> str:
    """A `Host` without its port: `[::1]:8000` is `[::1]`."""
    end = host.find("]") + 1
    return (host[:end] or host.partition(":")[0]).lower()


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address.lower()
