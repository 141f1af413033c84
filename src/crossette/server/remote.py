"""The models that other servers run, from the tables of the configuration file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from crossette.api.remote.request import check_fields
from crossette.errors import ConfigError
from crossette.remote.model import RemoteModel
from crossette.remote.settings import RemoteSettings
from crossette.server.model_settings import ModelSettings
from crossette.server.settings import Settings
from crossette.urls import split_http

if TYPE_CHECKING:
    from crossette.remote.upstream import Upstream

_OWN = frozenset({"engine", "alias", *(field.name for field in fields(RemoteSettings))})


@dataclass(frozen=True, slots=True)
class Remote:
    """A model that another server runs, and its further names."""

    model: RemoteModel
    settings: ModelSettings

    @property
    def name(self) -> str:
        return self.model.name


def remote_models(settings: Settings, environ: Mapping[str, str]) -> list[Remote]:
    """The models of the tables with `engine = "remote"`. Raises ConfigError."""
    return [_remote(name, given, environ) for name, given in settings.models.items() if given.get("engine") == "remote"]


def check_local(name: str, given: Mapping[str, Any]) -> None:
    """Raise ConfigError if the table of a model of this server has settings of a remote one."""
    for field in fields(RemoteSettings):
        if field.name in given:
            raise ConfigError(f"[models.{name}] sets '{field.name}', which needs engine = \"remote\".")


def _remote(name: str, given: Mapping[str, Any], environ: Mapping[str, str]) -> Remote:
    where = f"[models.{name}]"
    for key in given:
        if key not in _OWN:
            raise ConfigError(f"{where} sets '{key}', which a model of engine = \"remote\" does not have.")
    own = RemoteSettings(**{key: value for key, value in given.items() if key not in ("engine", "alias")})
    if not own.base_url:
        raise ConfigError(f'{where} has engine = "remote" and no base_url. Give the URL of the API of its server.')
    try:
        check_fields(frozenset(own.upstream_fields))
    except ValueError as error:
        raise ConfigError(f"upstream_fields in {where}: {error}.") from None
    key = _key(own.api_key_env, where, environ)
    upstreams = [_upstream(url, key, own, where) for url in own.base_url]
    model = RemoteModel(
        name,
        upstreams,
        model=own.model,
        fields=frozenset(own.upstream_fields),
        image_urls=own.image_urls,
        created=int(time.time()),
    )
    return Remote(model, ModelSettings(engine="remote", alias=tuple(given.get("alias", ()))))


def _key(variable: str, where: str, environ: Mapping[str, str]) -> str:
    """The key in an environment variable. It is never part of a message."""
    if not variable:
        return ""
    key = environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"api_key_env in {where} names {variable!r}, and that environment variable is not set.")
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"The key in the environment variable {variable} has characters that a header cannot have.")
    return key


def _upstream(url: str, key: str, own: RemoteSettings, where: str) -> Upstream:
    try:
        parts = split_http(url)
        if parts.query or parts.fragment:
            raise ValueError("it has a query or a fragment")
        if "@" in parts.netloc:
            raise ValueError("it has a user or a password. Put the key into the variable of api_key_env")
    except ValueError as error:
        shown = url.rpartition("@")[2]
        raise ConfigError(f"base_url in {where} cannot be {shown!r}: {error}.") from None
    from crossette.remote.upstream import Upstream  # takes a tenth of a second, which only these models need

    try:
        return Upstream(url, key, connect_timeout_s=own.connect_timeout, read_timeout_s=own.read_timeout)
    except OSError as error:
        raise ConfigError(f"SSL_CERT_FILE or SSL_CERT_DIR cannot be read: {error}") from error
