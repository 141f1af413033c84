"""The server's certificate: checked before anything is loaded, so that a mistake is one sentence."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from crossette.errors import ConfigError
from crossette.settings import setting


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
        raise ConfigError(f"Can't use --tls-cert {cert} with --tls-key {key}: {error}") from error
