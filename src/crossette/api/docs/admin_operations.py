"""The operations of the OpenAPI document under /admin, which belong to no dialect."""

from __future__ import annotations

from crossette.api.admin.schema import (
    CreateKeyRequest,
    KeyList,
    KeyObject,
    RotateKeyRequest,
    SecretKey,
    UpdateKeyRequest,
)
from crossette.api.docs.operations import Operation
from crossette.errors import (
    EngineFailure,
    Forbidden,
    InvalidRequest,
    NotFound,
    Overloaded,
    RequestTimeout,
    RequestTooLarge,
    Unauthorized,
    UnknownField,
    Unsupported,
    UnsupportedCoding,
)

ADMIN_ANSWERS = (KeyObject, SecretKey, KeyList)

_READING = (Unsupported, Forbidden, Overloaded, Unauthorized, EngineFailure)
_NAMED = (NotFound, *_READING)
_SENT = (InvalidRequest, UnknownField, RequestTimeout, RequestTooLarge, UnsupportedCoding)

OF_ADMINS = (
    Operation("listKeys", "/admin/keys", "List all keys ever created, oldest first.", KeyList, _READING),
    Operation(
        "createKey",
        "/admin/keys",
        "Create a key, and return its secret this once. The first key is created on the machine of the server.",
        SecretKey,
        (*_SENT, *_READING),
        CreateKeyRequest,
        example={"name": "alice", "expires": "90d", "limits": {"requests_per_minute": 60}},
    ),
    Operation("retrieveKey", "/admin/keys/{key_id}", "Retrieve a key.", KeyObject, _NAMED),
    Operation(
        "updateKey",
        "/admin/keys/{key_id}",
        "Change the name, the expiry, the models or the limits of a key.",
        KeyObject,
        (*_SENT, *_NAMED),
        UpdateKeyRequest,
        example={"limits": {"total_tokens": 1000000}},
    ),
    Operation(
        "rotateKey",
        "/admin/keys/{key_id}/rotate",
        "Replace the secret of a key, and return the new one this once.",
        SecretKey,
        (*_SENT, *_NAMED),
        RotateKeyRequest,
        needs_body=False,
    ),
    Operation(
        "revokeKey",
        "/admin/keys/{key_id}/revoke",
        "Revoke a key for good. Servers reject it within two seconds.",
        KeyObject,
        (InvalidRequest, *_NAMED),
        is_command=True,
    ),
)
