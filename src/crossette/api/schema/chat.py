"""POST /chat/completions: the wire, field for field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from crossette.api.schema import fields
from crossette.api.schema.answer import PerfMetrics, UsageBody
from crossette.api.schema.common import GenerationFields, two_names
from crossette.api.schema.logprobs import Logprobs
from crossette.api.schema.messages import Message
from crossette.api.schema.raw_output import RawOutput
from crossette.api.schema.table import Table, taking

if TYPE_CHECKING:
    _Base = GenerationFields
else:
    _Base = taking(fields.CHAT, GenerationFields)


class ChatRequest(_Base, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = {**fields.CHAT, **fields.BOTH}

    messages: list[Message]
    safe_tokenization: bool | None = None
    prompt_token_ids: list[int] | None = None
    prompt_truncate_len: int | None = None
    truncate_prompt_tokens: int | None = None
    chat_template_kwargs: dict[str, Any] | None = None  # Any: whatever JSON can hold
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None

    @property
    def prompt_field(self) -> str:
        return "messages" if self.prompt_token_ids is None else "prompt_token_ids"

    @property
    def truncate_len(self) -> int:
        """The tokens to which the prompt is cut; 0 for no cut."""
        if self.prompt_truncate_len is not None and self.truncate_prompt_tokens is not None:
            raise two_names("prompt_truncate_len", "truncate_prompt_tokens", of="limit")
        return self.prompt_truncate_len or self.truncate_prompt_tokens or 0


class AssistantMessage(msgspec.Struct):
    role: str
    content: str | None
    refusal: UnsetType | None = UNSET
    annotations: list[Any] | UnsetType = UNSET  # Any: there never is one


class ChatChoice(msgspec.Struct):
    index: int
    message: AssistantMessage
    finish_reason: str | None
    logprobs: Logprobs | None = None
    token_ids: list[int] | UnsetType = UNSET
    raw_output: RawOutput | UnsetType = UNSET


class ChatCompletion(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageBody
    system_fingerprint: str | UnsetType = UNSET
    service_tier: str | UnsetType = UNSET
    prompt_token_ids: list[int] | UnsetType = UNSET
    perf_metrics: PerfMetrics | UnsetType = UNSET


class DeltaBody(msgspec.Struct):
    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET
    refusal: UnsetType | None = UNSET


class ChunkChoice(msgspec.Struct):
    index: int
    delta: DeltaBody
    finish_reason: str | None = None
    logprobs: Logprobs | None = None
    token_ids: list[int] | UnsetType = UNSET
    raw_output: RawOutput | UnsetType = UNSET


class ChatChunk(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: UsageBody | UnsetType | None = UNSET
    system_fingerprint: str | UnsetType = UNSET
    service_tier: str | UnsetType = UNSET
    prompt_token_ids: list[int] | UnsetType = UNSET
    perf_metrics: PerfMetrics | UnsetType = UNSET
