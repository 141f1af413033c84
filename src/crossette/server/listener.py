"""The listening socket, and the check that it is not reachable from outside without keys."""

from __future__ import annotations

import errno
import socket

from crossette.accounts.database.authenticator import KeyAuthenticator
from crossette.api.guards.origins import is_loopback
from crossette.errors import ConfigError
from crossette.server.settings import ServerSettings


def bind(host: str, port: int) -> socket.socket:
    """Bind a socket to an address. Raises ConfigError if it is in use or not local."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:  # UnicodeError: not a valid hostname
        listener.close()
        raise ConfigError(f"Can't listen on {host}:{port}: {_bind_error(host, error)}") from error
    return listener


def _bind_error(host: str, error: OSError | UnicodeError) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"--host {host} is not a known hostname or address ({reason})."
    if isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host} is not an address of this machine. Give a local address, or 0.0.0.0 for all of them."
    return f"{reason}. Choose another --port."


def check_exposure(address: str, access: KeyAuthenticator, settings: ServerSettings) -> None:
    """Raise ConfigError if other machines could use a server at `address` without a key."""
    if is_loopback(address) or access.has_keys or settings.allow_anonymous:
        return
    raise ConfigError(
        f"--host {settings.host} is reachable from other machines, but there are no keys, so that anyone could use"
        " the server. Create a key with `crossette keys create NAME`, or start with --allow-anonymous."
    )
