"""Validation of server URLs, shared by all settings and commands.

`urlsplit` accepts nearly everything and drops line breaks, so that errors would appear far from their cause.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[^\[\]:]*)(?::(?P<port>[0-9]+))?")
_HOSTNAME: Final = re.compile(r"[\w.~-]+")
_LARGEST_PORT: Final = 65_535


def split_url(url: str) -> SplitResult:
    """Split a URL with a host. Raises ValueError with the reason, such as "its host is missing"."""
    if not url.isprintable() or " " in url:
        raise ValueError("it has blanks or control characters")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("its brackets do not enclose an IPv6 address") from None
    check_authority(parts.netloc.rpartition("@")[2])
    return parts


def split_http(url: str) -> SplitResult:
    """Split an HTTP or HTTPS URL. Raises ValueError with the reason."""
    parts = split_url(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("it begins with neither http:// nor https://")
    return parts


def check_authority(text: str) -> None:
    """Raise ValueError, with the reason, unless `text` is HOST or HOST:PORT."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise ValueError("its host is followed by something other than a port")
    check_hostname(match["host"])
    if match["port"] and not 0 < int(match["port"].lstrip("0")[:6] or 0) <= _LARGEST_PORT:
        raise ValueError(f"its port is not between 1 and {_LARGEST_PORT}")


def check_hostname(name: str) -> None:
    """Raise ValueError, with the reason, unless this is a valid hostname or IP address in the notation of URLs."""
    if not name:
        raise ValueError("its host is missing")
    if name.startswith("["):
        _check_ipv6(name[1:-1])
    elif not _HOSTNAME.fullmatch(name) or not _is_encodable(name):
        raise ValueError("its host is neither a name nor an address")


def _check_ipv6(address: str) -> None:
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        raise ValueError("its brackets do not enclose an IPv6 address") from None


def _is_encodable(name: str) -> bool:
    """Whether the name can be resolved: labels of 1 to 63 characters, non-ASCII letters by IDNA."""
    try:
        name.encode("idna").decode("idna")
    except UnicodeError:
        return False
    return True
