"""The socket that a server listens on, and whether it may be open to others."""

from __future__ import annotations

import errno
import socket

from crossette.accounts.database.key_ring import KeyRing
from crossette.api.guards.origins import is_loopback
from crossette.errors import ConfigError
from crossette.server.settings import ServerSettings


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to an address. Raises ConfigError if it is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no name of a host can be
        listener.close()
        raise ConfigError(f"Can't listen on {host}:{port}: {_why_not_bound(host, error)}") from error
    return listener


def _why_not_bound(host: str, error: OSError | UnicodeError) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"--host {host} is no name or address that is known here ({reason})."
    if isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host} is no address of this machine. Give one of its own, or 0.0.0.0 for all of them."
    return f"{reason}. Choose another --port."


def guard(listener: socket.socket, access: KeyRing, settings: ServerSettings) -> None:
    """Raise ConfigError if others than this machine's own users would come in without a key."""
    if is_loopback(listener.getsockname()[0]) or access.is_closed or settings.allow_anonymous:
        return
    listener.close()
    raise ConfigError(
        f"--host {settings.host} can be reached from other machines, but no keys were made, so that everybody could"
        " use the server. Make a key with `crossette keys create NAME`, or start with --allow-anonymous."
    )
