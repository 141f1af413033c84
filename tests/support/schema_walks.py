"""Texts that constraints allow, random or from a model, and their validation by an independent validator."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import jsonschema_rs
import pytest

from crossette.engine import Engine
from crossette.engines.grammar.compiler import Matcher
from crossette.testing.fake_tokenizer import IM_END
from crossette.types import Constraint
from support.engine_calls import ChoiceOutput, ask, make_request, run

MAX_TOKENS = 1500
MAX_STEERED = 330
"""Enough for the longest address, and for the longest string of tests/support/schema_pairs.py."""
LONG = 60
"""Bytes after which a walk prefers tokens that end: random tokens end a string after a hundred bytes, and no list."""
ENDING = (IM_END, *b'"}])')
"""Tokens that close a string, an array or an object, or end the text."""
SAMPLE_SIZE, ALL_SCHEMAS = 40, 10**6
"""How many schemas a model is tested with by default, and with `--corpus`."""

corpus_of_models = pytest.mark.parametrize(
    "limit",
    [
        pytest.param(SAMPLE_SIZE, id="sample"),
        pytest.param(ALL_SCHEMAS, marks=[pytest.mark.corpus, pytest.mark.timeout(3600)]),
    ],
)


def walk(matcher: Matcher, rng: random.Random) -> bytes | None:
    """A random text that the grammar allows; None if it has not ended after `MAX_TOKENS`."""
    output = bytearray()
    while not matcher.is_over and len(output) < MAX_TOKENS:
        allowed = {int(token) for token in matcher.allowed().nonzero()[0]}
        ends = [token for token in ENDING if token in allowed] if len(output) > LONG else []
        token = ends[0] if ends else rng.choice(sorted(allowed))
        if token == IM_END:
            break
        output.append(token)
        matcher.accept_token(token)
    return bytes(output) if matcher.is_accepting else None


def uneven_walk(matcher: Matcher, rng: random.Random) -> bytes | None:
    """A random text in which some bytes are a thousand times as likely as others, and other bytes after a while.

    So there are long runs of one kind, many digits, many labels, and ends as early or as late as possible.
    """
    weights, output = _weights(rng), bytearray()
    turn, patience = rng.choice([0.2, 0.05, 0.01]), rng.choice([0, LONG, 5 * LONG])
    while not matcher.is_over and len(output) < MAX_TOKENS:
        allowed = [int(token) for token in matcher.allowed().nonzero()[0]]
        ends = [token for token in ENDING if token in allowed] if len(output) > patience else []
        token = ends[0] if ends else rng.choices(allowed, [weights[token] for token in allowed])[0]
        if token == IM_END:
            break
        output.append(token)
        matcher.accept_token(token)
        weights = _weights(rng) if rng.random() < turn else weights
    return bytes(output) if matcher.is_accepting else None


def _weights(rng: random.Random) -> list[float]:
    """The weight of each token: equal, or different by factors of up to ten to the sixteenth."""
    spread = rng.choice([0, 1, 2, 4, 8])
    weights = [10 ** rng.uniform(-spread, spread) for _ in range(IM_END + 1)]
    for token in rng.sample(range(32, 127), 3):
        weights[token] *= 10 ** rng.choice([0, 2, 4])
    for token in ENDING:
        weights[token] *= 10 ** rng.uniform(-6, 3)
    return weights


def steered_walk(matcher: Matcher, wanted: bytes, *, to_end: bool) -> bytes | None:
    """Take the first allowed byte of `wanted` at each step. With `to_end`, prefer tokens that end the text."""
    output = bytearray()
    while not matcher.is_over and len(output) < MAX_STEERED:
        allowed = [int(token) for token in matcher.allowed().nonzero()[0]]
        order = (
            [*ENDING, *wanted] if to_end else [*wanted, *(token for token in allowed if token not in ENDING), *ENDING]
        )
        token = next((token for token in order if token in allowed), allowed[0])
        if token == IM_END:
            break
        output.append(token)
        matcher.accept_token(token)
    return bytes(output) if matcher.is_accepting else None


def accepts(matcher: Matcher, text: str) -> bool:
    """Whether the grammar allows all of a text, and may end after it."""
    for byte in text.encode():
        if not matcher.allowed()[byte]:
            return False
        matcher.accept_token(byte)
    return matcher.is_accepting


def verdict(schema: Any, text: str | None) -> str:
    """Validate a text by a validator that knows only the schema as sent."""
    if text is None:
        return "unfinished"
    value = json.loads(text, parse_float=lambda digits: min(float(digits), 1e300), parse_int=int)
    return "valid" if jsonschema_rs.is_valid(schema, value, validate_formats=True) else f"INVALID {schema}: {text}"


def sampled(schemas: Sequence[Any], limit: int) -> Sequence[Any]:
    """At most `limit` schemas, evenly spread over the corpus."""
    step = max(1, len(schemas) / limit)
    return [schemas[int(index * step)] for index in range(min(limit, len(schemas)))]


def generate(engine: Engine, requests: Sequence[tuple[str, Constraint]], max_tokens: int) -> list[ChoiceOutput]:
    """Generate answers to prompts with constraints, at temperature 1, all in parallel."""
    for _, constraint in requests:
        engine.prepare(constraint)

    async def one(prompt: str, constraint: Constraint) -> ChoiceOutput:
        request = make_request(
            tuple(engine.tokenizer.encode(prompt, specials=False)),
            constraint=constraint,
            max_tokens=max_tokens,
            temperature=1.0,
            seed=5,
            ignore_eos=False,
            end_token_ids=engine.info.end_token_ids,
        )
        return (await ask(engine, request))[0]

    async def all_answers() -> list[ChoiceOutput]:
        return await asyncio.gather(*(one(prompt, constraint) for prompt, constraint in requests))

    return run(all_answers(), limit_s=3000)


def report(capsys: pytest.CaptureFixture[str], what: str, counts: Counter[str]) -> None:
    """Print the counts, and fail if there is any other verdict."""
    with capsys.disabled():
        listed = ", ".join(f"{counts[name]} {name}" for name in ("valid", "unfinished", "refused"))
        print(f"\n{what}: {listed}, {sum(counts.values()) - sum(map(counts.__getitem__, KNOWN))} invalid")
    assert set(counts) <= KNOWN


KNOWN = frozenset({"valid", "unfinished", "refused"})
