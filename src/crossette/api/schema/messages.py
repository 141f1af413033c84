"""Wire types of chat messages, and their conversion for chat templates.

A message is the client's own record of a conversation: keys that are unknown here are dropped, not rejected.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, ClassVar

import msgspec

from crossette.api.schema import nested_fields
from crossette.api.schema.table import Refused, Table, Unused, refuse_unsupported
from crossette.errors import InvalidRequest, Unsupported, invalid_value, missing
from crossette.text.template.messages import Arguments

MAX_DEPTH = 64
"""Maximum depth of a call's arguments, as they are processed recursively."""
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_TEMPLATE_ROLES = {"developer": "system", "function": "tool"}
_MAY_BE_NULL = ("assistant", "function")
_TEXTS = ("text", "input_text", "output_text")
IMAGE = "image_url"
"""The type of a part with an image."""
_DETAILS = ("auto", "low", "high", "original")
_ASSISTANTS_ONLY = ("tool_calls", "function_call", "reasoning_content", "reasoning", "refusal")


class ImageUrl(msgspec.Struct, kw_only=True):
    table: ClassVar[Table] = nested_fields.IMAGE_URL

    url: str | None = None
    detail: str | None = None

    def check(self, url: str, detail: str) -> None:
        """Raise InvalidRequest unless this is the URL of an image: no file is ever read.

        `url` and `detail` are the paths of both in errors: `messages[2].content[0].image_url.url`
        """
        if self.url is None:
            raise missing(url)
        if not is_data_url(self.url) and not self.url.lower().startswith(("http://", "https://")):
            raise InvalidRequest(
                f"'{url}' must be a data URL of an image, such as data:image/png;base64,iVBORw0…, or an HTTP URL.",
                param=url,
            )
        if self.detail not in (None, *_DETAILS):
            raise invalid_value(detail, _DETAILS, repr(self.detail))


def is_data_url(url: str) -> bool:
    """Whether a URL holds an image itself."""
    return url[:11].lower() == "data:image/"


class Part(msgspec.Struct, kw_only=True):
    table: ClassVar[Table] = nested_fields.PART

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | str | None = None
    detail: str | None = None
    # refused
    video_url: Refused = None
    audio_url: Refused = None
    input_audio: Refused = None
    file: Refused = None
    # without effect
    cache_control: Unused = None
    prompt_cache_breakpoint: Unused = None

    def at(self, path: str) -> str:
        """Its position in errors, if it is at `path` of a chat: `messages[2].content[0].`"""
        return path

    @property
    def image(self) -> ImageUrl | None:
        """The image of the part, which may have been sent as its URL alone."""
        if isinstance(self.image_url, str):
            return ImageUrl(url=self.image_url, detail=self.detail)
        return self.image_url

    def for_template(self, path: str) -> dict[str, Any]:
        """The part in the format of chat templates, for a model that sees. `path` is its position in errors."""
        if self.type != IMAGE:
            return {"type": "text", "text": self.text_or_refusal(path, (*_TEXTS, "refusal", IMAGE))}
        refuse_unsupported(self, self.table, path)
        if self.image is None:
            raise missing(f"{path}image_url")
        self.image.check(f"{path}image_url.url", f"{path}image_url.detail")
        return {"type": "image"}

    def text_or_refusal(self, path: str, accepted: Collection[str] = (*_TEXTS, "refusal")) -> str:
        """The text of the part. `path` is its position in errors: `messages[2].content[0].`

        `accepted` are the types of parts that the model accepts.
        """
        path = self.at(path)
        if self.type == IMAGE and IMAGE not in accepted:
            at = path.removesuffix(".")
            raise Unsupported(f"This model accepts text only, and '{at}' is an image. Send text.", param=f"{path}type")
        if self.type not in accepted:
            only, types = ("text and images", "'text' or 'image_url'") if IMAGE in accepted else ("text", "'text'")
            raise Unsupported(
                f"This model accepts {only} only, and '{path}type' is '{self.type}'. Send parts of type {types}.",
                param=f"{path}type",
            )
        refuse_unsupported(self, self.table, path)
        if self.image_url is not None:
            raise InvalidRequest(
                f"'{path}image_url' is for parts of type 'image_url', not '{self.type}'.", param=f"{path}image_url"
            )
        name, text = ("text", self.text) if self.type in _TEXTS else ("refusal", self.refusal)
        if text is None:
            raise missing(path + name)
        return text


class PlacedPart(Part, kw_only=True):
    """A part that was made from a request of another endpoint, and its position there."""

    path: str

    def at(self, path: str) -> str:
        return self.path


class FunctionCall(msgspec.Struct, kw_only=True):
    table: ClassVar[Table] = nested_fields.FUNCTION_CALL

    name: str
    arguments: str | dict[str, Any] | None = None  # Any: any JSON value
    parsed_arguments: Unused = None

    def for_template(self, path: str) -> dict[str, Any]:
        arguments = self._arguments()
        if isinstance(arguments, Arguments) and arguments.depth > MAX_DEPTH:
            raise InvalidRequest(
                f"'{path}arguments' is nested more than {MAX_DEPTH} levels deep.",
                param=f"{path}arguments",
            )
        return {"name": self.name, "arguments": arguments}

    def _arguments(self) -> Arguments | str:
        """An object, decoded if it was sent as JSON text; text that is not a JSON object stays text."""
        if not isinstance(self.arguments, str):
            return Arguments(self.arguments or {})
        text = self.arguments or "{}"
        try:
            return Arguments(msgspec.json.decode(text, type=dict[str, Any]), text)
        except (msgspec.DecodeError, RecursionError):
            return text


