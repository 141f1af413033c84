"""Wire types of POST /completions."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from crossette.api.dialect import Dialect
from crossette.api.schema import fields
from crossette.api.schema.answer import PerfMetrics, TokenDetail, UsageBody
from crossette.api.schema.common import GenerationFields
from crossette.api.schema.logprobs import Logprobs
from crossette.api.schema.raw_output import RawOutput
from crossette.api.schema.table import Refused, Table
from crossette.errors import InvalidRequest

MAX_CHOICES_TOTAL = 1024

Prompt = str | list[int]


class CompletionRequest(GenerationFields, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = Table({**fields.COMPLETIONS, **fields.BOTH})

    prompt: str | list[str | int | list[int]] | None
    suffix: str | None = None
    best_of: int | None = None
    truncate_prompt_tokens: int | None = None
    # refused
    reasoning_effort: Refused = None
    reasoning_history: Refused = None
    thinking: Refused = None
    include_reasoning: Refused = None
    images: Refused = None
    enable_thinking: Refused = None
    reasoning: Refused = None
    # fields of chat
    messages: Refused = None
    safe_tokenization: Refused = None
    tools: Refused = None
    tool_choice: Refused = None
    parallel_tool_calls: Refused = None
    functions: Refused = None
    function_call: Refused = None
    prompt_truncate_len: Refused = None
    prompt_token_ids: Refused = None
    chat_template: Refused = None
    custom_chat_template: Refused = None
    chat_template_kwargs: Refused = None
    add_generation_prompt: Refused = None
    continue_final_message: Refused = None

    def check(self, dialect: Dialect) -> None:
        super().check(dialect)
        if self.suffix and self.num_echoed:
            raise InvalidRequest("suffix cannot be combined with echo: leave out echo or suffix.", param="suffix")
        if self.suffix and self.truncate_prompt_tokens:
            raise InvalidRequest(
                "truncate_prompt_tokens would drop the tokens of suffix that the model needs: leave out one of them.",
                param="truncate_prompt_tokens",
            )
        if self.best_of is None:
            return
        if self.best_of < self.num_choices:
            raise InvalidRequest(
                f"best_of must be at least n, which is {self.num_choices}: {self.best_of}",
                param="best_of",
                code="integer_below_min_value",
            )
        if self.stream and self.best_of > self.num_choices:
            raise InvalidRequest("best_of cannot be streamed: leave out best_of or stream.", param="best_of")

    @property
    def num_generated(self) -> int:
        return self.best_of or self.num_choices

    def default_max_tokens(self, dialect: Dialect) -> int | None:
        return dialect.completion_max_tokens

    @property
    def prompt_field(self) -> str:
        return "prompt"

    def prompts(self) -> list[Prompt]:
        """The prompts, sent in one of four formats: a text, texts, the token ids of one prompt, or of several.

        Null is an empty text.
        """
        if self.prompt is None or isinstance(self.prompt, str):
            return [self.prompt or ""]
        kind = _one_kind(self.prompt)
        prompts = [self.prompt] if kind is int else self.prompt
        if len(prompts) * self.num_generated > MAX_CHOICES_TOTAL:
            raise InvalidRequest(
                f"{len(prompts)} prompts with {self.num_generated} choices each are "
                f"{len(prompts) * self.num_generated}, and the limit of one request is {MAX_CHOICES_TOTAL}.",
                param="prompt",
            )
        return prompts  # type: ignore[return-value]  # _one_kind has checked that all items have one type

    def prompt_path(self, index: int) -> str:
        """The path of one of `prompts()`: `prompt`, or `prompt[1]` if they are a list."""
        is_list = isinstance(self.prompt, list) and not isinstance(self.prompt[0], int)
        return f"prompt[{index}]" if is_list else "prompt"


def _one_kind(prompt: list[str | int | list[int]]) -> type:
    """The type of all items. Raises InvalidRequest for an empty or a mixed list."""
    if not prompt:
        raise InvalidRequest(
            "The prompt is an empty list: there is nothing to continue.", param="prompt", code="empty_array"
        )
    kind = type(prompt[0])
    for index, item in enumerate(prompt):
        if type(item) is not kind:
            raise InvalidRequest(
                "A list of prompts contains texts, token ids, or lists of token ids, not a mixture: "
                f"prompt[{index}] differs from prompt[0].",
                param=f"prompt[{index}]",
            )
    return kind


class CompletionChoice(msgspec.Struct):
    index: int
    text: str
    finish_reason: str | None
    logprobs: Logprobs | None = None
    prompt_token_ids: list[int] | UnsetType = UNSET
    token_ids: list[int] | UnsetType = UNSET
    token_details: list[TokenDetail] | UnsetType = UNSET
    raw_output: RawOutput | UnsetType = UNSET


class Completion(msgspec.Struct):
    """A complete answer, or a chunk of a stream."""

    id: str
    object: str
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: UsageBody | UnsetType | None = UNSET
    system_fingerprint: str | UnsetType = UNSET
    service_tier: str | UnsetType = UNSET
    perf_metrics: PerfMetrics | UnsetType = UNSET
