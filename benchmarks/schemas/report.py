"""The results as a page."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from common import machine

from schemas.pool import Measured
from schemas.serving import MAX_TOKENS, Outcome, Way
from schemas.walks import Walk

MARK = "schemas"
NUM_REFUSALS = 15
LEFT = "invalid, left to validation"
"""An invalid instance that the mask allows and validation rejects: its schema is refused with `strict`."""

_TOTAL = "all"
_WALKS = (*(walk.value for walk in Walk), LEFT)


def report(measured: Sequence[Measured], file: str, command: str) -> str:
    """Three tables: what became of the schemas, why some are refused, and what became of their instances."""
    lines = [
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}; crossette {version('crossette')}, "
        f"llguidance {version('llguidance')}, jsonschema-rs {version('jsonschema-rs')}, "
        f"jsonschema {version('jsonschema')}.",
        f"{len(measured)} schemas of `{file}`. Command: `{command}`",
        "",
        "Schemas: as a response format / with `strict` / as parameters of a tool, where they are of an object.",
        f"Served: a random walk ended by itself within {MAX_TOKENS} tokens, and both validators accept it.",
        "constraint_failed: the walk violates a keyword that is left to validation.",
        "",
        *_schemas(measured),
        "",
        "Refused, by keyword:",
        "",
        *_refusals(measured),
        "",
        "Instances that come with the schemas, walked through the mask of the response format:",
        "",
        *_instances(measured),
    ]
    return "\n".join(lines)


def failures(measured: Sequence[Measured]) -> list[str]:
    """A line for everything that must not be: invalid texts, 5xx, hangs, and instances on the wrong side."""
    lines = []
    for one in measured:
        name = f"{one.case.family}/{one.case.name}"
        for way, answer in one.answers.items():
            expected = answer.outcome == Outcome.CONSTRAINT_FAILED and _is_checked(one)
            if answer.outcome not in (Outcome.SERVED, Outcome.REFUSED, Outcome.CUT) and not expected:
                lines.append(f"{name}: {way}: {answer.outcome}: {answer.detail}")
        for walk, detail in _walks(one):
            if walk in (Walk.FORBIDDEN, Walk.UNCHECKED):
                lines.append(f"{name}: {walk}: {detail}")
        if one.walks is None and Outcome.HANG not in [answer.outcome for answer in one.answers.values()]:
            lines.append(f"{name}: walking its instances takes too long")
    return lines


def keyword_of(message: str) -> str:
    """The keyword that a refusal names, or what it says without the names that it quotes."""
    if "cannot be enforced: the schema at '" in message and "no value matches" not in message:
        return "schemas that cannot be combined"
    if found := re.search(r"'([$\w]+)' at '", message):
        return f"`{found[1]}`"
    if found := re.search(r"cannot be enforced at '[^']*': (.*)", message):
        keyword = re.match(r"'(\w+)'", found[1])
        return f"`{keyword[1]}`, by the compiler" if keyword else f"compiler: {_plain(found[1])}"
    return _plain(message.partition("cannot be enforced: ")[2] or message)


def _plain(message: str) -> str:
    text = re.sub(r"'[^']*'|\d+", "…", message.split(": ")[0].split(". ")[0])
    return re.sub(r"[|\s]+", " ", text)[:70].strip()


def _schemas(measured: Sequence[Measured]) -> Iterable[str]:
    yield _row("family", "schemas", *Outcome, "llguidance alone")
    yield _row(*["---"] * (3 + len(Outcome)))
    for family, ones in _by_family(measured):
        sent = " / ".join(str(sum(way in one.answers for one in ones)) for way in Way)
        cells = [_cell(ones, outcome) for outcome in Outcome]
        yield _row(family, sent, *cells, sum(one.llguidance == "" for one in ones))


def _cell(ones: Sequence[Measured], outcome: Outcome) -> str:
    counts = [sum(way in one.answers and one.answers[way].outcome == outcome for one in ones) for way in Way]
    return " / ".join(map(str, counts)) if any(counts) else "0"


def _refusals(measured: Sequence[Measured]) -> Iterable[str]:
    yield _row("keyword", *Way)
    yield _row(*["---"] * (1 + len(Way)))
    counts: Counter[tuple[str, Way]] = Counter()
    for one in measured:
        for way, answer in one.answers.items():
            if answer.outcome == Outcome.REFUSED:
                counts[keyword_of(answer.detail), way] += 1
    totals = Counter(keyword for keyword, _ in counts.elements())
    for keyword, _ in totals.most_common(NUM_REFUSALS):
        yield _row(keyword, *(counts[keyword, way] for way in Way))
    rest = [keyword for keyword, _ in totals.most_common()[NUM_REFUSALS:]]
    if rest:
        yield _row(f"{len(rest)} others", *(sum(counts[keyword, way] for keyword in rest) for way in Way))


def _instances(measured: Sequence[Measured]) -> Iterable[str]:
    yield _row("family", *_WALKS)
    yield _row(*["---"] * (1 + len(_WALKS)))
    for family, ones in _by_family(measured):
        counts = Counter(walk for one in ones for walk, _ in _walks(one))
        yield _row(family, *(counts[walk] for walk in _WALKS))


def _walks(one: Measured) -> list[tuple[str, str]]:
    return [
        (LEFT if _is_checked(one) and walked.walk == Walk.UNCHECKED else walked.walk.value, walked.detail)
        for walked in one.walks or ()
    ]


def _is_checked(one: Measured) -> bool:
    """Whether some keyword is left to validation: random text need not match it."""
    strict = one.answers.get(Way.STRICT)
    return strict is not None and strict.outcome == Outcome.REFUSED


def _by_family(measured: Sequence[Measured]) -> Iterable[tuple[str, Sequence[Measured]]]:
    for family in sorted({one.case.family for one in measured}):
        yield family, [one for one in measured if one.case.family == family]
    yield _TOTAL, measured


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"
