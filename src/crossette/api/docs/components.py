"""Wire types as JSON Schema, with the notes, defaults and limits of the field tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from crossette.api.admin.schema import CreateKeyRequest, LimitsSent, RotateKeyRequest, UpdateKeyRequest
from crossette.api.anthropic.blocks import Block, ResultBlock, Source, SystemText
from crossette.api.anthropic.request import (
    ContextEdit,
    ContextManagement,
    CountTokensRequest,
    Keep,
    MessagesRequest,
    OutputConfig,
    OutputSchema,
    RequestMetadata,
    ThinkingConfig,
    Turn,
)
from crossette.api.anthropic.tools import CustomTool, ToolUseChoice
from crossette.api.dialect import Dialect
from crossette.api.docs.values import Json, complete, exactly
from crossette.api.model_load import LoadRequest
from crossette.api.pull import PullRequest
from crossette.api.responses.schema import (
    Format,
    FunctionTool,
    Item,
    ReasoningOptions,
    ResponsesRequest,
    ResponseStreamOptions,
    TextOptions,
)
from crossette.api.schema.batches import BatchRequest
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.common import Prediction, PredictionPart, StreamOptions
from crossette.api.schema.completions import CompletionRequest
from crossette.api.schema.embeddings import EmbeddingRequest
from crossette.api.schema.files import ExpiresAfter
from crossette.api.schema.logprobs import Logprobs
from crossette.api.schema.messages import ROLES, FunctionCall, ImageUrl, Message, Part, ToolCall
from crossette.api.schema.reasoning import ReasoningSent, ThinkingSent
from crossette.api.schema.rerank import RerankRequest
from crossette.api.schema.response_format import ResponseFormat, StructuredOutputs
from crossette.api.schema.table import REQUIRED, Description, Field, Table
from crossette.api.schema.tokenize import ApplyTemplateRequest, DetokenizeRequest, TokenizeRequest
from crossette.api.schema.tools import AllowedTool, AllowedTools, Function, Named, ToolChoiceSent, ToolSent
from crossette.types import Range

_REF = "#/components/schemas/{name}"

_REQUESTED = (
    *(CompletionRequest, StreamOptions, Prediction, PredictionPart, ResponseFormat, StructuredOutputs),
    *(ChatRequest, Message, Part, ImageUrl, ToolCall, FunctionCall, ThinkingSent, ReasoningSent),
    *(MessagesRequest, CountTokensRequest, Turn, SystemText, Block, ResultBlock, Source, CustomTool, ToolUseChoice),
    *(ThinkingConfig, OutputConfig, OutputSchema, RequestMetadata, ContextManagement, ContextEdit, Keep),
    *(EmbeddingRequest, RerankRequest),
    *(ResponsesRequest, Item, FunctionTool, ReasoningOptions, TextOptions, Format, ResponseStreamOptions),
    *(ToolSent, Function, ToolChoiceSent, AllowedTools, AllowedTool, Named),
    *(TokenizeRequest, DetokenizeRequest, ApplyTemplateRequest),
    *(BatchRequest, ExpiresAfter, PullRequest, LoadRequest),
    *(CreateKeyRequest, UpdateKeyRequest, RotateKeyRequest, LimitsSent),
)

_TOKENS: Json = {"type": "array", "items": {"type": "integer"}, "minItems": 1}
_PROMPTS: list[Json] = [
    {"type": "string"},
    {"type": "array", "items": {"type": "string"}, "minItems": 1},
    _TOKENS,
    {"type": "array", "items": _TOKENS, "minItems": 1},
    {"type": "null"},
]
"""The wire type has one list type for all of these: msgspec cannot distinguish lists by their items."""

_BOUNDS = {
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}


def ref(wire: type) -> Json:
    return {"$ref": _REF.format(name=wire.__name__)}


def components(answers: Iterable[type], dialects: Sequence[Dialect]) -> Json:
    """The schemas of all request types and of the given answer types, by name.

    If the dialects have different limits, the schema has the widest, and the description lists all of them.
    """
    formats = Logprobs.__subclasses__()  # msgspec has no union of untagged structs
    _, schemas = msgspec.json.schema_components([*_REQUESTED, *answers, *formats], ref_template=_REF)
    tables = {wire.__name__: wire.table for wire in _REQUESTED}
    for name, schema in schemas.items():
        del schema["title"]
        if name in tables:
            schema["properties"] = _described(schema["properties"], tables[name], dialects)
            schema.setdefault("additionalProperties", True)  # in messages
        else:
            _drop_defaults(schema)
    schemas["Logprobs"] = {"description": Logprobs.__doc__, "anyOf": [ref(logprobs) for logprobs in formats]}
    role = schemas["Message"]["properties"]["role"]
    role["anyOf"] = [{"type": role.pop("type"), "enum": list(ROLES)}, {"type": "string"}]
    schemas["CompletionRequest"]["properties"]["prompt"]["anyOf"] = _PROMPTS
    schemas["ToolUseBlock"]["properties"]["input"]["type"] = "object"
    schemas["EmbeddingRequest"]["properties"]["input"]["anyOf"] = [kind for kind in _PROMPTS if kind["type"] != "null"]
    schemas["ResponsesRequest"]["properties"]["tools"]["anyOf"] = [
        {"type": "array", "items": ref(FunctionTool)},
        {"type": "null"},
    ]
    complete(schemas)
    return schemas


def _drop_defaults(schema: Json) -> None:
    """Make an answer's fields with defaults required: they are always sent. Fields that may be unset have none.

    In a request, whose unknown fields are rejected, they stay optional.
    """
    is_request = schema.get("additionalProperties") is False
    for name, field in schema.get("properties", {}).items():
        if "default" in field:
            del field["default"]
            if not is_request:
                schema["required"].append(name)


def _described(properties: Json, table: Table, dialects: Sequence[Dialect]) -> Json:
    """The fields of a request with their table's notes: required fields first, unsupported ones last."""
    ranked = sorted(table.items(), key=lambda entry: (entry[1].state == "refused", entry[1].default is not REQUIRED))
    return {
        name: _refused(field) if field.state == "refused" else _accepted(properties[name], field, dialects)
        for name, field in ranked
    }


