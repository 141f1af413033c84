"""Logits to tokens. Each row is treated alone, so a token never depends on who else is in the batch.

The order of the steps is fixed, so that a seed gives the same text in every release: penalties, logit_bias,
grammar, min_tokens (logits.py), temperature, top_k, typical_p, top_p, min_p, then a draw by inverse CDF in float64 over
ascending token ids. Mirostat takes the place of the four filters.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from crossette.engines.grammar.compiler import Matcher
from crossette.engines.openvino.logits import LogitsProcessor, Row
from crossette.engines.openvino.top_k import Ids, largest
from crossette.types import SamplingParams

_SEED_MASK = 2**64 - 1
_BLOCK = 256


class TokenSampler:
    """Draws the tokens of one sequence. Its state is a function of the tokens drawn so far, and of nothing else."""

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
        self._surprise_limit = 2 * (params.mirostat_target or 0.0)

    @property
    def takes_best(self) -> bool:
        """Whether the next token is simply the one of the largest logit."""
        return self.params.temperature == 0 and self._processor.idle

    @property
    def forced(self) -> Collection[int]:
        """The next tokens, where the grammar leaves no choice: they need no logits."""
        return self._forced

    @property
    def is_over(self) -> bool:
        """Whether the grammar is satisfied and nothing can follow."""
        return self._matcher is not None and self._matcher.is_over

    def draw(self, logits: Row) -> tuple[int, float]:
        """The next token, and the logarithm of the probability it was drawn with: 0.0 for a greedy one.

        From a row of untouched logits. Ties go to the lowest id. Raises ConstraintFailed at the bounds of a grammar.
        """
        if self._forced:
            return self._forced[0], 0.0
        row = self._processor.apply(logits)
        if self.params.temperature == 0:
            return int(row.argmax()), 0.0
        number = uniform(self._seed, self._position)
        token, probability = pick(row, self.params, number, self._surprise_limit)
        if self.params.mirostat_target is not None:
            self._steer(probability)
        return token, math.log(probability)

    def accept_token(self, token: int) -> None:
        """Take a token into the output: the next draw is one position further."""
        self._position += 1
        self._processor.accept_token(token)
        if self._forced:
            self._forced.popleft()
        if self._matcher is not None and not self._forced:
            self._forced.extend(self._matcher.forced())

    def _steer(self, probability: float) -> None:
        """Mirostat 2 (Basu et al. 2021): move the limit against the error in surprise."""
        assert self.params.mirostat_target is not None
        error = -math.log2(probability) - self.params.mirostat_target
        self._surprise_limit -= self.params.mirostat_lr * error


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) that depends on nothing but its arguments: Philox, a counter-based generator."""
    bits = np.random.Philox(key=seed & _SEED_MASK, counter=position)
    return float(np.random.Generator(bits).random())


def pick(row: Row, params: SamplingParams, number: float, surprise_limit: float = 0.0) -> tuple[int, float]:
    """The token that `number` in [0, 1) selects from the filtered distribution, and its probability in it.

    The temperature must not be 0. `surprise_limit`, in bits, is mirostat's filter.
    """
    ids: Ids | None = None
    if params.top_k > 0 and params.mirostat_target is None:
        ids = largest(row, params.top_k)  # of the logits: the order is that of the weights, and the rest needs none
        row = row[ids]
    weights = _weights(row, params.temperature)
    for kept_of in _filters(params, surprise_limit):
        kept = kept_of(weights)
        ids = kept if ids is None else ids[kept]
        weights = weights[kept]
    place, probability = _inverse_cdf(weights, number)
    return place if ids is None else int(ids[place]), probability


def _filters(params: SamplingParams, surprise_limit: float) -> Iterator[Callable[[Row], Ids]]:
    """What narrows the weights after top_k, in order: each gives the places that it keeps, ascending."""
    if params.mirostat_target is not None:
        yield lambda weights: _unsurprising(weights, surprise_limit)
        return
    if params.typical_p < 1:
        yield lambda weights: _typical(weights, params.typical_p)
    if params.top_p < 1:
        yield lambda weights: _nucleus(weights, params.top_p)
    if params.min_p > 0:
        yield lambda weights: np.flatnonzero(weights >= params.min_p * weights.max())


def _weights(row: Row, temperature: float) -> Row:
    """Probabilities up to a factor: the likeliest token weighs 1."""
    divisor = max(np.float32(temperature), np.finfo(np.float32).tiny)  # 1e-50 would become 0, and 0/0
    with np.errstate(over="ignore"):  # a tiny temperature sends all but the best to minus infinity, as it should
        weights: Row = np.exp((row - row.max()) / divisor)
    return weights


def _inverse_cdf(weights: Row, number: float) -> tuple[int, float]:
    """The place that `number` in [0, 1) selects, and its probability.

    Summed in blocks, and running along one of them only: a running sum of a vocabulary takes ten times as long.
    """
    num_whole = len(weights) // _BLOCK * _BLOCK
    sums = weights[:num_whole].reshape(-1, _BLOCK).sum(axis=1, dtype=np.float64)
    ends = np.cumsum(np.append(sums, weights[num_whole:].sum(dtype=np.float64)))
    total = float(ends[-1])
    target = min(number * total, math.nextafter(total, 0))  # a product may round up to the whole
    block = int(np.searchsorted(ends, target, side="right"))
    inside = weights[block * _BLOCK : (block + 1) * _BLOCK]
    cumulative = np.cumsum(inside, dtype=np.float64) + (ends[block - 1] if block else 0.0)
    place = int(np.searchsorted(cumulative, target, side="right"))
    if place == len(inside):  # the block's sum was rounded above its running sum
        place = int(np.flatnonzero(inside)[-1])
    return block * _BLOCK + place, float(inside[place]) / total


def _nucleus(weights: Row, top_p: float) -> Ids:
    """The fewest places whose weights reach `top_p` of the whole, ascending; at least one, ties to the lowest."""
    return _reaching(weights, weights, top_p * float(weights.sum(dtype=np.float64)))


def _typical(weights: Row, mass: float) -> Ids:
    """The places of locally typical tokens (Meister et al. 2022), ascending; at least one."""
    probabilities = weights / weights.sum(dtype=np.float64)
    with np.errstate(divide="ignore"):
        surprise = -np.log(probabilities)
    entropy = float((probabilities * np.where(probabilities > 0, surprise, 0)).sum())
    return _reaching(-np.abs(surprise - entropy), probabilities, mass)


def _reaching(ranks: npt.NDArray[np.floating], masses: npt.NDArray[np.floating], wanted: float) -> Ids:
    """The fewest places, largest ranks first, whose masses reach `wanted`, ascending; at least one.

    Sorting a vocabulary takes milliseconds, and few places are nearly always enough: try the largest few first.
    """
    count = 128
    while True:
        candidates = largest(ranks, count)
        order = candidates[np.argsort(-ranks[candidates], kind="stable")]
        cumulative = np.cumsum(masses[order], dtype=np.float64)
        if cumulative[-1] >= wanted or len(candidates) == len(ranks):
            return np.sort(order[: int(np.searchsorted(cumulative, wanted)) + 1])
        count *= 8


def _unsurprising(weights: Row, limit: float) -> Ids:
    """The ids whose surprise is at most `limit` bits, ascending; at least the likeliest."""
    whole = float(weights.sum(dtype=np.float64))
    kept = np.flatnonzero(weights >= whole * 2.0**-limit)
    return kept if len(kept) else np.array([int(weights.argmax())])
