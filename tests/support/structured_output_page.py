"""docs/structured-output.md, printed from the keywords: `scripts/docs` writes it, and a test compares it with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from crossette.text.schema.formats import ALIASES, CHECKED_FORMATS, FORMAT_SCHEMAS, FORMATS, INTEGER_FORMATS
from crossette.text.schema.keywords import ANNOTATIONS, COPIED, LIMITED, NO_EFFECT_ALONE, REPLACED, REWRITTEN

PAGE = Path(__file__).parents[2] / "docs/structured-output.md"

HEAD = """\
# Structured output

A JSON schema comes as `response_format`, as `guided_json` or `structured_outputs.json`, or as the `parameters` of a
tool. A grammar enforces it token by token, and a validator that is independent of the grammar checks every finished
answer and call.

Some keywords cannot be enforced token by token. `strict: true`, in `response_format.json_schema` or in a function,
refuses them: the error is a 400 with the JSON pointer and the keyword of each. Otherwise they are left out of the
grammar, and only the validator checks them. The header `x-crossette-checked` lists them, the log does, too.

Nor can all schemas of one value be combined: overlapping patterns of names, or several long patterns of a string, from
different parts of an `allOf`. As many as possible are enforced together. The others are treated in the same way, with
the pointer of the schema in place of a keyword.

An answer that fails the check is sampled again within the same request, up to `--max-attempts` times in all (4). The
seed of attempt k is derived from the request's seed, the choice's index and k, so the same request gives the same text.
The tokens of all attempts count, in `usage` (`completion_tokens_details.retried_tokens` are those of failed attempts),
limits, budgets and the ledger; a key's budget is reserved for all attempts. At `temperature` 0 another attempt would
give the same text, so the request ends at once. After the last attempt the request ends with the error
`constraint_failed`, a 500 or an event of the stream, which names the pointer and the keyword.

A stream cannot take back what it sent, so the value, or a call, is held until it is valid; comment lines keep the
connection open meanwhile. Reasoning, and text before a call, stream as they come. Once some of it was sent, a failed
check ends the request. What `max_tokens` cuts is not checked.

The grammar closes an object with `properties` and no rule for additional ones, as with `additionalProperties: false`:
small models fill an open object with endless keys. A property that is required and not listed may have any value.
Objects have their properties in the order of the schema, and required ones that it does not list after them.

Without `$schema` a schema is of draft 2020-12, and may have `items` as a list, `dependencies`, and exclusive bounds as
booleans, of older drafts, and `nullable` next to `type`, of OpenAPI 3.0. A boolean as `required`, of draft 3, names a
required property, and an unknown `$schema` is ignored; the notes report both, and `strict` refuses them.
`$ref` resolves against the nearest `$id`; a reference to anything outside the schema is an error.

Names of keywords are compared as they are. A misspelled one is an annotation, which the header
`x-crossette-schema-notes` and the log report.

`scripts/docs` prints this page from `src/crossette/text/schema/keywords.py` and `formats.py`.
"""

ALWAYS = "always"

_PER_ROW = 8


def page() -> str:
    return "\n".join([HEAD, *_keywords(), "", *_formats(), ""])


def _keywords() -> Iterator[str]:
    yield from (
        "## Keywords",
        "",
        "| keyword | enforced token by token | otherwise | with `strict` |",
        "|---|---|---|---|",
    )
    enforced = {**dict.fromkeys(COPIED | REWRITTEN, ALWAYS), **{name: one.enforced for name, one in LIMITED.items()}}
    enforced |= {name: one.enforced for name, one in REPLACED.items()}
    for name, when in sorted(enforced.items(), key=lambda pair: pair[0].lower()):
        if when == ALWAYS:
            yield f"| `{name}` | always | | |"
        else:
            yield f"| `{name}` | {when.replace('|', '&#124;')} | checked afterwards | refused |"
    for name, needed in sorted(NO_EFFECT_ALONE.items()):
        if name not in enforced:
            yield f"| `{name}` | with `{needed}`; an annotation without it | | |"
    names = sorted(ANNOTATIONS)
    for begin in range(0, len(names), _PER_ROW):
        yield f"| {_listed(names[begin : begin + _PER_ROW])} | annotation: no value violates it | | |"
    yield "| any other name | annotation | | |"


def _formats() -> Iterator[str]:
    yield from ("## Formats", "", "| `format` | what it is |", "|---|---|")
    yield f"| {_listed({*FORMATS, *FORMAT_SCHEMAS})} | enforced token by token |"
    yield f"| {_listed(ALIASES)} | enforced, as {_listed(set(ALIASES.values()))} |"
    yield f"| {_listed(INTEGER_FORMATS)} | bounds of integers, up to 2**53 |"
    yield f"| {_listed(CHECKED_FORMATS)} | checked afterwards; refused with `strict` |"
    yield "| any other | annotation |"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
