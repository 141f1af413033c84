"""Sample tokens from logits. Each sequence is sampled alone, so a token never depends on the rest of the batch.

The order of the steps is fixed, so that a seed gives the same text in every release: penalties, logit_bias, grammar,
min_tokens (logits.py), temperature, top_k, typical_p, top_p, min_p, then inverse transform sampling in float64 over
ascending token ids. Mirostat replaces the four filters.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from crossette.engines.grammar.compiler import Matcher
from crossette.engines.openvino.logits import LogitsProcessor, LogitsRow
from crossette.engines.openvino.top_k import Ids, largest
from crossette.types import SamplingParams

_SEED_MASK = 2**64 - 1
_BLOCK = 256


class TokenSampler:
    """The sampler of one sequence. Its state depends only on the tokens sampled so far."""

    def __init__(
        self,
        params: SamplingParams,
        *,
        seed: int,
        prompt: Iterable[int],
        end_token_ids: Iterable[int],
        matcher: Matcher | None = None,
    ) -> None:
        self.params = params
        self._seed = seed
        self._matcher = matcher
        self._forced = deque(matcher.forced() if matcher else ())
        self._processor = LogitsProcessor(params, prompt, end_token_ids, matcher)
        self._position = 0
        self._surprisal_limit = 2 * (params.mirostat_target or 0.0)

    @property
    def forced(self) -> Collection[int]:
        """The next tokens where the grammar allows no other: they need no logits."""
        return self._forced

    @property
    def is_over(self) -> bool:
        """Whether the grammar has matched and allows nothing more."""
        return self._matcher is not None and self._matcher.is_over

    def sample(self, logits: LogitsRow) -> tuple[int, float]:
        """The next token, and the logprob it was sampled with: 0.0 for a greedy one.

        `logits` are raw. Ties go to the lowest id. Raises ConstraintFailed at the limits of the grammar.
        """
        if self._forced:
            return self._forced[0], 0.0
        row = self._processor.apply(logits)
        if self.params.temperature == 0:
            return int(row.argmax()), 0.0
        number = uniform(self._seed, self._position)
        token, probability = pick(row, self.params, number, self._surprisal_limit)
        if self.params.mirostat_target is not None:
            self._steer(probability)
        return token, math.log(probability)

    def accept_token(self, token: int) -> None:
        """Append a token to the output: the next sample is one position further."""
        self._position += 1
        self._processor.accept_token(token)
        if self._forced:
            self._forced.popleft()
        if self._matcher is not None and not self._forced:
            self._forced.extend(self._matcher.forced())

    def _steer(self, probability: float) -> None:
        """Mirostat 2 (Basu et al. 2021): adjust the surprisal limit by the error."""
        assert self.params.mirostat_target is not None
        error = -math.log2(probability) - self.params.mirostat_target
        self._surprisal_limit -= self.params.mirostat_lr * error


def uniform(seed: int, position: int) -> float:
    """A random number in [0, 1), a pure function of its arguments: Philox, a counter-based generator."""
    bits = np.random.Philox(key=seed & _SEED_MASK, counter=position)
    return float(np.random.Generator(bits).random())


def pick(row: LogitsRow, params: SamplingParams, number: float, surprisal_limit: float = 0.0) -> tuple[int, float]:
    """The token that `number` in [0, 1) selects from the filtered distribution, and its probability in it.

    The temperature must not be 0. `surprisal_limit`, in bits, is mirostat's filter.
    """
    ids: Ids | None = None
    if params.top_k > 0 and params.mirostat_target is None:
        ids = largest(row, params.top_k)  # on logits, which have the order of the weights
        row = row[ids]
    weights = _weights(row, params.temperature)
    for kept_of in _filters(params, surprisal_limit):
        kept = kept_of(weights)
        ids = kept if ids is None else ids[kept]
        weights = weights[kept]
    index, probability = _inverse_cdf(weights, number)
    return index if ids is None else int(ids[index]), probability


def _filters(params: SamplingParams, surprisal_limit: float) -> Iterator[Callable[[LogitsRow], Ids]]:
    """The filters after top_k, in order: each returns the indices that it keeps, ascending."""
    if params.mirostat_target is not None:
        yield lambda weights: _mirostat(weights, surprisal_limit)
        return
    if params.typical_p < 1:
        yield lambda weights: _typical(weights, params.typical_p)
    if params.top_p < 1:
        yield lambda weights: _top_p(weights, params.top_p)
    if params.min_p > 0:
        yield lambda weights: np.flatnonzero(weights >= params.min_p * weights.max())


def _weights(row: LogitsRow, temperature: float) -> LogitsRow:
    """Unnormalised probabilities: the most likely token has weight 1."""
    divisor = max(np.float32(temperature), np.finfo(np.float32).tiny)  # 1e-50 would become 0, and 0/0
    with np.errstate(over="ignore"):  # a tiny temperature correctly sends all but the largest to minus infinity
        weights: LogitsRow = np.exp((row - row.max()) / divisor)
    return weights


def _inverse_cdf(weights: LogitsRow, number: float) -> tuple[int, float]:
    """The index that `number` in [0, 1) selects, and its probability.

    Sums blocks, then computes the cumulative sum of one block: that of a vocabulary takes ten times as long.
    """
    num_blocked = len(weights) // _BLOCK * _BLOCK
    sums = weights[:num_blocked].reshape(-1, _BLOCK).sum(axis=1, dtype=np.float64)
    ends = np.cumsum(np.append(sums, weights[num_blocked:].sum(dtype=np.float64)))
    total = float(ends[-1])
    target = min(number * total, math.nextafter(total, 0))  # the product may round up to the total
    block = int(np.searchsorted(ends, target, side="right"))
    inside = weights[block * _BLOCK : (block + 1) * _BLOCK]
    cumulative = np.cumsum(inside, dtype=np.float64) + (ends[block - 1] if block else 0.0)
    index = int(np.searchsorted(cumulative, target, side="right"))
    if index == len(inside):  # the block's sum was rounded above its cumulative sum
        index = int(np.flatnonzero(inside)[-1])
    return block * _BLOCK + index, float(inside[index]) / total


def _top_p(weights: LogitsRow, top_p: float) -> Ids:
    """The fewest indices whose weights reach `top_p` of the total, ascending; at least one; ties by index."""
    return _reaching(weights, weights, top_p * float(weights.sum(dtype=np.float64)))


def _typical(weights: LogitsRow, mass: float) -> Ids:
    """The indices of locally typical tokens (Meister et al. 2022), ascending; at least one."""
    probabilities = weights / weights.sum(dtype=np.float64)
    with np.errstate(divide="ignore"):
        surprisal = -np.log(probabilities)
    entropy = float((probabilities * np.where(probabilities > 0, surprisal, 0)).sum())
    return _reaching(-np.abs(surprisal - entropy), probabilities, mass)


def _reaching(ranks: npt.NDArray[np.floating], masses: npt.NDArray[np.floating], wanted: float) -> Ids:
    """The fewest indices, largest ranks first, whose masses reach `wanted`, ascending; at least one.

    Sorting a vocabulary takes milliseconds, and few indices nearly always suffice: try the largest few first.
    """
    count = 128
    while True:
        candidates = largest(ranks, count)
        order = candidates[np.argsort(-ranks[candidates], kind="stable")]
        cumulative = np.cumsum(masses[order], dtype=np.float64)
        if cumulative[-1] >= wanted or len(candidates) == len(ranks):
            return np.sort(order[: int(np.searchsorted(cumulative, wanted)) + 1])
        count *= 8


def _mirostat(weights: LogitsRow, limit: float) -> Ids:
    """The indices whose surprisal is at most `limit` bits, ascending; at least the most likely."""
    total = float(weights.sum(dtype=np.float64))
    kept = np.flatnonzero(weights >= total * 2.0**-limit)
    return kept if len(kept) else np.array([int(weights.argmax())])
