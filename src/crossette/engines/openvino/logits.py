"""Logits processing before sampling, in a fixed order: penalties, logit_bias, grammar, min_tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from crossette.engines.grammar.compiler import Matcher
from crossette.types import SamplingParams

LogitsRow = npt.NDArray[np.float32]
"""`[vocabulary]`: the logits of one position."""


class LogitsProcessor:
    """The logits processor of one sequence. Tracks the tokens of its prompt and output."""

    def __init__(
        self,
        params: SamplingParams,
        prompt: Iterable[int],
        end_token_ids: Iterable[int],
        matcher: Matcher | None = None,
    ) -> None:
        self._params = params
        self._matcher = matcher
        self._penalises = (params.repetition_penalty, params.frequency_penalty, params.presence_penalty) != (1, 0, 0)
        self._seen = set(prompt) if self._penalises else set()
        self._counts: Counter[int] = Counter()
        self._num_output = 0
        self._end_ids = np.array(sorted(end_token_ids), np.intp)
        self._bias_ids = np.array([token for token, _ in params.logit_bias], np.intp)
        self._biases = np.array([bias for _, bias in params.logit_bias], np.float32)

    @property
    def idle(self) -> bool:
        """Whether the next logits remain unchanged."""
        return (
            self._matcher is None
            and not self._penalises
            and not len(self._bias_ids)
            and self._num_output >= self._params.min_tokens
        )

    def accept_token(self, token: int) -> None:
        """Record a sampled token. Raises ConstraintFailed for one that the grammar does not allow."""
        self._num_output += 1
        if self._matcher is not None:
            self._matcher.accept_token(token)
        if self._penalises:
            self._counts[token] += 1
            self._seen.add(token)

    def apply(self, row: LogitsRow) -> LogitsRow:
        """The processed logits; `row` is not modified. Raises ConstraintFailed at the limits of the grammar."""
        if self.idle:
            return row
        row = row.copy()
        if self._penalises:
            self._penalise(row)
        row[self._bias_ids] += self._biases
        if self._matcher is not None:
            row[~self._matcher.allowed()] = -np.inf
        if self._num_output < self._params.min_tokens:
            row[self._end_ids] = -np.inf
        return row

    def _penalise(self, row: LogitsRow) -> None:
        params = self._params
        if params.repetition_penalty != 1:
            seen = np.fromiter(self._seen, np.intp, len(self._seen))
            logits, penalty = row[seen], np.float32(max(params.repetition_penalty, 1e-6))  # 0 would divide by zero
            row[seen] = np.where(logits > 0, logits / penalty, logits * penalty)
        generated = np.fromiter(self._counts.keys(), np.intp, len(self._counts))
        times = np.fromiter(self._counts.values(), np.float32, len(self._counts))
        row[generated] -= np.float32(params.frequency_penalty) * times + np.float32(params.presence_penalty)
