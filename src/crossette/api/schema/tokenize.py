"""Wire types of POST /tokenize, /detokenize and /apply-template, in the notations of vLLM and llama-server."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from crossette.api.dialect import Dialect
from crossette.api.schema import fields
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.common import alias_conflict
from crossette.api.schema.messages import Message
from crossette.api.schema.table import REQUIRED, Description, Field, Refused, Table, refuse_unsupported, refused
from crossette.api.schema.tools import ToolSent
from crossette.errors import InvalidRequest

_MODEL = Field("A name or an alias of GET /models.", default=Description("the first model"))
_CONVERSATION = {
    name: fields.CHAT[name]
    for name in ("messages", "tools", "chat_template_kwargs", "add_generation_prompt", "continue_final_message")
}
_REFUSED = {
    "chat_template": fields.CHAT["chat_template"],
    "mm_processor_kwargs": refused("Options for images and sound: models read text only.", {}),
}
_OF_TEXT = ("add_special_tokens", "add_special", "parse_special")
"""Fields that a conversation cannot have: its template writes the control tokens."""


class ConversationFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The fields of a chat request that its prompt depends on."""

    table: ClassVar[Table]

    model: str | None = None
    messages: list[Message] | None = None
    tools: list[ToolSent] | None = None
    chat_template_kwargs: dict[str, Any] | None = None  # Any: any JSON value
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    # refused
    chat_template: Refused = None
    mm_processor_kwargs: Refused = None

    def check(self) -> None:
        """Reject unsupported fields."""
        refuse_unsupported(self, self.table)

    def chat(self, messages: list[Message], model: str, dialect: Dialect) -> ChatRequest:
        """The chat request that has this prompt. Raises InvalidRequest, naming the field."""
        body = ChatRequest(
            model=model,
            messages=messages,
            tools=self.tools,
            chat_template_kwargs=self.chat_template_kwargs,
            add_generation_prompt=self.add_generation_prompt,
            continue_final_message=self.continue_final_message,
        )
        body.check(dialect)
        return body


class TokenizeRequest(ConversationFields, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = Table(
        {
            "model": _MODEL,
            "prompt": Field("The text, as for /completions. Send one of `prompt`, `content` and `messages`."),
            "content": Field("The text, as in llama-server: without BOS unless `add_special` is true."),
            **_CONVERSATION,
            "messages": Field("A conversation, as for /chat/completions."),
            "add_special_tokens": Field(
                "Whether the text begins with BOS, if the model uses one. A conversation always does.",
                default=Description("`true` with `prompt`, `false` with `content`"),
            ),
            "add_special": Field("The same as `add_special_tokens`: send one of them."),
            "parse_special": Field("Whether text such as `<|im_end|>` becomes a control token.", default=True),
            "return_token_strs": Field("Whether the answer has `token_strs`, the text of each token.", default=False),
            "with_pieces": Field("Whether each token is an object of `id` and `piece`, its text.", default=False),
            **_REFUSED,
        }
    )

    prompt: str | None = None
    content: str | None = None
    add_special_tokens: bool | None = None
    add_special: bool | None = None
    parse_special: bool | None = None
    return_token_strs: bool | None = None
    with_pieces: bool | None = None

    def check(self) -> None:
        """Reject unsupported fields, and fields that exclude or require one another."""
        super().check()
        given = [name for name in ("prompt", "content", "messages") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InvalidRequest(
                f"Send one of prompt, content and messages, not {' and '.join(given) or 'none of them'}.",
                param=given[-1] if given else "prompt",
            )
        others = _OF_TEXT if self.messages is not None else tuple(_CONVERSATION)
        for name in others:
            if name != "messages" and getattr(self, name):
                raise InvalidRequest(f"'{name}' has no effect with '{given[0]}': leave it out.", param=name)
        if self.add_special_tokens is not None and self.add_special is not None:
            raise alias_conflict("add_special_tokens", "add_special", of="option")

    @property
    def adds_bos(self) -> bool:
        given = self.add_special if self.add_special_tokens is None else self.add_special_tokens
        return self.content is None if given is None else given


class TokenPiece(msgspec.Struct):
    id: int
    piece: str | list[int]
    """The text of the token; its bytes if they are not UTF-8."""


class Tokens(msgspec.Struct):
    count: int
    max_model_len: int
    """The context window, in tokens."""
    tokens: list[int | TokenPiece]
    token_strs: list[str] | UnsetType = UNSET


class DetokenizeRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = Table(
        {"model": _MODEL, "tokens": Field("Token ids.", default=REQUIRED)},
    )

    model: str | None = None
    tokens: list[int]


class Detokenized(msgspec.Struct):
    prompt: str
    """As in vLLM."""
    content: str
    """The same, as in llama-server."""


class ApplyTemplateRequest(ConversationFields, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = Table({"model": _MODEL, **_CONVERSATION, **_REFUSED})

    messages: list[Message]


class AppliedTemplate(msgspec.Struct):
    prompt: str
