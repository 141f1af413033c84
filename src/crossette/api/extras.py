"""What stands beside the text of an answer: logprobs, token ids, raw output, counts and times, if asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from crossette.api.dialect import Dialect
from crossette.api.perf_headers import perf_metrics
from crossette.api.schema.answer import PerfMetrics
from crossette.api.schema.common import GenerationFields
from crossette.api.schema.logprobs import Logprobs, LogprobsAsked, logprobs_body
from crossette.api.schema.raw_output import RawOutput, raw_output
from crossette.engine import Tokenizer
from crossette.generation.answer import Answer, ChoiceResult
from crossette.text.token_offsets import TokenText


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes what stands beside the text of an answer, as far as it was asked for."""

    asked: LogprobsAsked | None
    tokenizer: Tokenizer
    dialect: Dialect
    has_token_ids: bool = False
    has_raw_output: bool = False
    has_perf_metrics: bool = False

    @classmethod
    def of(cls, body: GenerationFields, tokenizer: Tokenizer, dialect: Dialect) -> Writer:
        return cls(
            body.logprobs_asked,
            tokenizer,
            dialect,
            has_token_ids=bool(body.return_token_ids),
            has_raw_output=bool(body.raw_output),
            has_perf_metrics=bool(body.perf_metrics_in_response),
        )

    @property
    def traced(self) -> bool:
        """Whether it must know the tokens behind the text."""
        return self.asked is not None or self.has_token_ids or self.has_raw_output

    def __call__(self, tokens: Sequence[TokenText]) -> Logprobs | None:
        """The logprobs of tokens, in the shape that was asked for; None where none were."""
        return logprobs_body(self.asked, tokens, self.tokenizer.spelling, detailed=self.dialect.detailed_logprobs)

    def prompt_ids(self, answer: Answer, index: int) -> list[int] | UnsetType:
        return list(answer.prompt_of(index)) if self.has_token_ids else UNSET

    def token_ids(self, tokens: Sequence[TokenText]) -> list[int] | UnsetType:
        return [token.id for token in tokens] if self.has_token_ids else UNSET

    def raw_output(self, answer: Answer, whole: ChoiceResult) -> RawOutput | UnsetType:
        if not self.has_raw_output:
            return UNSET
        return raw_output(answer.prompt_of(whole.index), whole, self.tokenizer, self.asked)

    def perf_metrics(self, answer: Answer) -> PerfMetrics | UnsetType:
        """Of an answer that has ended."""
        return perf_metrics(answer) if self.has_perf_metrics and not answer.num_open else UNSET
