"""Sample tokens from a step's logits, verify draft tokens, and score prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from crossette.engines.openvino.logprobs import record, records, records_of_scores
from crossette.engines.openvino.runner import HiddenStates, Logits, Scores
from crossette.engines.openvino.sequence import Batch, SampledToken, Sequence, Span
from crossette.errors import ConstraintFailed
from crossette.types import Logprob


def sample(
    batch: Batch, logits: Logits, scores: Mapping[Sequence, Scores] | None = None, *, threads: int = 1
) -> list[SampledToken]:
    """Sample the sequences of a step; append logprobs to those whose prompts are scored.

    `logits` are `[wanted tokens, vocabulary]`, and `scores` those of sequences that are scored apart, as the runner
    returns them.
    """
    sampled = []
    for span, begin in _offsets(batch):
        rows = logits[begin : begin + span.num_wanted]
        _score(span, rows, (scores or {}).get(span.sequence), threads)
        if span.samples:
            num_positions = 1 + len(span.drafts)
            for sequence in (span.sequence, *span.forks):
                try:
                    sampled.append(_sample(sequence, span.drafts, rows[-num_positions:]))
                except ConstraintFailed as error:  # fails this sequence only: the others of the step continue
                    sampled.append(SampledToken(sequence, (), error=error))
    return sampled


def keep_hidden_states(batch: Batch, states: HiddenStates) -> None:
    """Keep the hidden state of the last prompt token of each sequence that is asked for it.

    `states` has a row for each row of the step's logits.
    """
    for span, begin in _offsets(batch):
        sequence = span.sequence
        if sequence.request.hidden_state and span.is_prompt and span.samples:
            sequence.hidden_state = states[begin + span.num_wanted - 1].astype("<f4").tobytes()


def _offsets(batch: Batch) -> Iterator[tuple[Span, int]]:
    """Each span with the index of its first row of logits."""
    begin = 0
    for span in batch.spans:
        yield span, begin
        begin += span.num_wanted


def _sample(sequence: Sequence, drafts: tuple[int, ...], rows: Logits) -> SampledToken:
    """Sample a token, and one more per accepted draft token: the same tokens as without drafts.

    Then append the tokens that the grammar forces, which need no logits.
    """
    sampler, request = sequence.sampler, sequence.request
    tokens: list[int] = []
    logprobs: list[Logprob] = []
    if sequence.max_output == 0:  # only prompt_logprobs were requested
        return SampledToken(sequence, ())
    for row, draft in zip(rows, (*drafts, None), strict=True):
        token, logprob = sampler.sample(row)
        sampler.accept_token(token)
        tokens.append(token)
        if request.logprobs is not None:
            logprobs.append(record(row, token, request.logprobs, logprob))
        if token != draft or sequence.is_end(token) or sampler.is_over:
            break
    if request.logprobs is not None:  # forced tokens need logits too then, so they are sampled one by one
        return SampledToken(sequence, tuple(tokens), tuple(logprobs), len(drafts))
    num_sampled = len(tokens)
    room = sequence.max_output - len(sequence.output)
    while sampler.forced and len(tokens) < room:
        tokens.append(next(iter(sampler.forced)))
        sampler.accept_token(tokens[-1])
    return SampledToken(sequence, tuple(tokens), num_drafts=len(drafts), num_forced=len(tokens) - num_sampled)


def _score(span: Span, rows: Logits, scores: Scores | None, threads: int) -> None:
    """Append the logprobs of the prompt tokens that follow those of a span, if they are scored."""
    if not span.num_scored:
        return
    sequence = span.sequence
    num_top = sequence.request.logprobs or 0
    if scores is not None:
        sequence.scores += records_of_scores(scores, span.scored, num_top)
    else:  # the last row may predict the first token of the output
        sequence.scores += records(rows[: span.num_scored], span.scored, num_top, threads=threads)