def _refused(field: Field) -> Json:
    return {"description": f"Not supported. {field.note}", **exactly([*field.neutral, None])}


def _accepted(schema: Json, field: Field, dialects: Sequence[Dialect]) -> Json:
    limits, limits_note = _limits(schema, field, dialects)
    recorded = ["Recorded in the log only."] if field.state == "recorded" else []
    description = " ".join([field.note, *recorded, *_default(field, dialects), *limits_note])
    return {"description": description, **_without_default(schema), **limits}


def _without_default(schema: Json) -> Json:
    """The schema without msgspec's default, null, which is the same as leaving the field out."""
    return {key: value for key, value in schema.items() if key != "default"}


def _default(field: Field, dialects: Sequence[Dialect]) -> list[str]:
    """A field's default as text.

    Generated clients send a default that is a keyword with every request: it would replace a model's own default, and
    conflict with another name of the same field.
    """
    values = [field.default_in(dialect) for dialect in dialects]
    if values[0] is REQUIRED or values[0] is None:
        return []
    if isinstance(values[0], Description):
        return [f"By default {values[0]}."]
    if any(value != values[0] for value in values):
        return [f"By default {_by_dialect(values, dialects)}."]
    return [f"By default `{_json(values[0])}`."]


def _limits(schema: Json, field: Field, dialects: Sequence[Dialect]) -> tuple[Json, list[str]]:
    """A field's limits as keywords, and as text if the dialects differ."""
    limits = [given for dialect in dialects if (given := field.limits_in(dialect)) is not None]
    if not limits:
        return {}, []
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    keywords: Json = {}
    for kind in (option["type"] for option in schema.get("anyOf", [schema]) if option.get("type") in _BOUNDS):
        keywords |= _bounds(_BOUNDS[kind], (low, high))
    if len(set(limits)) == 1:
        return keywords, []
    return keywords, [f"At most {_by_dialect([high for _, high in limits], dialects)}."]


def _bounds(keywords: tuple[str, str], limits: Range) -> Json:
    (minimum, maximum), (low, high) = keywords, limits
    bounds = {} if minimum != "minimum" and low == 0 else {minimum: low}
    return bounds if high == math.inf else bounds | {maximum: high}


def _by_dialect(values: Sequence[Any], dialects: Sequence[Dialect]) -> str:
    """`16` (openai) or `2048` (fireworks)."""
    parts = (f"`{_json(value)}` ({dialect.name})" for value, dialect in zip(values, dialects, strict=True))
    return " or ".join(parts)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
