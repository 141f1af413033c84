"""docs/fields.md, generated from the field tables. `scripts/docs` writes it, and a test compares it with them."""

from __future__ import annotations

import math
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from crossette.api.anthropic import fields as anthropic_fields
from crossette.api.anthropic.request import CountTokensRequest, MessagesRequest
from crossette.api.dialect import FIREWORKS, OPENAI
from crossette.api.model_load import LoadRequest
from crossette.api.pull import PullRequest
from crossette.api.responses.schema import FunctionTool, ResponsesRequest
from crossette.api.schema import embedding_fields, fields
from crossette.api.schema.batches import BatchRequest
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.completions import CompletionRequest
from crossette.api.schema.embeddings import EmbeddingRequest
from crossette.api.schema.files import ExpiresAfter
from crossette.api.schema.rerank import RerankRequest
from crossette.api.schema.table import Description, Field, Table
from crossette.api.schema.tokenize import ApplyTemplateRequest, DetokenizeRequest, TokenizeRequest
from crossette.types import Range

PAGE = Path(__file__).parents[2] / "docs/fields.md"

DIALECTS = (OPENAI, FIREWORKS)

Wire = type[msgspec.Struct]

OTHERS: dict[str, Wire] = {
    "/tokenize": TokenizeRequest,
    "/detokenize": DetokenizeRequest,
    "/apply-template": ApplyTemplateRequest,
    "/batches": BatchRequest,
    "/models/pull": PullRequest,
    "/models/{id}/load and /unload": LoadRequest,
}

HEAD = """\
# Fields

All request fields, in both dialects; those of POST /messages, Anthropic's format, are at the end.
A field that is not on this page is unknown and rejected with 400.
Null is the same as leaving a field out.

- *Default* and *limits* are given as OpenAI / Fireworks where the two dialects differ.
- *By*: what implements a field, the engine or the server alone. The OpenVINO engine supports all of them.
- *Recorded*: only logged.
- *Not supported*: accepted with the listed values, which have no effect, and rejected by name with any other.

A body is JSON in UTF-8. A byte order mark is skipped; bodies with `content-encoding: gzip` or `deflate` are
decompressed, up to the size limit.
A number without a fraction, such as 16.0, is an integer wherever one is expected, below 2**53.

POST /messages/count_tokens has the fields of POST /messages that make a prompt:
{counted}.

POST /files is a form: `file`, `purpose` (`batch`), and `expires_after[anchor]` and `expires_after[seconds]`, which mean
what they do in `output_expires_after`.

`scripts/docs` generates this page from the tables in `src/crossette/api/`.
"""


def page() -> str:
    sections: list[tuple[str, Wire, Table]] = [
        ("Both completion endpoints", ChatRequest, fields.BOTH),
        ("POST /completions", CompletionRequest, fields.COMPLETIONS),
        ("POST /chat/completions", ChatRequest, fields.CHAT),
        *((f"`{path}`", wire, table_of(wire)) for path, wire in _nested(CompletionRequest, ChatRequest).items()),
        ("POST /responses", ResponsesRequest, ResponsesRequest.table),
        *((f"`{path}` of /responses", wire, table_of(wire)) for path, wire in _of_responses().items()),
        ("POST /messages", MessagesRequest, anthropic_fields.MESSAGES),
        *((f"`{path}` of /messages", wire, table_of(wire)) for path, wire in _nested(MessagesRequest).items()),
        ("POST /embeddings", EmbeddingRequest, embedding_fields.EMBEDDINGS),
        ("POST /rerank", RerankRequest, embedding_fields.RERANK),
        *((f"POST {path}", wire, table_of(wire)) for path, wire in OTHERS.items()),
        ("`output_expires_after` of /batches", ExpiresAfter, ExpiresAfter.table),
    ]
    head = HEAD.format(counted=", ".join(f"`{name}`" for name in CountTokensRequest.table))
    return "\n".join([head, *(line for section in sections for line in _section(*section))])


def nested() -> dict[str, Wire]:
    """The objects within requests, by path: `messages[].content[]`; those of other APIs with its path before."""
    of_responses = {f"/responses {path}": wire for path, wire in _of_responses().items()}
    of_messages = {f"/messages {path}": wire for path, wire in _nested(MessagesRequest).items()}
    return _nested(CompletionRequest, ChatRequest) | of_responses | of_messages


