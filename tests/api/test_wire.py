"""Events of a stream, and the names of invalid fields."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from crossette.api.endpoints import CHAT
from crossette.api.wire import frame
from crossette.errors import InvalidRequest


class Plain(msgspec.Struct):
    text: str


class Named(msgspec.Struct, tag_field="type", tag="message.delta"):
    text: str


def test_an_event_of_a_tagged_type_has_a_name() -> None:
    assert frame(Plain("a")) == b'data: {"text":"a"}\n\n'
    assert frame(Named("a\nb")) == b'event: message.delta\ndata: {"type":"message.delta","text":"a\\nb"}\n\n'
    assert frame({"type": "x"}) == b'data: {"type":"x"}\n\n'


@pytest.mark.parametrize("param", ["max_tokens", None])
def test_errors_name_the_fields_of_their_endpoint(param: str | None) -> None:
    endpoint = replace(CHAT, names={"max_tokens": "max_output_tokens"}.__getitem__)
    with pytest.raises(InvalidRequest) as caught, endpoint.naming():
        raise InvalidRequest("'max_tokens' is 0.", param=param)
    name = "max_tokens" if param is None else "max_output_tokens"
    assert (str(caught.value), caught.value.message) == (f"'{name}' is 0.", f"'{name}' is 0.")
    assert caught.value.param == (param and name)
