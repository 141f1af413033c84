"""Response formats on the wire, in the notations of OpenAI, Fireworks and vLLM."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from crossette.api.schema import nested_fields
from crossette.api.schema.table import Refused, Table, refuse_unsupported
from crossette.errors import Code, InvalidRequest, UnknownField
from crossette.text import output_format
from crossette.text.output_format import OutputFormat

SchemaSent = dict[str, Any] | bool | str  # Any: a schema is any JSON until it is validated
"""A schema, or its JSON as text."""

OutputFormatBuilder = Callable[[], OutputFormat]
"""Builds an output format; a large schema takes a tenth of a second."""

_WRAPPER = {"name", "description", "schema", "strict"}


class ResponseFormat(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = nested_fields.RESPONSE_FORMAT

    type: Literal["text", "json_object", "json_schema", "grammar"]
    json_schema: dict[str, Any] | str | None = None
    schema: SchemaSent | None = None
    grammar: str | None = None

    def builder(self) -> OutputFormatBuilder | None:
        """None for `text`. Raises InvalidRequest for a type without its field, or with a field of another type."""
        expected = {"json_schema": "json_schema", "grammar": "grammar", "json_object": "schema"}.get(self.type)
        for name in ("json_schema", "schema", "grammar"):
            given = getattr(self, name) is not None
            if given and name != expected:
                raise _invalid(name, f"cannot be combined with type '{self.type}'.")
            if not given and name == expected and self.type != "json_object":
                raise _missing(name, f"type '{self.type}' requires it.")
        if self.grammar is not None:
            return partial(output_format.gbnf, self.grammar, "response_format.grammar")
        if self.json_schema is not None:
            sent = _decoded(self.json_schema, "response_format.json_schema")
            schema, path = _unwrapped(sent)
            strict = schema is not sent and sent.get("strict") is True
            return partial(output_format.json_schema, schema, path, strict=strict)
        if self.schema is not None:
            path = "response_format.schema"
            return partial(output_format.json_schema, _decoded(self.schema, path), path)
        return partial(output_format.json_object, "response_format") if self.type == "json_object" else None

    def schema_sent(self) -> tuple[Any, dict[str, Any]] | None:
        """The schema in any notation, and the other keys of OpenAI's wrapper around it; None without a schema."""
        if self.json_schema is not None:
            sent = _decoded(self.json_schema, "response_format.json_schema")
            schema, _ = _unwrapped(sent)
            wrapper = {} if schema is sent else sent
            return schema, {name: wrapper[name] for name in _WRAPPER if wrapper.get(name) is not None}
        return None if self.schema is None else (_decoded(self.schema, "response_format.schema"), {})


class StructuredOutputs(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = nested_fields.STRUCTURED_OUTPUTS

    json: SchemaSent | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    # refused
    disable_any_whitespace: Refused = None
    disable_additional_properties: Refused = None
    whitespace_pattern: Refused = None
    structural_tag: Refused = None


class OutputFormatFields(Protocol):
    """The fields of a request that may set an output format."""

    response_format: ResponseFormat | None
    guided_json: SchemaSent | None
    guided_regex: str | None
    guided_choice: list[str] | None
    guided_grammar: str | None
    structured_outputs: StructuredOutputs | None


def output_format_of(body: OutputFormatFields) -> OutputFormatBuilder | None:
    """The builder of a request's output format; None if it has none.

    Raises InvalidRequest for several formats at once, naming two.
    """
    builders = list(_builders(body))
    if len(builders) > 1:
        (first, _), (second, _) = builders[:2]
        raise InvalidRequest(f"{first} and {second} both set the output format: send one of them.", param=second)
    return builders[0][1] if builders else None


def _builders(body: OutputFormatFields) -> Iterable[tuple[str, OutputFormatBuilder]]:
    builder = body.response_format.builder() if body.response_format is not None else None
    if builder is not None:
        yield "response_format", builder
    yield from _vllm_builders("guided_", body.guided_json, body.guided_regex, body.guided_choice, body.guided_grammar)
    outputs = body.structured_outputs
    if outputs is not None:
        refuse_unsupported(outputs, outputs.table, "structured_outputs.")
        yield from _vllm_builders("structured_outputs.", outputs.json, outputs.regex, outputs.choice, outputs.grammar)
        if outputs.json_object:
            yield "structured_outputs.json_object", partial(output_format.json_object, "structured_outputs.json_object")


def _vllm_builders(
    prefix: str, json: SchemaSent | None, regex: str | None, choice: list[str] | None, grammar: str | None
) -> Iterable[tuple[str, OutputFormatBuilder]]:
    """The builders of vLLM's four fields, with the older or the newer prefix."""
    if json is not None:
        yield prefix + "json", partial(output_format.json_schema, _decoded(json, prefix + "json"), prefix + "json")
    if regex is not None:
        yield prefix + "regex", partial(output_format.regex, regex, prefix + "regex")
    if choice is not None:
        yield prefix + "choice", partial(output_format.choice, choice, prefix + "choice")
    if grammar is not None:
        yield prefix + "grammar", partial(output_format.grammar, grammar, prefix + "grammar")


def _unwrapped(sent: Any) -> tuple[Any, str]:
    """The schema, with or without OpenAI's wrapper, and its path."""
    path = "response_format.json_schema"
    if not isinstance(sent, dict) or not ("schema" in sent or (sent and sent.keys() <= _WRAPPER - {"description"})):
        return sent, path
    for name in sent.keys() - _WRAPPER:
        raise UnknownField(f"Extra inputs are not permitted, field: '{path}.{name}'", param=f"{path}.{name}")
    if sent.get("schema") is None:
        raise _missing("json_schema.schema", "there is nothing to enforce.")
    for name, kind, type_name in (("name", str, "string"), ("description", str, "string"), ("strict", bool, "boolean")):
        if not isinstance(sent.get(name), kind | None):
            raise InvalidRequest(f"Input should be a valid {type_name}, field: '{path}.{name}'", param=f"{path}.{name}")
    return _decoded(sent["schema"], path + ".schema"), path + ".schema"


def _decoded(sent: Any, path: str) -> Any:
    """The schema; decoded if it was sent as JSON text."""
    if not isinstance(sent, str):
        return sent
    try:
        return msgspec.json.decode(sent)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"{path} is not valid JSON: {error}", param=path) from None


def _invalid(name: str, what: str, code: Code | None = None) -> InvalidRequest:
    return InvalidRequest(f"response_format.{name} {what}", param=f"response_format.{name}", code=code)


def _missing(name: str, why: str) -> InvalidRequest:
    return _invalid(name, f"is missing: {why}", "missing_required_parameter")