def _of_responses() -> dict[str, Wire]:
    """The objects of /responses that chat has not."""
    of_chat = _nested(CompletionRequest, ChatRequest).values()
    own: dict[str, Wire] = {**_nested(ResponsesRequest), "tools[]": FunctionTool}
    return {path: wire for path, wire in own.items() if wire not in of_chat}


def _nested(*bodies: Wire) -> dict[str, Wire]:
    return {path: wire for body in bodies for path, wire in _within(body, "")}


def table_of(wire: Wire) -> Table:
    table: Table = wire.table  # type: ignore[attr-defined]  # every wire type of a request has one
    return table


def _within(wire: Wire, path: str) -> Iterator[tuple[str, Wire]]:
    for name, hint in get_type_hints(wire).items():
        if name in wire.__struct_fields__:
            for suffix, found in _structs(hint):
                yield path + name + suffix, found
                yield from _within(found, f"{path}{name}{suffix}.")


def _structs(hint: Any) -> Iterator[tuple[str, Wire]]:
    """The wire types in a type, each with its path suffix: `[]` for items."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield "", hint
    elif get_origin(hint) is list:
        yield from (("[]" + suffix, found) for suffix, found in _structs(get_args(hint)[0]))
    else:
        yield from (item for kind in get_args(hint) if get_origin(hint) is not Literal for item in _structs(kind))


def _section(title: str, wire: Wire, table: Table) -> Iterator[str]:
    supported = {name: field for name, field in table.items() if field.state != "refused"}
    yield from (f"## {title}", "")
    if not wire.__struct_config__.forbid_unknown_fields:
        yield from ("Other keys are dropped: a message is the client's own record.", "")
    if supported:
        hints = get_type_hints(wire)
        yield from ("| field | type | default | limits | by | |", "|---|---|---|---|---|---|")
        yield from (_row(name, hints[name], field) for name, field in supported.items())
        yield ""
    if len(supported) < len(table):
        yield from ("| not supported | accepted values | |", "|---|---|---|")
        yield from (_refused_row(name, field) for name, field in table.items() if name not in supported)
        yield ""


def _row(name: str, hint: Any, field: Field) -> str:
    cells = (
        f"`{name}`",
        type_text(hint),
        _by_dialect([_default(field.default_in(dialect)) for dialect in DIALECTS]),
        _by_dialect([_limits(field.limits_in(dialect)) for dialect in DIALECTS]) + _counted(hint, field),
        "server" if field.engine is None else "engine",
        ("Recorded. " if field.state == "recorded" else "") + field.note,
    )
    return f"| {' | '.join(cells)} |"


def _refused_row(name: str, field: Field) -> str:
    accepted = ", ".join(f"`{_json(value)}`" for value in (None, *field.neutral))
    return f"| `{name}` | {accepted} | {field.note} |"


def _by_dialect(cells: list[str]) -> str:
    return cells[0] if cells[0] == cells[1] else " / ".join(cells)


def _default(value: Any) -> str:
    if isinstance(value, Description):
        return value
    return "" if value is None else f"`{_json(value)}`"


def _limits(limits: Range | None) -> str:
    if limits is None:
        return ""
    low, high = limits
    return f"at least {low}" if high == math.inf else f"{low} to {high}"


def _counted(hint: Any, field: Field) -> str:
    """What the limits of a list or a map count."""
    kinds = {get_origin(kind) for kind in get_args(hint)}
    return " items" if field.limits and list in kinds else " pairs" if field.limits and dict in kinds else ""


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


_TYPE_NAMES = {str: "text", int: "integer", float: "number", bool: "boolean", Any: "any"}


def type_text(hint: Any) -> str:
    """The type of a field as text, without null, which every optional field allows."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(type_text(kind) for kind in arguments if kind is not type(None))
    if origin is Literal:
        return " or ".join(f"`{_json(value)}`" for value in arguments)
    if origin is list:
        items = type_text(arguments[0])
        return f"list of ({items})" if get_origin(arguments[0]) else f"list of {items}"
    if origin is dict:
        return f"map to {type_text(arguments[1])}"
    return _TYPE_NAMES.get(hint, "object")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