class ToolCall(msgspec.Struct, kw_only=True):
    table: ClassVar[Table] = nested_fields.TOOL_CALL

    function: FunctionCall | str | None = None
    """The call, or the function's name alone."""
    id: str | None = None
    type: str | None = None
    index: Unused = None

    def for_template(self, path: str) -> dict[str, Any]:
        if self.type not in (None, "function"):
            raise Unsupported(
                f"'{path}type' is '{self.type}': only calls of type 'function' are supported.", param=f"{path}type"
            )
        if self.function is None:
            raise missing(f"{path}function")
        function = FunctionCall(name=self.function) if isinstance(self.function, str) else self.function
        call = {"type": "function", "function": function.for_template(f"{path}function.")}
        return call if self.id is None else {"id": self.id, **call}


class Message(msgspec.Struct, kw_only=True):
    table: ClassVar[Table] = nested_fields.MESSAGE

    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCall | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    # refused
    audio: Refused = None
    # without effect
    id: Unused = None
    type: Unused = None
    annotations: Unused = None
    reasoning_details: Unused = None
    parsed: Unused = None
    cache_control: Unused = None

    def for_template(self, path: str, own_roles: Collection[str], *, sees: bool) -> dict[str, Any]:
        """The message in the format of chat templates. `path` is its position in errors: `messages[2].`

        `own_roles` are those that the template knows besides `ROLES`, and `sees` is whether the model accepts images.
        """
        if self.role not in ROLES and self.role not in own_roles:
            raise invalid_value(f"{path}role", [*ROLES, *sorted(own_roles)], repr(self.role))
        refuse_unsupported(self, self.table, path)
        self._check_role(path)
        reasoning = self.reasoning_content or self.reasoning or None
        given = {
            "name": self.name,
            "tool_calls": self._calls(path) or None,
            "tool_call_id": self.tool_call_id,
            "reasoning_content": reasoning,
            "reasoning": reasoning,
        }
        content = self._parts(path) if sees else self._text(path)
        message = {"role": _TEMPLATE_ROLES.get(self.role, self.role), "content": content}
        return message | {name: value for name, value in given.items() if value is not None}

    def _check_role(self, path: str) -> None:
        """Reject fields that only messages of another role may have."""
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

    def _parts(self, path: str) -> str | list[dict[str, Any]]:
        """The content as parts if it has images, else as one text."""
        if not isinstance(self.content, list):
            return self._text(path)
        for i, part in enumerate(self.content):
            if part.type == IMAGE and self.role != "user":
                raise InvalidRequest(
                    f"'{path}content[{i}]' is an image, which only messages of role 'user' may have, "
                    f"not '{self.role}'.",
                    param=f"{path}content[{i}].type",
                )
        parts = [part.for_template(f"{path}content[{i}].") for i, part in enumerate(self.content)]
        if any(part["type"] == "image" for part in parts):
            return parts
        return "\n".join(part["text"] for part in parts if part["text"])

    def _text(self, path: str) -> str:
        """The content as one text, as templates of text-only models do not support parts."""
        if isinstance(self.content, list):
            texts = (part.text_or_refusal(f"{path}content[{i}].") for i, part in enumerate(self.content))
            return "\n".join(text for text in texts if text)
        if self.content is None and self.role not in _MAY_BE_NULL:
            raise InvalidRequest(f"A {self.role} message needs content.", param=f"{path}content")
        return self.content or self.refusal or ""


def conversation(
    messages: Sequence[Message], template_roles: Collection[str] = (), *, sees: bool = False
) -> list[dict[str, Any]]:
    """The messages in the format of chat templates. Raises InvalidRequest, naming the invalid message.

    `template_roles` are those that the model's template knows. If the model `sees`, messages with images have a list of
    parts as their content: `{"type": "text", "text": str}` or `{"type": "image"}`.
    """
    own_roles = set(template_roles).difference(ROLES)
    if not messages:
        raise InvalidRequest("messages is empty: there is nothing to answer.", param="messages", code="empty_array")
    converted = [
        message.for_template(f"messages[{index}].", own_roles, sees=sees) for index, message in enumerate(messages)
    ]
    _link_results(converted)
    return converted


def images_of(messages: Sequence[Message]) -> Iterator[tuple[str, ImageUrl]]:
    """The images of a conversation in order, each with its position for errors: `messages[2].content[0].image_url`."""
    for index, message in enumerate(messages):
        for i, part in enumerate(message.content if isinstance(message.content, list) else ()):
            if part.type == IMAGE and part.image is not None:
                yield f"{part.at(f'messages[{index}].content[{i}].')}image_url", part.image


def _link_results(messages: list[dict[str, Any]]) -> None:
    """Add missing ids to calls and results, and function names to results: templates need both.

    Results without an id, such as those of `function_call`, are matched to the calls in order.
    """
    names: dict[str, str] = {}
    unanswered: dict[str, None] = {}
    for message in messages:
        for call in message.get("tool_calls", ()):
            # Nine letters and digits are what the strictest templates require.
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
