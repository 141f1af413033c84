"""TLS settings, and a check of the certificate before the model is loaded."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from crossette.errors import ConfigError
from crossette.settings import setting

_MISMATCH_REASONS = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
"""OpenSSL's reasons for a key of another certificate; the last one for a key of another type."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """TLS settings: both or neither. With them the server accepts HTTPS only."""

    tls_cert: str | None = setting(
        None, "Serve HTTPS with this certificate chain (PEM). Requires --tls-key.", metavar="FILE", unset="HTTP"
    )
    tls_key: str | None = setting(None, "The certificate's private key (PEM), without a password.", metavar="FILE")

    @property
    def scheme(self) -> str:
        return "https" if self.tls_cert else "http"


def check_tls(settings: TlsSettings) -> None:
    """Raise ConfigError unless both files exist and match, or neither was given."""
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None and key is None:
        return
    if cert is None or key is None:
        raise ConfigError("HTTPS needs a certificate and its key: give both --tls-cert and --tls-key.")
    try:
        # An empty password instead of OpenSSL's prompt on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Can't use --tls-cert {cert} with --tls-key {key}: {_tls_error(error, cert, key)}"
        ) from error


def _tls_error(error: OSError | ValueError, cert: str, key: str) -> str:
    """The reason of an error by the PEM headers of the files: OpenSSL reports most errors as "PEM lib"."""
    try:
        in_cert, in_key = _pem_headers(cert), _pem_headers(key)
    except OSError as unread:
        return f"{unread.filename} cannot be read: {unread.strerror}."
    if "CERTIFICATE" in in_key and _is_key(in_cert) and not _is_key(in_key):
        return "they are swapped: the certificate is in --tls-key and the key in --tls-cert."
    if "CERTIFICATE" not in in_cert:
        return f"{cert} contains no PEM certificate, which begins with -----BEGIN CERTIFICATE-----."
    if not _is_key(in_key):
        return f"{key} contains no PEM private key, which begins with -----BEGIN PRIVATE KEY-----."
    if "ENCRYPTED" in in_key:
        return f"the key has a password. Remove it: openssl pkey -in {key} -out NEW.pem"
    if getattr(error, "reason", None) in _MISMATCH_REASONS:
        return "the key does not match the certificate, which must be the first in its file."
    return "the PEM data of one of them is corrupt." if isinstance(error, ssl.SSLError) else str(error)


def _pem_headers(file: str) -> str:
    """The header lines of a PEM file. Raises OSError."""
    lines = Path(file).read_bytes().decode("latin-1").splitlines()
    return "\n".join(line for line in lines if line.startswith(("-----BEGIN ", "Proc-Type:")))


def _is_key(headers: str) -> bool:
    return "PRIVATE KEY" in headers
