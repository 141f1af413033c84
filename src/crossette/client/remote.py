"""Remote servers of the client commands: the `--url` option, certificates, and readable connection errors."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from crossette.errors import ConfigError
from crossette.log import escape_controls
from crossette.urls import split_http

KEY_VARIABLE: Final = "CROSSETTE_API_KEY"
"""The only environment variable for the key: keys of other services must not be sent to an arbitrary `--url`."""

_PREFIXES = ("/inference/v1", "/v1")
_UNTRUSTED = (18, 19, 20, 21)
"""OpenSSL's verification errors for a certificate that is self-signed or has an unknown issuer."""


@dataclass(frozen=True, slots=True)
class ServerURL:
    """The root URL of a server and the base URL of its API, both without a trailing slash."""

    root: str
    base: str

    @classmethod
    def parse(cls, url: str) -> ServerURL:
        """Parse the root URL, or a base URL ending in `/v1`, `/inference/v1` or another path. Raises ConfigError."""
        text = (url if "://" in url else f"http://{url}").rstrip("/")
        try:
            parts = split_http(text)
            if parts.query or parts.fragment:
                raise ValueError("it has a query or a fragment")
        except ValueError as error:
            raise ConfigError(
                f"--url must be the URL of a server or its API such as http://127.0.0.1:8000, not {url!r}: {error}."
            ) from None
        for prefix in _PREFIXES:
            if parts.path.endswith(prefix):
                return cls(text.removesuffix(prefix), text)
        if parts.path == "/inference":  # the base URL of the fireworks SDK
            return cls(text.removesuffix(parts.path), f"{text}/v1")
        return cls(text, text if parts.path else f"{text}/v1")


def connection_error(error: BaseException) -> str:
    """A message for a failed connection: the cause in the exception chain, and what to do."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate_error(cause)
        if isinstance(cause, ssl.SSLError):
            return f"{cause.reason or cause}. Does the server support HTTPS, or is the URL http://?"
        cause = cause.__cause__ or cause.__context__
    return f"{str(error) or type(error).__name__}. Is the server running?"


def _certificate_error(error: ssl.SSLCertVerificationError) -> str:
    reason = f"its certificate is not trusted ({error.verify_message.rstrip('.')})."
    if error.verify_code in _UNTRUSTED:
        return f"{reason} Set SSL_CERT_FILE to the file of that certificate, or of the authority that signed it."
    return reason


@contextmanager
def ca_errors() -> Iterator[None]:
    """Convert errors of loading CA certificates, when a client is created, to ConfigError."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"SSL_CERT_FILE or SSL_CERT_DIR cannot be read: {error}") from error


def error_text(body: bytes) -> str:
    """The message in the body of an error response of any server, in at most 300 characters."""
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError):
        return shortened(body.decode(errors="replace")) or "no message"
    return error_message(decoded.get("error", decoded) if isinstance(decoded, dict) else decoded)


def error_message(error: Any) -> str:
    """The message of a decoded error: an object with a message in most servers, a string in some."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error
    return shortened(error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)) or "no message"


def shortened(text: str) -> str:
    text = escape_controls(" ".join(text.split()))
    return text if len(text) <= 300 else f"{text[:299]}…"
