"""The messages of a chat on the wire, and as chat templates know them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from crossette.api.schema import fields
from crossette.api.schema.table import Refused, Table, refuse_unbuilt
from crossette.errors import InvalidRequest, Unsupported
from crossette.text.template.messages import Arguments

MAX_DEPTH = 64
"""Of a call's arguments: no tool asks for as much, and what reads them does so by recursion."""
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_AS_TEMPLATES_KNOW = {"developer": "system", "function": "tool"}
_MAY_BE_NULL = ("assistant", "function")
_ASSISTANTS_ONLY = ("tool_calls", "function_call", "reasoning_content", "reasoning", "refusal")


class Part(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.PART

    type: str
    text: str | None = None
    refusal: str | None = None
    # refused
    image_url: Refused = None
    video_url: Refused = None
    audio_url: Refused = None
    input_audio: Refused = None
    file: Refused = None
    cache_control: Refused = None

    def words(self, path: str) -> str:
        """What it says. `path` names it in errors: `messages[2].content[0].`"""
        if self.type not in ("text", "refusal"):
            raise Unsupported(
                f"This model takes text only, and '{path}type' is '{self.type}'. Send parts of type 'text'.",
                param=f"{path}type",
            )
        refuse_unbuilt(self, self.table, path)
        words = self.text if self.type == "text" else self.refusal
        if words is None:
            raise InvalidRequest(f"Field required, field: '{path}{self.type}'", param=f"{path}{self.type}")
        return words


class FunctionCall(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.FUNCTION_CALL

    name: str
    arguments: str | dict[str, Any] | None = None  # Any: whatever JSON can hold
    parsed_arguments: Any = None

    def for_template(self, path: str) -> dict[str, Any]:
        arguments = self._arguments()
        if isinstance(arguments, Arguments) and arguments.depth > MAX_DEPTH:
            raise InvalidRequest(
                f"'{path}arguments' has objects and lists in one another, more than {MAX_DEPTH} deep.",
                param=f"{path}arguments",
            )
        return {"name": self.name, "arguments": arguments}

    def _arguments(self) -> Arguments | str:
        """An object, also where its JSON was sent; text that is no object stays text."""
        if not isinstance(self.arguments, str):
            return Arguments(self.arguments or {})
        text = self.arguments or "{}"
        try:
            return Arguments(msgspec.json.decode(text, type=dict[str, Any]), text)
        except (msgspec.DecodeError, RecursionError):
            return text


class ToolCall(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.TOOL_CALL

    function: FunctionCall | str
    """Or its name alone."""
    id: str | None = None
    type: str | None = None
    index: int | None = None
    """Its place in a stream's deltas, as clients that fold them send it back."""

    def for_template(self, path: str) -> dict[str, Any]:
        if self.type not in (None, "function"):
            raise Unsupported(
                f"'{path}type' is '{self.type}': calls of functions are known, and no others.", param=f"{path}type"
            )
        function = FunctionCall(name=self.function) if isinstance(self.function, str) else self.function
        call = {"type": "function", "function": function.for_template(f"{path}function.")}
        return call if self.id is None else {"id": self.id, **call}


class Message(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.MESSAGE

    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCall | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    id: str | None = None
    parsed: Any = None  # Any: whatever JSON can hold
    # refused
    annotations: Refused = None
    audio: Refused = None

    def for_template(self, path: str) -> dict[str, Any]:
        """The message as chat templates know it. `path` names it in errors: `messages[2].`"""
        if self.role not in ROLES:
            raise InvalidRequest(f"A role is one of {', '.join(ROLES)}: {self.role!r}", param=f"{path}role")
        refuse_unbuilt(self, self.table, path)
        self._check_role(path)
        thoughts = self.reasoning_content or self.reasoning or None
        given = {
            "name": self.name,
            "tool_calls": self._calls(path) or None,
            "tool_call_id": self.tool_call_id,
            "reasoning_content": thoughts,
            "reasoning": thoughts,
        }
        message = {"role": _AS_TEMPLATES_KNOW.get(self.role, self.role), "content": self._words(path)}
        return message | {name: value for name, value in given.items() if value is not None}

    def _check_role(self, path: str) -> None:
        """Refuse what only messages of another role can have."""
        owners = {**dict.fromkeys(_ASSISTANTS_ONLY, "assistant"), "tool_call_id": "tool"}
        for name, owner in owners.items():
            if getattr(self, name) and self.role != owner:
                raise InvalidRequest(
                    f"'{path}{name}' is for messages of role '{owner}', not '{self.role}'.", param=f"{path}{name}"
                )
        if self.reasoning and self.reasoning_content and self.reasoning != self.reasoning_content:
            raise InvalidRequest(
                f"'{path}reasoning' and '{path}reasoning_content' are two names of one thing, and differ.",
                param=f"{path}reasoning",
            )

    def _calls(self, path: str) -> list[dict[str, Any]]:
        calls = [call.for_template(f"{path}tool_calls[{i}].") for i, call in enumerate(self.tool_calls or ())]
        if self.function_call is not None:
            calls.append({"type": "function", "function": self.function_call.for_template(f"{path}function_call.")})
        return calls

    def _words(self, path: str) -> str:
        """The content as one text: templates of models that take text alone know no parts."""
        if isinstance(self.content, list):
            return "\n".join(part.words(f"{path}content[{i}].") for i, part in enumerate(self.content))
        if self.content is None and self.role not in _MAY_BE_NULL:
            raise InvalidRequest(f"A {self.role} message needs content.", param=f"{path}content")
        return self.content or self.refusal or ""


def conversation(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages as chat templates know them. Raises InvalidRequest, naming the message at fault."""
    if not messages:
        raise InvalidRequest("messages is empty: there is nothing to answer.", param="messages")
    known = [message.for_template(f"messages[{place}].") for place, message in enumerate(messages)]
    _tie_results(known)
    return known


def _tie_results(messages: list[dict[str, Any]]) -> None:
    """Give calls and results the ids that they lack, and results the names of their functions: templates ask for both.

    Results without an id, as of `function_call`, which has none, answer the calls in order.
    """
    names: dict[str, str] = {}
    unanswered: dict[str, None] = {}
    for message in messages:
        for call in message.get("tool_calls", ()):
            # Nine letters and digits are what the strictest templates want.
            call_id = call.setdefault("id", f"call{len(names):05}")
            names[call_id] = call["function"]["name"]
            unanswered[call_id] = None
        if message["role"] == "tool":
            if unanswered:
                message.setdefault("tool_call_id", next(iter(unanswered)))
            call_id = message.get("tool_call_id", "")
            if call_id in names:
                message.setdefault("name", names[call_id])
            unanswered.pop(call_id, None)
