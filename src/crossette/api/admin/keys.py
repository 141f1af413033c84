"""The endpoints under /admin/keys: admins create, list, update, rotate and revoke keys. The log has every change."""

from __future__ import annotations

import logging
from datetime import datetime

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from crossette.accounts.access import Caller, Limits
from crossette.accounts.keys import KeyChanges, KeyRecord
from crossette.api.admin.administration import KeyAdministration, admin_of
from crossette.api.admin.schema import (
    CreateKeyRequest,
    KeyList,
    KeyObject,
    RotateKeyRequest,
    UpdateKeyRequest,
    key_object,
    secret_key,
)
from crossette.api.http import json_response
from crossette.api.request_body import read_json
from crossette.api.services import Services
from crossette.errors import Forbidden, InvalidRequest, Unsupported
from crossette.timespec import parse_duration, parse_future

log = logging.getLogger(__name__)


async def list_keys(request: Request, *, services: Services) -> Response:
    admin_of(request)
    keys = _keys(services)
    return json_response(KeyList(data=[_shown(keys, key) for key in await keys.keys()]))


async def retrieve_key(request: Request, *, services: Services) -> Response:
    admin_of(request)
    keys = _keys(services)
    return json_response(_shown(keys, await keys.key(request.path_params["key_id"])))


async def create_key(request: Request, *, services: Services) -> Response:
    """Create a key. The first one is not created over HTTP: anybody could close an open server with it."""
    caller, keys = admin_of(request), _keys(services)
    if not caller.id:
        raise Forbidden(
            "The first key is created on the machine of the server: over HTTP anybody could close an open server.",
            hint="crossette keys create NAME --admin creates it",
        )
    sent = await read_json(request, CreateKeyRequest, services.settings)
    expires_at = _future(sent.expires, keys.clock())
    models = None if sent.models is None else frozenset(sent.models)
    limits = Limits(**sent.limits.given()) if sent.limits is not None else Limits()
    key, text = await keys.run(
        lambda: keys.store.create(
            sent.name, expires_at=expires_at, models=models, limits=limits, is_admin=bool(sent.is_admin)
        )
    )
    _note("created", key, caller)
    return json_response(secret_key(_shown(keys, key), text))


async def update_key(request: Request, *, services: Services) -> Response:
    """Change a key in place: its secret, its id and its usage stay."""
    caller, keys = admin_of(request), _keys(services)
    sent = await read_json(request, UpdateKeyRequest, services.settings)
    changes = _changes(sent, keys.clock())
    limits = {} if sent.limits is UNSET else sent.limits.given()
    if not changes and not limits:
        raise InvalidRequest("Nothing to change. Send at least one field, such as limits or expires.")
    key_id = (await keys.key(request.path_params["key_id"])).id
    key = await keys.run(lambda: keys.store.update(key_id, changes, limits))
    _note("updated", key, caller)
    return json_response(_shown(keys, key))


async def rotate_key(request: Request, *, services: Services) -> Response:
    """Replace the secret of a key. Id, name, limits and usage stay."""
    caller, keys = admin_of(request), _keys(services)
    sent = await read_json(request, RotateKeyRequest, services.settings, may_be_empty=True)
    try:
        overlap = parse_duration(sent.overlap or "0h")
    except ValueError as error:
        raise InvalidRequest(f"overlap: {error}", param="overlap") from None
    key_id = (await keys.key(request.path_params["key_id"])).id
    key, text = await keys.run(lambda: keys.store.rotate(key_id, overlap))
    _note("rotated", key, caller)
    return json_response(secret_key(_shown(keys, key), text))


async def revoke_key(request: Request, *, services: Services) -> Response:
    """Revoke a key for good. Servers reject it within two seconds."""
    caller, keys = admin_of(request), _keys(services)
    key_id = (await keys.key(request.path_params["key_id"])).id
    key = await keys.run(lambda: keys.store.revoke(key_id))
    _note("revoked", key, caller)
    return json_response(_shown(keys, key))


def _keys(services: Services) -> KeyAdministration:
    if services.keys is None:
        raise Unsupported("This server has no database of keys.")
    return services.keys


def _shown(keys: KeyAdministration, key: KeyRecord) -> KeyObject:
    return key_object(key, keys.clock(), keys.ledger.used_tokens(key.id))


def _changes(sent: UpdateKeyRequest, now: datetime) -> KeyChanges:
    changes: KeyChanges = {}
    if sent.name is not UNSET:
        changes["name"] = sent.name
    if sent.expires is not UNSET:
        changes["expires_at"] = _future(sent.expires, now)
    if sent.models is not UNSET:
        changes["models"] = None if sent.models is None else frozenset(sent.models)
    if sent.is_admin is not UNSET:
        changes["is_admin"] = sent.is_admin
    return changes


def _future(expires: str | None, now: datetime) -> datetime | None:
    """Raises InvalidRequest for what is no time."""
    try:
        return None if expires is None else parse_future(expires, now)
    except ValueError as error:
        raise InvalidRequest(f"expires: {error}", param="expires") from None


def _note(what: str, key: KeyRecord, caller: Caller) -> None:
    log.info("The key %s (%s) was %s by %s (%s)", key.id, key.name, what, caller.id, caller.name)
