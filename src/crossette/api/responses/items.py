"""Input items as the messages of a chat."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from crossette.api.responses.schema import Item
from crossette.api.schema.messages import IMAGE, FunctionCall, Message, Part, PlacedPart, ToolCall
from crossette.errors import InvalidRequest, Unsupported, invalid_value, missing

_ROLES = ("system", "developer", "user", "assistant")
_TYPES = ("message", "function_call", "function_call_output", "reasoning")
_IMAGE = "input_image"
_MARK = "crossette:"
"""The start of `encrypted_content` once it is decoded: that of another service is different."""


def messages_of(sent: str | Sequence[Item], instructions: str | None, history: Sequence[Item] = ()) -> list[Message]:
    """The messages. `history` has the items before the input.

    System messages at the start become one: most templates know only one, at the start. Reasoning, a message and the
    calls after it become one message, as a model writes them. Raises InvalidRequest, naming the invalid item.
    """
    items = [Item(role="user", content=sent)] if isinstance(sent, str) else sent
    builder = _Messages(instructions)
    for item in history:
        builder.add(item, "previous_response_id.")
    for index, item in enumerate(items):
        builder.add(item, f"input[{index}].")
    return builder.messages


class _Messages:
    """The messages so far."""

    def __init__(self, instructions: str | None) -> None:
        self.messages: list[Message] = []
        if instructions:
            self.messages.append(Message(role="system", content=instructions))

    def add(self, item: Item, path: str) -> None:
        """Add an item. `path` is its position in errors: `input[2].`"""
        match item.type or "message":
            case "message":
                self._add_message(item, path)
            case "function_call":
                self._add_call(item, path)
            case "function_call_output":
                output = _text(item.output, f"{path}output")
                call_id = _given(item.call_id, f"{path}call_id")
                self.messages.append(Message(role="tool", content=output, tool_call_id=call_id))
            case "reasoning":
                self._add_reasoning(item, path)
            case other:
                raise Unsupported(
                    f"'{path}type' is '{other}': items of the types {', '.join(_TYPES)} are supported.",
                    param=f"{path}type",
                )

    def _add_message(self, item: Item, path: str) -> None:
        role = _given(item.role, f"{path}role")
        if role not in _ROLES:
            raise invalid_value(f"{path}role", _ROLES, repr(role))
        if role == "user" and isinstance(item.content, list) and any(part.type == _IMAGE for part in item.content):
            self.messages.append(Message(role="user", content=_parts_of(item.content, f"{path}content")))
            return
        text = _text(item.content, f"{path}content")
        if role == "assistant":
            assistant = self._assistant()
            if assistant is None or assistant.content is not None or assistant.tool_calls:
                assistant = self._new_assistant()
            assistant.content = text
            return
        role = "user" if role == "user" else "system"
        first = self.messages[0] if len(self.messages) == 1 else None
        if first is not None and role == first.role == "system":
            first.content = f"{first.content}\n\n{text}"
        else:
            self.messages.append(Message(role=role, content=text))

    def _add_call(self, item: Item, path: str) -> None:
        function = FunctionCall(name=_given(item.name, f"{path}name"), arguments=item.arguments)
        function.for_template(path)  # raises for arguments that are nested too deeply
        call = ToolCall(function=function, id=_given(item.call_id, f"{path}call_id"), type="function")
        assistant = self._assistant() or self._new_assistant()
        assistant.tool_calls = [*(assistant.tool_calls or ()), call]

    def _add_reasoning(self, item: Item, path: str) -> None:
        text = _reasoning(item, path)
        if not text:
            return
        assistant = self._assistant()
        if assistant is None or assistant.content is not None or assistant.tool_calls:
            assistant = self._new_assistant()
        assistant.reasoning_content = (assistant.reasoning_content or "") + text

    def _assistant(self) -> Message | None:
        """The last message, if it is the assistant's."""
        last = self.messages[-1] if self.messages else None
        return last if last is not None and last.role == "assistant" else None

    def _new_assistant(self) -> Message:
        self.messages.append(Message(role="assistant"))
        return self.messages[-1]


def _given(value: str | None, path: str) -> str:
    if value is None:
        raise missing(path)
    return value


def _parts_of(parts: Sequence[Part], path: str) -> list[Part]:
    """The parts of a message with images, as those of a chat."""
    return [
        _image(part, f"{path}[{i}].")
        if part.type == _IMAGE
        else Part(type="text", text=part.text_or_refusal(f"{path}[{i}]."))
        for i, part in enumerate(parts)
    ]


def _image(part: Part, path: str) -> Part:
    """Raises InvalidRequest for an image without a URL: files are not stored for models."""
    if part.image is None:
        raise missing(f"{path}image_url")
    part.image.check(f"{path}image_url", f"{path}detail")
    return PlacedPart(type=IMAGE, image_url=part.image, path=path)


def _text(content: str | list[Part] | None, path: str) -> str:
    if content is None:
        raise missing(path)
    if isinstance(content, str):
        return content
    return "\n".join(text for i, part in enumerate(content) if (text := part.text_or_refusal(f"{path}[{i}].")))


def _reasoning(item: Item, path: str) -> str:
    """The text of an earlier reasoning: its content, else what `encrypted_content` holds, else its summary."""
    if isinstance(item.content, str):
        return item.content
    if item.content:
        return _parts(item.content, "reasoning_text", f"{path}content")
    if item.encrypted_content and (text := open_text(item.encrypted_content)) is not None:
        return text
    return _parts(item.summary or [], "summary_text", f"{path}summary")


def _parts(parts: Sequence[Part], kind: str, path: str) -> str:
    for index, part in enumerate(parts):
        if part.type != kind:
            raise InvalidRequest(
                f"'{path}[{index}].type' is '{part.type}', and not '{kind}'.", param=f"{path}[{index}].type"
            )
    return "\n".join(part.text or "" for part in parts)


def sealed_text(text: str) -> str:
    """Reasoning as `encrypted_content`: opaque to clients, but not secret, as they have the text itself as well."""
    return base64.urlsafe_b64encode((_MARK + text).encode()).decode()


def open_text(sealed: str) -> str | None:
    """The reasoning of `sealed_text`; None if another service wrote it."""
    try:
        text = base64.b64decode(sealed, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return text.removeprefix(_MARK) if text.startswith(_MARK) else None
