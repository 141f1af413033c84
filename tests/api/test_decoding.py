"""JSON decoded as wire types: a number without a fraction is an integer wherever a type has one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from crossette.api.anthropic.request import MessagesRequest
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.completions import CompletionRequest
from crossette.api.schema.decoding import decode
from crossette.errors import InvalidRequest
from support.fields_page import Wire, nested

WIRE: dict[str, Wire] = {
    "completions": CompletionRequest,
    "chat/completions": ChatRequest,
    "messages": MessagesRequest,
    **nested(),
}
REQUIRED: dict[str, dict[str, object]] = {
    "completions": {"model": "fake", "prompt": "a"},
    "chat/completions": {"model": "fake", "messages": []},
    "messages": {"model": "fake", "messages": []},
    "thinking": {"type": "enabled"},
    "/messages thinking": {"type": "enabled"},
    "/messages context_management.edits[].keep": {"type": "thinking_turns"},
}


def options(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    return kind.types if isinstance(kind, inspect.UnionType) else (kind,)


def integer_fields() -> list[tuple[str, str, bool]]:
    """Each field that has an integer: the path of its object, its name, and whether the integers are in a list."""
    found = []
    for path, wire in WIRE.items():
        info = inspect.type_info(wire)
        assert isinstance(info, inspect.StructType)
        for field in info.fields:
            for kind in options(field.type):
                items = options(kind.item_type) if isinstance(kind, inspect.ListType) else (kind,)
                if any(isinstance(item, inspect.IntType) for item in items):
                    found.append((path, field.encode_name, isinstance(kind, inspect.ListType)))
    return found


def decoded(path: str, **sent: object) -> Any:
    return decode(json.dumps(REQUIRED.get(path, {}) | sent).encode(), WIRE[path])


def test_the_integer_fields_are_found() -> None:
    names = {name for _, name, _ in integer_fields()}

    assert {"max_tokens", "n", "top_k", "seed", "stop_token_ids", "prompt", "budget_tokens", "logprobs"} <= names


@pytest.mark.parametrize(("path", "name", "is_list"), integer_fields())
def test_every_integer_field_takes_numbers_with_a_point(path: str, name: str, is_list: bool) -> None:
    value = getattr(decoded(path, **{name: [3.0, 4, 5e0] if is_list else 3.0}), name)

    assert repr(value) == ("[3, 4, 5]" if is_list else "3")
    with pytest.raises(InvalidRequest) as raised:
        decoded(path, **{name: [3, 3.5] if is_list else 3.5})
    assert raised.value.param == (f"{name}[1]" if is_list else name)


@given(st.integers(-(2**60), 2**60))
def test_an_integer_with_a_point_is_exact_or_rejected(number: int) -> None:
    raw = f'{{"model": "fake", "prompt": "a", "seed": {number}.0}}'.encode()
    if abs(number) >= 2**53:
        with pytest.raises(InvalidRequest, match="seed"):
            decode(raw, CompletionRequest)
    else:
        assert decode(raw, CompletionRequest).seed == number


def test_other_numbers_stay_as_they_are() -> None:
    """Values of any JSON, and numbers that are not integers by type."""
    variables = {"a": 1.0, "b": [2.0, {"c": 3.0}]}
    body = decoded("chat/completions", max_tokens=5.0, temperature=1.0, chat_template_kwargs=variables)

    assert repr((body.max_tokens, body.temperature, body.chat_template_kwargs)) == repr((5, 1.0, variables))
