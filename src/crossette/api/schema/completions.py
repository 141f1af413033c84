"""POST /completions: the wire, field for field."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UnsetType

from crossette.api.schema import fields
from crossette.api.schema.common import GenerationFields, UsageBody
from crossette.errors import InvalidRequest

MAX_PROMPTS = 1024

Prompt = str | list[int]

if TYPE_CHECKING:
    _Base = GenerationFields
else:
    _Base = fields.taking(fields.COMPLETIONS, GenerationFields)


class CompletionRequest(_Base, kw_only=True, forbid_unknown_fields=True):
    prompt: str | list[str | int | list[int]]

    @property
    def prompt_field(self) -> str:
        return "prompt"

    def prompts(self) -> list[Prompt]:
        """The prompts that one of four forms gives: a text, texts, the token ids of one prompt, or of several."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        kind = _one_kind(self.prompt)
        prompts = [self.prompt] if kind is int else self.prompt
        if len(prompts) * self.num_choices > MAX_PROMPTS:
            raise InvalidRequest(
                f"{len(prompts)} prompts with n={self.num_choices} are {len(prompts) * self.num_choices} choices, "
                f"and {MAX_PROMPTS} is the limit of one request.",
                param="prompt",
            )
        return prompts  # type: ignore[return-value]  # _one_kind has seen that the list is of one kind


def _one_kind(prompt: list[str | int | list[int]]) -> type:
    """The type of all items. Raises InvalidRequest for an empty or a mixed list."""
    if not prompt:
        raise InvalidRequest("The prompt is an empty list: there is nothing to continue.", param="prompt")
    kind = type(prompt[0])
    for index, item in enumerate(prompt):
        if type(item) is not kind:
            raise InvalidRequest(
                "A list of prompts holds texts, token ids, or lists of token ids, and not a mixture: "
                f"prompt[{index}] differs from prompt[0].",
                param=f"prompt[{index}]",
            )
    return kind


class CompletionChoice(msgspec.Struct):
    index: int
    text: str
    finish_reason: str | None
    logprobs: None = None


class Completion(msgspec.Struct):
    """A whole answer, or a chunk of a stream."""

    id: str
    object: str
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: UsageBody | UnsetType | None
