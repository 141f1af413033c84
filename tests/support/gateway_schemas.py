"""JSON Schemas of the kinds of deploy/kubernetes/inference-gateway.yaml, which no package for Python or Node.js has.

Written from the structural schemas of their CRDs: InferencePool v1 as of 2026-08-18, and HTTPRoute of Gateway API v1.
Of HTTPRoute they have only the fields that the example uses; any other one is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

_PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 253}
_GROUP: Schema = {
    "type": "string",
    "maxLength": 253,
    "pattern": r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
}
_KIND: Schema = {"type": "string", "maxLength": 63, "pattern": "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"}
_LABEL: Schema = {"type": "string", "maxLength": 63, "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"}
_DURATION: Schema = {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _list(items: Schema, least: int, most: int) -> Schema:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def _kind(group: str, kind: str, spec: Schema) -> Schema:
    return _object(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": group},
        kind={"const": kind},
        metadata=_object(("name",), name=_NAME),
        spec=spec,
    )


_PICKER = _object(
    ("name", "port"),  # the port is required of a Service, which is the default kind
    group=_GROUP,
    kind=_KIND,
    name=_NAME,
    port=_object(("number",), number=_PORT),
    failureMode={"enum": ["FailOpen", "FailClose"]},
)
_POOL = _object(
    ("selector", "targetPorts"),
    appProtocol={"enum": ["http", "kubernetes.io/h2c"]},
    endpointPickerRef=_PICKER,
    selector=_object(
        ("matchLabels",),
        matchLabels={"type": "object", "additionalProperties": _LABEL, "minProperties": 1, "maxProperties": 64},
    ),
    targetPorts={**_list(_object(("number",), number=_PORT), 1, 8), "uniqueItems": True},
)
_MATCH = _object(
    path=_object(
        type={"enum": ["Exact", "PathPrefix", "RegularExpression"]}, value={"type": "string", "maxLength": 1024}
    )
)
_BACKEND = _object(
    ("name",), group=_GROUP, kind=_KIND, name=_NAME, port=_PORT, weight={"type": "integer", "minimum": 0}
)
_RULE = _object(
    matches=_list(_MATCH, 0, 64),
    timeouts=_object(request=_DURATION, backendRequest=_DURATION),
    backendRefs=_list(_BACKEND, 0, 16),
)
_ROUTE = _object(
    parentRefs=_list(_object(("name",), group=_GROUP, kind=_KIND, name=_NAME, port=_PORT), 0, 32),
    rules=_list(_RULE, 1, 16),
)

SCHEMAS: Mapping[str, Schema] = {
    "InferencePool": _kind("inference.networking.k8s.io/v1", "InferencePool", _POOL),
    "HTTPRoute": _kind("gateway.networking.k8s.io/v1", "HTTPRoute", _ROUTE),
}
"""By kind."""
