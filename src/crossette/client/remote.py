"""A server that a command asks: what `--url` means, whom its certificate is from, and what is said of a failure."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from crossette.errors import ConfigError
from crossette.log import visible
from crossette.urls import split_http

KEY_VARIABLE: Final = "CROSSETTE_API_KEY"
"""The only variable that a key is taken from: one that is made for another service must not reach any `--url`."""

_PREFIXES = ("/inference/v1", "/v1")
_NOT_TRUSTED = (18, 19, 20, 21)
"""OpenSSL's codes for a certificate that nobody known has signed: itself, its chain, its issuer."""


@dataclass(frozen=True, slots=True)
class ServerURL:
    """Where a server is: its root, and the base URL of its API. Neither ends in a slash."""

    root: str
    base: str

    @classmethod
    def parse(cls, url: str) -> ServerURL:
        """The root, `/v1` or `/inference/v1` mean the same server; of others, any base URL. Raises ConfigError."""
        text = (url if "://" in url else f"http://{url}").rstrip("/")
        try:
            parts = split_http(text)
            if parts.query or parts.fragment:
                raise ValueError("it has more than a path")
        except ValueError as error:
            raise ConfigError(
                f"--url must be a server or the base URL of its API, as http://127.0.0.1:8000, not {url!r}: {error}."
            ) from None
        for prefix in _PREFIXES:
            if parts.path.endswith(prefix):
                return cls(text.removesuffix(prefix), text)
        if parts.path == "/inference":  # what the SDK of Fireworks calls the base
            return cls(text.removesuffix(parts.path), f"{text}/v1")
        return cls(text, text if parts.path else f"{text}/v1")


def why(error: BaseException) -> str:
    """Why a server was not reached, and what to do, from the error that a client raised or what is behind it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _why_not_trusted(cause)
        if isinstance(cause, ssl.SSLError):
            return f"{cause.reason or cause}. Does it speak HTTPS, or is it http://?"
        cause = cause.__cause__ or cause.__context__
    return f"{str(error) or type(error).__name__}. Is the server running?"


def _why_not_trusted(error: ssl.SSLCertVerificationError) -> str:
    reason = f"its certificate is not trusted ({error.verify_message.rstrip('.')})."
    if error.verify_code in _NOT_TRUSTED:
        return f"{reason} Set SSL_CERT_FILE to the file of that certificate, or of the authority that signed it."
    return reason


@contextmanager
def reading_certificates() -> Iterator[None]:
    """Around the making of a client, which reads whom to trust. Raises ConfigError."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"SSL_CERT_FILE or SSL_CERT_DIR cannot be read: {error}") from error


def told(body: bytes) -> str:
    """What the body of an error answer says, whatever server it is of, in at most 300 characters."""
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError):
        return shortened(body.decode(errors="replace")) or "no reason given"
    return told_in(decoded.get("error", decoded) if isinstance(decoded, dict) else decoded)


def told_in(error: Any) -> str:
    """What an error says: an object with a message in most servers, a string in some."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error
    return shortened(error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)) or "no reason given"


def shortened(text: str) -> str:
    text = visible(" ".join(text.split()))
    return text if len(text) <= 300 else f"{text[:299]}…"
