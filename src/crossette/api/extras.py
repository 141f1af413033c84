"""Optional parts of an answer beside its text: logprobs, token ids, raw output, counts and times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from msgspec import UnsetType

from crossette.api.dialect import Dialect
from crossette.api.perf_headers import perf_metrics
from crossette.api.schema.answer import PerfMetrics, TokenDetail
from crossette.api.schema.common import GenerationFields
from crossette.api.schema.logprobs import Logprobs, LogprobsOptions, logprobs_body
from crossette.api.schema.raw_output import RawOutput, raw_output
from crossette.engine import Tokenizer
from crossette.generation.accumulator import ChoiceResult
from crossette.generation.answer import DeltaSource
from crossette.text.token_offsets import TokenText


class _Choice(Protocol):
    """A choice of any endpoint, in a chunk or in a complete answer."""

    logprobs: Logprobs | None
    token_ids: list[int] | UnsetType
    token_details: list[TokenDetail] | UnsetType
    raw_output: RawOutput | UnsetType


class _HasPromptIds(Protocol):
    prompt_token_ids: list[int] | UnsetType


class _HasPerfMetrics(Protocol):
    perf_metrics: PerfMetrics | UnsetType


@dataclass(frozen=True, slots=True)
class Extras:
    """Sets the optional fields of an answer that were requested."""

    logprobs: LogprobsOptions | None
    tokenizer: Tokenizer
    dialect: Dialect
    token_ids: bool = False
    raw_output: bool = False
    perf_metrics: bool = False
    token_details: bool = False

    @classmethod
    def of(cls, body: GenerationFields, tokenizer: Tokenizer, dialect: Dialect) -> Extras | None:
        """None if the request asks for no extras."""
        logprobs = body.logprobs_options
        wanted = body.return_token_ids, body.raw_output, body.perf_metrics_in_response, body.return_token_details
        flags = map(bool, wanted)
        return cls(logprobs, tokenizer, dialect, *flags) if logprobs is not None or any(wanted) else None

    @property
    def needs_tokens(self) -> bool:
        """Whether the tokens of each piece of text must be kept."""
        return self.logprobs is not None or self.token_ids or self.raw_output or self.token_details

    def add_tokens(self, choice: _Choice, tokens: Sequence[TokenText]) -> None:
        """Add the logprobs, ids and details of `tokens`."""
        if self.logprobs is not None:
            bytes_of = self.tokenizer.token_text
            detailed = self.dialect.detailed_logprobs or self.token_details
            choice.logprobs = logprobs_body(
                self.logprobs, tokens, bytes_of, detailed=detailed, refusal=self.dialect.refusals
            )
        if self.token_ids:
            choice.token_ids = [token.id for token in tokens]
        if self.token_details:
            choice.token_details = [TokenDetail(one.id, _rounded(one.time), one.is_accepted_draft) for one in tokens]

    def add_prompt_ids(self, body: _HasPromptIds, answer: DeltaSource, index: int) -> None:
        """Add the prompt tokens of choice `index`."""
        if self.token_ids:
            body.prompt_token_ids = list(answer.prompt_of(index))

    def add_raw_output(self, choice: _Choice, answer: DeltaSource, result: ChoiceResult) -> None:
        if self.raw_output:
            choice.raw_output = raw_output(answer.prompt_of(result.index), result, self.tokenizer, self.logprobs)

    def add_perf_metrics(self, body: _HasPerfMetrics, answer: DeltaSource) -> None:
        """Add counts and times, if the answer has ended."""
        if self.perf_metrics and not answer.num_open:
            body.perf_metrics = perf_metrics(answer)


def _rounded(time: float | None) -> float | None:
    """Seconds to the microsecond: the rest is noise."""
    return None if time is None else round(time, 6)
