"""Compare the logprobs of two models on one text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Per-position results: each array is `[positions]`, one for each token but the last."""

    kl: Doubles
    """KL divergence of the reference's distribution from the other, in nats."""
    expected: Doubles
    """The reference's logprob of the next token."""
    found: Doubles
    """The other model's logprob of the next token."""
    agrees: npt.NDArray[np.bool_]
    """Whether both have the same most likely token."""
    lead: Doubles
    """Logprob difference of the reference's two most likely tokens, in nats."""
    entropy: Doubles
    """Entropy of the reference's distribution, in nats."""

    @property
    def mean(self) -> float:
        """Mean absolute logprob difference."""
        return float(np.abs(self.expected - self.found).mean())

    @property
    def largest(self) -> float:
        """Largest absolute logprob difference."""
        return float(np.abs(self.expected - self.found).max())


def compare(expected: Floats, found: Floats, tokens: Sequence[int]) -> Comparison:
    """Compare logits `[tokens, vocabulary]` of the reference and of another model on the same text."""
    a, b = (_logprobs(logits[:-1]) for logits in (expected, found))
    positions, following = np.arange(len(a)), np.asarray(tokens[1:])
    probabilities = np.exp(a)
    first_two = np.partition(a, -2, axis=-1)[:, -2:]
    return Comparison(
        kl=(probabilities * (a - b)).sum(-1),
        expected=a[positions, following],
        found=b[positions, following],
        agrees=a.argmax(-1) == b.argmax(-1),
        lead=first_two[:, 1] - first_two[:, 0],
        entropy=-(probabilities * a).sum(-1),
    )


def joined(several: Sequence[Comparison]) -> Comparison:
    """Concatenate the positions of several texts."""
    fields = ("kl", "expected", "found", "agrees", "lead", "entropy")
    return Comparison(*(np.concatenate([getattr(one, field) for one in several]) for field in fields))


def _logprobs(logits: Floats) -> Doubles:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)), np.float64)
