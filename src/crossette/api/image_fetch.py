"""Images fetched over HTTP from the hosts that the operator allows: from none by default.

A client chooses the URL, so it must not reach what only this server can. The name is resolved once, every address of it
must be public, and the connection is made to the address that was checked: a name that resolves to another address a
moment later changes nothing. Redirects are not followed, and no proxy is used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from urllib.parse import SplitResult, urlunsplit

from crossette.errors import InvalidRequest, Unsupported
from crossette.urls import split_http

_PORTS = {"http": 80, "https": 443}
_TRANSLATED = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48")))
"""IPv6 addresses that stand for IPv4 addresses behind a gateway (RFC 6052, RFC 8215)."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, and no other notation of a private one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip.sixtofour is not None or ip.teredo is not None or any(ip in network for network in _TRANSLATED):
            return False
    return ip.is_global and not ip.is_multicast


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFetcher:
    """Fetches images of up to `max_bytes` from `hosts`, which are names or NAME:PORT."""

    hosts: Collection[str]
    max_bytes: int
    timeout_s: float = 20.0
    """For all of a fetch, from the name to the last byte."""
    is_allowed: Callable[[str], bool] = is_public
    """Whether an address may be reached."""

    async def fetch(self, url: str) -> bytes:
        """Raises Unsupported for a URL of another host, InvalidRequest for an image that cannot be had."""
        parts = self._checked(url)
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._fetched(parts, await self._address(parts))
        except TimeoutError:
            raise InvalidRequest(f"The image was not received within {self.timeout_s:g} s.") from None

    def _checked(self, url: str) -> SplitResult:
        try:
            parts = split_http(url)
        except ValueError as error:
            raise InvalidRequest(f"The URL of the image is invalid: {error}.") from None
        if "@" in parts.netloc:
            raise InvalidRequest("The URL of the image has a user or a password: leave it out.")
        host, port = _host(parts), parts.port or _PORTS[parts.scheme]
        allowed = {name.lower() for name in self.hosts}
        if f"{host}:{port}" not in allowed and not (host in allowed and port == _PORTS[parts.scheme]):
            raise Unsupported(
                f"This server fetches no images from '{host}:{port}'. Send the image itself, as a data URL.",
                hint="--image-host allows a host",
            )
        return parts

    async def _address(self, parts: SplitResult) -> str:
        """The first address of the host. All must be public, or a client that knows its order could choose."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(_host(parts), _port(parts), type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise InvalidRequest("The host of the image is unknown.") from None
        addresses = [str(address[0]) for *_, address in found]
        if not addresses or not all(map(self.is_allowed, addresses)):
            raise InvalidRequest("The host of the image has an address that is not public.")
        return addresses[0]

    async def _fetched(self, parts: SplitResult, address: str) -> bytes:
        import httpx  # takes a tenth of a second, which only a server that fetches images needs

        literal = f"[{address}]" if ":" in address else address
        url = urlunsplit((parts.scheme, f"{literal}:{_port(parts)}", parts.path or "/", parts.query, ""))
        headers = {"host": parts.netloc, "accept": "image/*", "accept-encoding": "identity"}
        data = bytearray()
        try:
            async with (
                httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=self.timeout_s) as client,
                client.stream("GET", url, headers=headers, extensions={"sni_hostname": _host(parts)}) as response,
            ):
                if response.status_code != 200:
                    raise InvalidRequest(f"The host of the image answers with status {response.status_code}.")
                async for chunk in response.aiter_raw():
                    data += chunk
                    if len(data) > self.max_bytes:
                        raise InvalidRequest(f"The image has more than {self.max_bytes} bytes. Use a smaller one.")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise InvalidRequest(f"The image cannot be fetched: {type(error).__name__}.") from None
        return bytes(data)


def _host(parts: SplitResult) -> str:
    return (parts.hostname or "").rstrip(".").lower()


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS[parts.scheme]
