"""Schemas with keywords that are left to validation, answered by a real model at temperature 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
from common import crossette, serving

from crossette.api.http import HttpSettings
from schemas.cases import Case
from schemas.pool import Measured
from schemas.serving import Outcome, Way, answer_of, request_body

MAX_TOKENS = 500
"""A small model repeats itself; an answer that is cut cannot fail its check."""
TOGETHER = 8


def sampled(measured: Sequence[Measured], seed: int) -> list[str]:
    """A paragraph: how many answers of the default model end in `constraint_failed`."""
    asked = [(one.case, way) for one in measured for way in _ways_checked(one)]
    num_accepted = sum(answer.outcome != Outcome.REFUSED for one in measured for answer in one.answers.values())
    counts = Counter(_outcomes(asked, seed))
    failed = counts[Outcome.CONSTRAINT_FAILED]
    listed = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    return [
        f"The default model at temperature 1, up to {MAX_TOKENS} tokens and {HttpSettings().max_attempts} attempts, "
        f"with the {len(asked)} requests of which a keyword is left to validation: {listed or 'none'}.",
        f"constraint_failed: {failed} of the {num_accepted} requests that are accepted, "
        f"{100 * failed / max(num_accepted, 1):.1f} %.",
    ]


def _ways_checked(one: Measured) -> Iterator[Way]:
    """The ways in which the schema is served although `strict` refuses it."""
    strict = one.answers.get(Way.STRICT)
    if strict is None or strict.outcome != Outcome.REFUSED:
        return
    for way in (Way.PLAIN, Way.TOOL):
        answer = one.answers.get(way)
        if answer is not None and answer.outcome in (Outcome.SERVED, Outcome.CUT, Outcome.CONSTRAINT_FAILED):
            yield way


def _outcomes(asked: Sequence[tuple[Case, Way]], seed: int) -> list[Outcome]:
    if not asked:
        return []
    with (
        serving(crossette()) as served,
        httpx.Client(timeout=None) as client,
        ThreadPoolExecutor(TOGETHER) as threads,
    ):

        def ask(case: Case, way: Way) -> Outcome:
            sampling = {"temperature": 1, "seed": seed, "max_tokens": MAX_TOKENS}
            response = client.post(
                f"{served.url}/chat/completions", json=request_body(case, way, served.model) | sampling
            )
            return answer_of(case, response).outcome

        return list(threads.map(lambda one: ask(*one), asked))
