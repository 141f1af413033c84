"""Wire types of POST /embeddings."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, UnsetType

from crossette.api.dialect import Dialect
from crossette.api.schema import embedding_fields
from crossette.api.schema.answer import PerfMetrics
from crossette.api.schema.recorded import check_recorded
from crossette.api.schema.table import Refused, Table, check_limits, refuse_unsupported
from crossette.errors import InvalidRequest, Unsupported
from crossette.types import EmbeddingFacts, within

Input = str | list[int]
"""A text, or its token ids."""


class EmbeddingFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The fields of a request that both endpoints of embedding models share."""

    table: ClassVar[Table]

    truncate_prompt_tokens: int | None = None
    perf_metrics_in_response: bool | None = None
    prompt_cache_isolation_key: str | None = None
    prompt_cache_key: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None
    # refused
    service_tier: Refused = None
    priority: Refused = None
    stream: Refused = None
    raw_output: Refused = None
    prompt_template: Refused = None
    input_type: Refused = None

    def check(self, dialect: Dialect) -> None:
        """Reject unsupported fields, and values beyond their limits."""
        refuse_unsupported(self, self.table)
        check_limits(self, self.table, dialect)
        check_recorded(self, self.table)

    def most_tokens(self, window: int) -> int | None:
        """The tokens that texts are cut to; None if they are not."""
        if self.truncate_prompt_tokens is None:
            return None
        if self.truncate_prompt_tokens == -1:
            return window
        within("truncate_prompt_tokens", self.truncate_prompt_tokens, (1, window))
        return self.truncate_prompt_tokens


class EmbeddingRequest(EmbeddingFields, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = embedding_fields.EMBEDDINGS

    model: str
    input: str | list[str | int | list[int] | dict[str, Any]] | dict[str, Any]  # Any: objects are for templates
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    normalize: bool | None = None
    add_special_tokens: bool | None = None
    # refused
    return_logits: Refused = None
    fanout_size: Refused = None
    embed_dtype: Refused = None
    endianness: Refused = None
    messages: Refused = None

    def inputs(self) -> list[Input]:
        """The texts, or their token ids. Raises InvalidRequest for an empty one, a mixture, or too many."""
        if isinstance(self.input, str):
            return [_not_empty(self.input, "input")]
        if isinstance(self.input, dict):
            raise _needs_template("input")
        if not self.input:
            raise InvalidRequest("input is an empty list: it has no texts.", param="input", code="empty_array")
        kind = type(self.input[0])
        if other := next((index for index, item in enumerate(self.input) if type(item) is not kind), None):
            raise InvalidRequest(
                "input contains texts, token ids, or lists of token ids, not a mixture: "
                f"input[{other}] differs from input[0].",
                param=f"input[{other}]",
            )
        if kind is dict:
            raise _needs_template("input[0]")
        inputs: list[Input] = [self.input] if kind is int else self.input  # type: ignore[list-item, assignment]  # of one kind
        within("the length of input", len(inputs), (1, embedding_fields.MAX_INPUTS), param="input", code=_TOO_MANY)
        return [_not_empty(item, self.path_of(index)) for index, item in enumerate(inputs)]

    def path_of(self, index: int) -> str:
        """The path of one of `inputs()`: `input`, or `input[1]` if they are a list."""
        is_list = isinstance(self.input, list) and not isinstance(self.input[0], int)
        return f"input[{index}]" if is_list else "input"

    def check_dimensions(self, model: str, facts: EmbeddingFacts | None) -> None:
        """Raise InvalidRequest for a number of dimensions that the model's vectors cannot have."""
        if self.dimensions is None:
            return
        if facts is None:
            raise Unsupported(
                f"dimensions must be left out for {model}: it generates text and was not trained for shorter vectors.",
                param="dimensions",
            )
        if self.dimensions == facts.dimensions:
            return
        if not facts.shorter:
            raise Unsupported(
                f"dimensions must be {facts.dimensions} for {model}, or left out: its files do not say that it was"
                " trained for shorter vectors (Matryoshka), and the first numbers of its own alone mean little.",
                param="dimensions",
            )
        within("dimensions", self.dimensions, (1, facts.dimensions))
        if isinstance(facts.shorter, tuple) and self.dimensions not in facts.shorter:
            allowed = ", ".join(map(str, (*facts.shorter, facts.dimensions)))
            raise InvalidRequest(
                f"dimensions must be one of those that {model} was trained for: {allowed}. It is {self.dimensions}.",
                param="dimensions",
                code="invalid_value",
            )


_TOO_MANY: Literal["array_above_max_length"] = "array_above_max_length"


def _not_empty(given: Input, path: str) -> Input:
    if not given:
        what = "text" if isinstance(given, str) else "list of token ids"
        raise InvalidRequest(f"{path} is an empty {what}: it has no vector. Leave it out.", param=path)
    return given


def _needs_template(path: str) -> Unsupported:
    return Unsupported(
        f"{path} is an object, which needs a prompt_template: these are not supported. Send the finished text.",
        param=path,
    )


class EmbeddingItem(msgspec.Struct):
    index: int
    embedding: list[float] | str
    """A list of numbers, or as `base64`: 32-bit floats, little-endian."""
    object: str = "embedding"


class EmbeddingUsage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct, kw_only=True):
    object: str = "list"
    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingUsage
    perf_metrics: PerfMetrics | UnsetType = UNSET
