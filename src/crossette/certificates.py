"""The certificates of authorities, which connections to other servers trust."""

from __future__ import annotations

import ssl
from functools import cache

import httpx


@cache
def client_context(scheme: str) -> ssl.SSLContext:
    """The TLS context of a client for URLs of this scheme; SSL_CERT_FILE or SSL_CERT_DIR name others.

    Loading the certificates takes a quarter of a second, and only https needs them. Raises OSError if they cannot be
    read.
    """
    return httpx.create_ssl_context() if scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
