"""Texts that constraints let out, by chance or by a model, and what a validator of its own says of them."""

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
from crossette.testing.fake_engine import IM_END
from crossette.types import Constraint
from support.engine_calls import Said, ask, make_request, run

MAX_TOKENS = 1500
MAX_STEERED = 330
"""Enough for the longest address, and for the longest string of tests/support/schema_pairs.py."""
LONG = 60
"""Bytes after which a walk ends what it can: chance alone leaves one string in a hundred bytes, and lists never."""
ENDING = (IM_END, *b'"}])')
"""Tokens that bring a text nearer its end."""
SHORT_FORM, WHOLE = 40, 10**6
"""How many schemas a model is held to by default, and with `--corpus`."""

corpus_of_models = pytest.mark.parametrize(
    "limit",
    [pytest.param(SHORT_FORM, id="sample"), pytest.param(WHOLE, marks=[pytest.mark.corpus, pytest.mark.timeout(3600)])],
)


def walk(matcher: Matcher, rng: random.Random) -> bytes | None:
    """A text that the grammar allows, by chance; None if it has no end by `MAX_TOKENS`."""
    said = bytearray()
    while not matcher.is_over and len(said) < MAX_TOKENS:
        allowed = {int(token) for token in matcher.allowed().nonzero()[0]}
        ends = [token for token in ENDING if token in allowed] if len(said) > LONG else []
        token = ends[0] if ends else rng.choice(sorted(allowed))
        if token == IM_END:
            break
        said.append(token)
        matcher.note(token)
    return bytes(said) if matcher.is_accepting else None


def uneven_walk(matcher: Matcher, rng: random.Random) -> bytes | None:
    """A text in which some bytes are a thousand times as likely as others, and others after a while.

    So there are long runs of one kind, many digits, many labels, and ends as early or as late as can be.
    """
    weights, said = _weights(rng), bytearray()
    turn, patience = rng.choice([0.2, 0.05, 0.01]), rng.choice([0, LONG, 5 * LONG])
    while not matcher.is_over and len(said) < MAX_TOKENS:
        allowed = [int(token) for token in matcher.allowed().nonzero()[0]]
        ends = [token for token in ENDING if token in allowed] if len(said) > patience else []
        token = ends[0] if ends else rng.choices(allowed, [weights[token] for token in allowed])[0]
        if token == IM_END:
            break
        said.append(token)
        matcher.note(token)
        weights = _weights(rng) if rng.random() < turn else weights
    return bytes(said) if matcher.is_accepting else None


def _weights(rng: random.Random) -> list[float]:
    """Of every token: equal, or apart by factors of up to ten to the sixteenth."""
    spread = rng.choice([0, 1, 2, 4, 8])
    weights = [10 ** rng.uniform(-spread, spread) for _ in range(IM_END + 1)]
    for token in rng.sample(range(32, 127), 3):
        weights[token] *= 10 ** rng.choice([0, 2, 4])
    for token in ENDING:
        weights[token] *= 10 ** rng.uniform(-6, 3)
    return weights


def steered_walk(matcher: Matcher, wanted: bytes, *, to_end: bool) -> bytes | None:
    """The first of the wanted bytes that is allowed, each time; ends before them, or where nothing else is left."""
    said = bytearray()
    while not matcher.is_over and len(said) < MAX_STEERED:
        allowed = [int(token) for token in matcher.allowed().nonzero()[0]]
        order = (
            [*ENDING, *wanted] if to_end else [*wanted, *(token for token in allowed if token not in ENDING), *ENDING]
        )
        token = next((token for token in order if token in allowed), allowed[0])
        if token == IM_END:
            break
        said.append(token)
        matcher.note(token)
    return bytes(said) if matcher.is_accepting else None


def accepts(matcher: Matcher, text: str) -> bool:
    """Whether the grammar lets out a text, to its end."""
    for byte in text.encode():
        if not matcher.allowed()[byte]:
            return False
        matcher.note(byte)
    return matcher.is_accepting


def verdict(schema: Any, text: str | None) -> str:
    """By a validator that is told of nothing but the schema, as it was sent."""
    if text is None:
        return "unfinished"
    value = json.loads(text, parse_float=lambda digits: min(float(digits), 1e300), parse_int=int)
    return "valid" if jsonschema_rs.is_valid(schema, value, validate_formats=True) else f"INVALID {schema}: {text}"


def sampled(schemas: Sequence[Any], limit: int) -> Sequence[Any]:
    """At most `limit` of them, from all over the corpus."""
    step = max(1, len(schemas) / limit)
    return [schemas[int(place * step)] for place in range(min(limit, len(schemas)))]


def said_by(engine: Engine, asked: Sequence[tuple[str, Constraint]], max_tokens: int) -> list[Said]:
    """What a model says to prompts under constraints, at temperature 1. All at once: the engine takes what it can."""
    for _, constraint in asked:
        engine.prepare(constraint)

    async def say(prompt: str, constraint: Constraint) -> Said:
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

    async def all_of_them() -> list[Said]:
        return await asyncio.gather(*(say(prompt, constraint) for prompt, constraint in asked))

    return run(all_of_them(), limit_s=3000)


def shown(capsys: pytest.CaptureFixture[str], what: str, counts: Counter[str]) -> None:
    """Print counts, and fail if anything but these was seen."""
    with capsys.disabled():
        told = ", ".join(f"{counts[name]} {name}" for name in ("valid", "unfinished", "refused"))
        print(f"\n{what}: {told}, {sum(counts.values()) - sum(map(counts.__getitem__, KNOWN))} invalid")
    assert set(counts) <= KNOWN


KNOWN = frozenset({"valid", "unfinished", "refused"})
