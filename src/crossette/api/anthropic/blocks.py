"""Content blocks of a request's messages: which fields a block of each type has, and its text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from crossette.api.anthropic import fields
from crossette.api.schema.messages import IMAGE, ImageUrl, Part, PlacedPart
from crossette.api.schema.table import Refused, Table, Unused, refuse_unsupported
from crossette.errors import InvalidRequest, Unsupported, invalid_value, missing

_ANYWHERE = ("type", "cache_control")

_DOCUMENT = (("source",), ("title", "context", "citations"))
_FIELDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "text": (("text",), ("citations",)),
    "document": _DOCUMENT,
    "image": (("source",), ()),
    "tool_use": (("id", "name", "input"), ("caller", "toolset_name")),
    "tool_result": (("tool_use_id",), ("content", "is_error", "toolset_name")),
    "thinking": (("thinking",), ("signature",)),
}
"""The fields that a block of each type must and may have."""
_UNREADABLE = {
    "image": "is an image, and results of tools are text. Leave it out, or send it in a block of the message.",
    "redacted_thinking": "is encrypted by the server that made it, so that no model here can read it. Leave it out.",
    "tool_reference": "is found by tool search, which this server does not have. Send all tools as 'tools'.",
}


class SystemText(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A block of a text: of the system prompt, or of a document."""

    table: ClassVar[Table] = fields.SYSTEM_TEXT

    type: Literal["text"]
    text: str
    # refused
    citations: Refused = None
    # without effect
    cache_control: Unused = None

    def text_at(self, path: str) -> str:
        refuse_unsupported(self, self.table, path)
        return self.text


class Source(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.SOURCE

    type: str
    media_type: str | None = None
    data: str | None = None
    content: str | list[SystemText] | None = None
    url: str | None = None
    # refused
    file_id: Refused = None

    def image_of(self, path: str) -> ImageUrl:
        """The image of an `image` block. `path` is its position in errors: `messages[2].content[0].source.`"""
        refuse_unsupported(self, self.table, path)
        if self.type == "url":
            found = ImageUrl(url=self.url)
            found.check(f"{path}url", path)
            return found
        if self.type != "base64":
            raise invalid_value(f"{path}type", ("base64", "url"), repr(self.type[:64]))
        if self.data is None or self.media_type is None:
            raise missing(f"{path}data" if self.data is None else f"{path}media_type")
        if not self.media_type.startswith("image/"):
            raise InvalidRequest(f"'{path}media_type' must be that of an image.", param=f"{path}media_type")
        return ImageUrl(url=f"data:{self.media_type};base64,{self.data}")

    def text_of(self, path: str) -> str:
        """The text of a document. `path` is its position in errors: `messages[2].content[0].source.`"""
        if self.type == "content":
            if self.content is None:
                raise missing(f"{path}content")
            return text_of(self.content, f"{path}content")
        if self.url is not None:
            raise Unsupported(
                f"'{path}url' is the address of a file, which this server does not open. Send its text.",
                param=f"{path}url",
            )
        if self.type != "text" or self.media_type not in (None, "text/plain"):
            refuse_unsupported(self, self.table, path)
            kind = self.type if self.type != "text" else self.media_type
            raise Unsupported(
                f"'{path}type' is {kind!r}, and models get text. Send the text of the document, with the source type "
                "'text'.",
                param=f"{path}type",
            )
        if self.data is None:
            raise missing(f"{path}data")
        return self.data


class ResultBlock(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A block of a tool's result."""

    table: ClassVar[Table] = fields.RESULT_BLOCK
    types: ClassVar[tuple[str, ...]] = ("text", "document")

    type: str
    text: str | None = None
    source: Source | None = None
    title: str | None = None
    context: str | None = None
    # refused
    citations: Refused = None
    tool_name: Refused = None
    # without effect
    cache_control: Unused = None

    def check(self, path: str) -> None:
        """Raise InvalidRequest for fields that a block of its type does not have, or lacks."""
        if self.type not in self.types:
            reason = _UNREADABLE.get(self.type, f"is none of the types {', '.join(self.types)}.")
            subject = path.removesuffix(".") if self.type in _UNREADABLE else f"{path}type"
            shown = "" if self.type in _UNREADABLE else f", {self.type[:64]!r},"
            raise Unsupported(f"'{subject}'{shown} {reason}", param=subject)
        required, optional = _FIELDS[self.type]
        for name in self.__struct_fields__:
            if getattr(self, name) is not None and name not in (*_ANYWHERE, *required, *optional):
                raise InvalidRequest(f"'{path}{name}' is no field of blocks of type '{self.type}'.", param=path + name)
        for name in required:
            if getattr(self, name) is None:
                raise missing(path + name)
        refuse_unsupported(self, self.table, path)

    def text_at(self, path: str) -> str:
        self.check(path)
        return self.text_of(path)

    def text_of(self, path: str) -> str:
        """The text of a `text` or `document` block, which was checked."""
        if self.source is None:
            return self.text or ""
        lines = (self.title, self.context, self.source.text_of(f"{path}source."))
        return "\n".join(line for line in lines if line)


class Block(ResultBlock, kw_only=True, forbid_unknown_fields=True):
    """A block of a message."""

    table: ClassVar[Table] = fields.BLOCK
    types: ClassVar[tuple[str, ...]] = tuple(_FIELDS)

    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None  # Any: any JSON value
    tool_use_id: str | None = None
    content: str | list[ResultBlock] | None = None
    is_error: bool | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    # refused
    caller: Refused = None
    toolset_name: Refused = None

    def part(self, path: str) -> Part:
        """A text, document or image, as a part of a chat message."""
        if self.type == "image" and self.source is not None:
            return PlacedPart(type=IMAGE, image_url=self.source.image_of(f"{path}source."), path=path)
        return Part(type="text", text=self.text_of(path))

    def result(self, path: str) -> str:
        """The text of a `tool_result` block."""
        text = text_of(self.content or "", f"{path}content")
        return f"Error: {text}" if self.is_error else text


def text_of(sent: str | Sequence[SystemText | ResultBlock], path: str) -> str:
    """A text, or the texts of blocks joined with line breaks. `path` is that of the field."""
    if isinstance(sent, str):
        return sent
    return "\n".join(text for index, block in enumerate(sent) if (text := block.text_at(f"{path}[{index}].")))
