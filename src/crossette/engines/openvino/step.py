"""From a step's logits to tokens: draw, check guesses, score prompts."""

from __future__ import annotations

from collections.abc import Iterator

from crossette.engines.openvino.logits import Row
from crossette.engines.openvino.logprobs import record
from crossette.engines.openvino.runner import Logits
from crossette.engines.openvino.sequence import Batch, SampledToken, Sequence, Span
from crossette.errors import ConstraintFailed
from crossette.types import Logprob


def draw(batch: Batch, logits: Logits) -> list[SampledToken]:
    """What each sequence that samples in the step gets. Prompts that are to be scored get their records."""
    best: list[int] = logits.argmax(axis=1).tolist() if len(logits) else []
    drawn = []
    for span, begin in _rows_of(batch):
        rows, best_of_rows = logits[begin : begin + span.num_wanted], best[begin : begin + span.num_wanted]
        _score(span, rows)
        if span.samples:
            num_checked = 1 + len(span.drafts)
            for sequence in (span.sequence, *span.forks):
                try:
                    drawn.append(_draw(sequence, span.drafts, rows[-num_checked:], best_of_rows[-num_checked:]))
                except ConstraintFailed as error:  # of this sequence alone: the others of the step go on
                    drawn.append(SampledToken(sequence, (), error=error))
    return drawn


def _rows_of(batch: Batch) -> Iterator[tuple[Span, int]]:
    """Each span, and where its rows of logits begin."""
    begin = 0
    for span in batch.spans:
        yield span, begin
        begin += span.num_wanted


def _draw(sequence: Sequence, drafts: tuple[int, ...], rows: Logits, best: list[int]) -> SampledToken:
    """One token, and one more for each guess that was drawn itself: the same tokens as without guesses.

    Then what the grammar forces, which is known without any logits.
    """
    sampler, request = sequence.sampler, sequence.request
    tokens: list[int] = []
    records: list[Logprob] = []
    if sequence.max_output == 0:  # only the prompt's scores were asked for
        return SampledToken(sequence, ())
    for row, best_token, guess in zip(rows, best, (*drafts, None), strict=True):
        token, logprob = (best_token, 0.0) if sampler.takes_best else sampler.draw(row)
        sampler.accept_token(token)
        tokens.append(token)
        if request.logprobs is not None:
            records.append(record(row, token, request.logprobs, logprob))
        if token != guess or sequence.is_end(token) or sampler.is_over:
            break
    if request.logprobs is not None:  # what is forced needs logits too, for its record: it comes one by one
        return SampledToken(sequence, tuple(tokens), tuple(records), len(drafts))
    num_drawn = len(tokens)
    room = sequence.max_output - len(sequence.output)
    while sampler.forced and len(tokens) < room:
        tokens.append(next(iter(sampler.forced)))
        sampler.accept_token(tokens[-1])
    return SampledToken(sequence, tuple(tokens), num_drafts=len(drafts), num_forced=len(tokens) - num_drawn)


def _score(span: Span, rows: list[Row] | Logits) -> None:
    """Record the prompt's tokens that this span's rows predict."""
    sequence = span.sequence
    following = sequence.prompt[span.start + 1 : span.start + 1 + span.num_scored]
    for row, token in zip(rows, following, strict=False):  # the last row predicts the first token of the output
        sequence.scores.append(record(row, token, sequence.request.logprobs or 0))
