"""POST /chat/completions: the wire, field for field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from crossette.api.schema import fields
from crossette.api.schema.common import GenerationFields, UsageBody
from crossette.api.schema.logprobs import Logprobs
from crossette.errors import InvalidRequest, Unsupported

ROLES = ("system", "developer", "user", "assistant", "tool", "function")

if TYPE_CHECKING:
    _Base = GenerationFields
    _MessageBase = msgspec.Struct
    _PartBase = msgspec.Struct
else:
    _Base = fields.taking(fields.CHAT, GenerationFields)
    _MessageBase = fields.taking(fields.MESSAGE)
    _PartBase = fields.taking(fields.PART)


class Part(_PartBase, kw_only=True, forbid_unknown_fields=True):
    type: str
    text: str | None = None


class Message(_MessageBase, kw_only=True, forbid_unknown_fields=True):
    role: str
    content: str | list[Part] | None = None
    name: str | None = None

    def for_template(self, path: str) -> dict[str, Any]:
        """The message as chat templates know it. `path` names it in errors: `messages[2].`"""
        if self.role not in ROLES:
            raise InvalidRequest(f"A role is one of {', '.join(ROLES)}: {self.role!r}", param=f"{path}role")
        fields.refuse_unbuilt(self, fields.MESSAGE, path)
        if self.role in ("tool", "function"):
            raise Unsupported(f"'{path}role': tool turns are not supported yet.", param=f"{path}role")
        message = {"role": "system" if self.role == "developer" else self.role, "content": self._text(path)}
        return message if self.name is None else message | {"name": self.name}

    def _text(self, path: str) -> str:
        if isinstance(self.content, str):
            return self.content
        if self.content is None:
            if self.role != "assistant":
                raise InvalidRequest(f"A {self.role} message needs content.", param=f"{path}content")
            return ""
        return "\n".join(_part_text(part, f"{path}content[{i}].") for i, part in enumerate(self.content))


def _part_text(part: Part, path: str) -> str:
    if part.type != "text":
        raise Unsupported(
            f"This model takes text only, and '{path}type' is '{part.type}'. Send parts of type 'text'.",
            param=f"{path}type",
        )
    fields.refuse_unbuilt(part, fields.PART, path)
    if part.text is None:
        raise InvalidRequest(f"Field required, field: '{path}text'", param=f"{path}text")
    return part.text


class ChatRequest(_Base, kw_only=True, forbid_unknown_fields=True):
    messages: list[Message]
    safe_tokenization: bool | None = None

    @property
    def prompt_field(self) -> str:
        return "messages"

    def conversation(self) -> list[dict[str, Any]]:
        """The messages as chat templates know them. Raises InvalidRequest, naming the message at fault."""
        if not self.messages:
            raise InvalidRequest("messages is empty: there is nothing to answer.", param="messages")
        return [message.for_template(f"messages[{i}].") for i, message in enumerate(self.messages)]


class AssistantMessage(msgspec.Struct):
    role: str
    content: str | None


class ChatChoice(msgspec.Struct):
    index: int
    message: AssistantMessage
    finish_reason: str | None
    logprobs: Logprobs | None = None


class ChatCompletion(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageBody


class DeltaBody(msgspec.Struct):
    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChunkChoice(msgspec.Struct):
    index: int
    delta: DeltaBody
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class ChatChunk(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: UsageBody | UnsetType | None
