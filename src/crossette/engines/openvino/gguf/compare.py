"""Two models on one text: how far the logprobs of one are from those of the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Position by position: each array is `[positions]`, a position for each token that another one follows."""

    kl: Doubles
    """Of the reference's distribution against the other, in nats."""
    expected: Doubles
    """The reference's logprob of the token that follows."""
    found: Doubles
    agrees: npt.NDArray[np.bool_]
    """Whether both find the same token the likeliest."""
    lead: Doubles
    """How much likelier the reference finds its first token than its second, in nats."""
    entropy: Doubles
    """Of the reference's distribution, in nats."""

    @property
    def mean(self) -> float:
        """Mean difference of a logprob."""
        return float(np.abs(self.expected - self.found).mean())

    @property
    def largest(self) -> float:
        """Largest difference of a logprob."""
        return float(np.abs(self.expected - self.found).max())


def compare(expected: Floats, found: Floats, tokens: Sequence[int]) -> Comparison:
    """Logits `[tokens, vocabulary]` of the reference and of another model on the same text."""
    a, b = (_logprobs(logits[:-1]) for logits in (expected, found))
    places, following = np.arange(len(a)), np.asarray(tokens[1:])
    probabilities = np.exp(a)
    first_two = np.partition(a, -2, axis=-1)[:, -2:]
    return Comparison(
        kl=(probabilities * (a - b)).sum(-1),
        expected=a[places, following],
        found=b[places, following],
        agrees=a.argmax(-1) == b.argmax(-1),
        lead=first_two[:, 1] - first_two[:, 0],
        entropy=-(probabilities * a).sum(-1),
    )


def joined(several: Sequence[Comparison]) -> Comparison:
    """The positions of several texts as those of one."""
    fields = ("kl", "expected", "found", "agrees", "lead", "entropy")
    return Comparison(*(np.concatenate([getattr(one, field) for one in several]) for field in fields))


def _logprobs(logits: Floats) -> Doubles:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)), np.float64)
