"""Addresses of servers as people write them: one rule for all settings and commands that take one.

`urlsplit` takes nearly everything, and drops line breaks; what is wrong then comes to light far from here.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

_PLACE: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[^\[\]:]*)(?::(?P<port>[0-9]+))?")
_NAME: Final = re.compile(r"[\w.~-]+")
_LARGEST_PORT: Final = 65_535


def split_url(url: str) -> SplitResult:
    """The parts of a URL with a host. Raises ValueError with the reason, as in "its host is missing"."""
    if not url.isprintable() or " " in url:
        raise ValueError("it has blanks or control characters")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("its brackets enclose no IPv6 address") from None
    check_place(parts.netloc.rpartition("@")[2])
    return parts


def split_http(url: str) -> SplitResult:
    """The parts of the URL of something that speaks HTTP. Raises ValueError with the reason."""
    parts = split_url(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("it begins with neither http:// nor https://")
    return parts


def check_place(text: str) -> None:
    """Raise ValueError, with the reason, unless `text` is a host with or without a port."""
    place = _PLACE.fullmatch(text)
    if place is None:
        raise ValueError("behind its host stands no port")
    check_name(place["host"])
    if place["port"] and not 0 < int(place["port"].lstrip("0")[:6] or 0) <= _LARGEST_PORT:
        raise ValueError(f"its port is none from 1 to {_LARGEST_PORT}")


def check_name(name: str) -> None:
    """Raise ValueError, with the reason, unless a host may have this name, or this address as URLs write it."""
    if not name:
        raise ValueError("its host is missing")
    if name.startswith("["):
        _check_ipv6(name[1:-1])
    elif not _NAME.fullmatch(name) or not _is_encodable(name):
        raise ValueError("its host is neither a name nor an address")


def _check_ipv6(address: str) -> None:
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        raise ValueError("its brackets enclose no IPv6 address") from None


def _is_encodable(name: str) -> bool:
    """Whether resolvers take it: parts of 1 to 63 characters, and other letters than English ones as IDNA has them."""
    try:
        name.encode("idna").decode("idna")
    except UnicodeError:
        return False
    return True
