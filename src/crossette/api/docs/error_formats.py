"""The bodies of errors in each wire format, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, get_args

from crossette.api.anthropic.wire import AnthropicError, error_type
from crossette.api.dialect import Dialect
from crossette.api.docs.values import Json, exactly
from crossette.api.wire import ErrorBody
from crossette.errors import Code, InvalidRequest, ServingError


class ErrorFormat(NamedTuple):
    """The bodies of errors in one wire format."""

    name: str
    """Part of the names of its responses; "" for that of most endpoints."""
    body: type
    detail: Callable[[Dialect, Sequence[type[ServingError]]], Json]
    """The properties of `error`, from the errors of one status."""


def _types_and_codes(dialect: Dialect, errors: Sequence[type[ServingError]]) -> Json:
    """The dialect's types and codes."""
    names = [dialect.errors[error.kind] for error in errors]
    types, codes = (list(dict.fromkeys(column)) for column in zip(*names, strict=True))
    if errors[0].status == InvalidRequest.status and dialect.specific_codes:
        codes += get_args(Code)
    return {"type": exactly(types), "code": exactly(codes)}


def _anthropic_types(dialect: Dialect, errors: Sequence[type[ServingError]]) -> Json:
    return {"type": exactly(list(dict.fromkeys(error_type(error.kind, error.status) for error in errors)))}


ERRORS = ErrorFormat("", ErrorBody, _types_and_codes)
ANTHROPIC_ERRORS = ErrorFormat("messages", AnthropicError, _anthropic_types)
