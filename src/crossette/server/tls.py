"""The server's certificate: checked before anything is loaded, so that a mistake is one sentence."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from crossette.errors import ConfigError
from crossette.settings import setting

_NO_PAIR = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
"""OpenSSL's words for a key of another certificate; the last one, if it is of another kind."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Both or neither: with them the server speaks HTTPS, and nothing else."""

    tls_cert: str | None = setting(None, "File with the server's certificate (PEM), and those it is signed by.")
    tls_key: str | None = setting(None, "File with the certificate's private key (PEM), without a password.")

    @property
    def scheme(self) -> str:
        return "https" if self.tls_cert else "http"


def check_tls(settings: TlsSettings) -> None:
    """Raise ConfigError unless the two files are there and belong together, or neither was given."""
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None and key is None:
        return
    if cert is None or key is None:
        raise ConfigError("HTTPS needs a certificate and its key: give both --tls-cert and --tls-key.")
    try:
        # An empty password where one would be asked for: nobody sits at the terminal of a server.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:
        raise ConfigError(f"Can't use --tls-cert {cert} with --tls-key {key}: {_why(error, cert, key)}") from error


def _why(error: OSError | ValueError, cert: str, key: str) -> str:
    """What is wrong with the two files, as far as their headings tell: OpenSSL calls most of it "PEM lib"."""
    try:
        in_cert, in_key = _headings(cert), _headings(key)
    except OSError as unread:
        return f"{unread.filename} cannot be read: {unread.strerror}."
    if "CERTIFICATE" in in_key and _is_key(in_cert) and not _is_key(in_key):
        return "they are swapped: the certificate is in --tls-key, and the key in --tls-cert."
    if "CERTIFICATE" not in in_cert:
        return f"{cert} holds no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----."
    if not _is_key(in_key):
        return f"{key} holds no private key in PEM, which begins with -----BEGIN PRIVATE KEY-----."
    if "ENCRYPTED" in in_key:
        return f"the key has a password. Take it off: openssl pkey -in {key} -out NEW.pem"
    if getattr(error, "reason", None) in _NO_PAIR:
        return "the key is not that of the certificate, which must be the first in its file."
    return "what follows the headings of one of them is damaged." if isinstance(error, ssl.SSLError) else str(error)


def _headings(file: str) -> str:
    """The lines that say what follows them. Raises OSError."""
    lines = Path(file).read_bytes().decode("latin-1").splitlines()
    return "\n".join(line for line in lines if line.startswith(("-----BEGIN ", "Proc-Type:")))


def _is_key(headings: str) -> bool:
    return "PRIVATE KEY" in headings
