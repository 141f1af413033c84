"""Images over HTTP: only from allowed hosts, only from public addresses, only from the address that was checked."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from crossette.api.image_fetch import ImageFetcher, is_public
from crossette.errors import InvalidRequest, Unsupported
from support.web_host import DATA, web_host


def fetch(url: str, *hosts: str, open_: bool = True, max_bytes: int = 100, timeout_s: float = 10.0) -> bytes:
    fetcher = ImageFetcher(
        hosts=hosts, max_bytes=max_bytes, timeout_s=timeout_s, is_allowed=(lambda _: True) if open_ else is_public
    )
    return asyncio.run(fetcher.fetch(url))


def test_an_image_of_an_allowed_host_is_fetched() -> None:
    with web_host() as (port, seen):
        assert fetch(f"http://LOCALHOST:{port}/a/b.png?c=d#e", f"localhost:{port}") == DATA

    assert (seen[0]["path"], seen[0]["host"]) == ("/a/b.png?c=d", f"LOCALHOST:{port}")
    assert {"authorization", "cookie", "referer"}.isdisjoint(seen[0])


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.png",
        "https://example.org:8443/a.png",
        "http://example.org:443/a.png",
        "https://www.example.org/a.png",
        "https://example.org.evil.com/a.png",
        "http://127.0.0.1/a.png",
    ],
)
def test_other_hosts_and_ports_are_refused_without_a_lookup(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _fail)

    with pytest.raises(Unsupported, match="fetches no images from"):
        fetch(url, "example.org")
    with pytest.raises(Unsupported):
        fetch(url)


@pytest.mark.parametrize(
    "url", ["https://user:pw@example.org/a", "https://example.org\\@evil.com/", "https:///a", "https://exa mple.org/"]
)
def test_ambiguous_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        fetch(url, "example.org", "evil.com", "")


def _fail(*_: Any, **__: Any) -> Any:
    raise AssertionError("it was looked up")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        *(
            (address, False)
            for address in (
                *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
                *("100.64.0.1", "192.0.0.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
                *("::", "::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
                *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::"),
                "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            )
        ),
    ],
)
def test_public_addresses(address: str, expected: bool) -> None:
    assert is_public(address) is expected


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["93.184.215.14", "10.0.0.1"], ["::ffff:169.254.169.254"], []])
def test_a_name_with_a_private_address_is_refused(addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with web_host() as (port, seen):
        monkeypatch.setattr(socket, "getaddrinfo", _resolving(addresses, port))
        with pytest.raises(InvalidRequest, match="not public"):
            fetch(f"http://rebind.test:{port}/", f"rebind.test:{port}", open_=False)

    assert seen == []


def _resolving(*answers: Any) -> Any:
    """`getaddrinfo` with these addresses for each call in turn; a number is the port."""
    *lists, port = answers
    remaining = iter(lists)

    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in next(remaining)]

    return getaddrinfo


def test_the_connection_is_made_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second lookup, which would give another address, does not happen."""
    with web_host() as (port, seen):
        monkeypatch.setattr(socket, "getaddrinfo", _numeric_after(["127.0.0.1"]))
        assert fetch(f"http://rebind.test:{port}/x", f"rebind.test:{port}") == DATA

    assert seen[0]["host"] == f"rebind.test:{port}"


def _numeric_after(addresses: list[str]) -> Any:
    """`getaddrinfo` with these addresses for a name once; afterwards only numeric addresses are known."""
    real = socket.getaddrinfo
    lookups: list[str] = []

    def getaddrinfo(name: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if str(name).replace(".", "").isdigit():
            return real(name, port, *rest, **more)
        lookups.append(name)
        assert len(lookups) == 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return getaddrinfo


@pytest.mark.parametrize("status", [301, 302, 404, 500, 204])
def test_only_a_200_is_an_image_and_redirects_are_not_followed(status: int) -> None:
    with (
        web_host(200) as (elsewhere, reached),
        web_host(status, Location=f"http://localhost:{elsewhere}/") as (port, seen),
    ):
        with pytest.raises(InvalidRequest, match=f"status {status}"):
            fetch(f"http://localhost:{port}/", f"localhost:{port}", f"localhost:{elsewhere}")
        assert (len(seen), reached) == (1, [])


def test_a_large_image_is_refused() -> None:
    with web_host(body=b"x" * 101) as (port, _), pytest.raises(InvalidRequest, match="more than 100 bytes"):
        fetch(f"http://localhost:{port}/", f"localhost:{port}")
    with web_host(body=b"x" * 100) as (port, _):
        assert len(fetch(f"http://localhost:{port}/", f"localhost:{port}")) == 100


def test_failures_of_the_network_are_errors_of_the_request() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        with pytest.raises(InvalidRequest, match="cannot be fetched"):
            fetch(f"http://127.0.0.1:{port}/", f"127.0.0.1:{port}")
        silent.listen()
        with pytest.raises(InvalidRequest, match="not received within"):
            fetch(f"http://127.0.0.1:{port}/", f"127.0.0.1:{port}", timeout_s=0.3)


def test_an_unknown_host_is_an_error_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(InvalidRequest, match="is unknown"):
        fetch("https://nowhere.test/", "nowhere.test")
