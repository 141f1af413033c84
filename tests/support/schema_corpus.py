"""A corpus of JSON Schemas: generated families, and schemas as real programs send them.

`ACCEPTED` must be enforced; `REFUSED` must be rejected with a pointer and a keyword; `random_schemas` may be either.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

Schema = Any  # JSON

INTEGER: Schema = {"type": "integer", "minimum": 0, "maximum": 99}
FLAG: Schema = {"type": "boolean"}
WORD: Schema = {"type": "string", "pattern": "^[a-z]{1,8}$"}
NOTHING: Schema = {"type": "null"}
DRAFTS = {
    4: "http://json-schema.org/draft-04/schema#",
    6: "http://json-schema.org/draft-06/schema#",
    7: "http://json-schema.org/draft-07/schema#",
    2019: "https://json-schema.org/draft/2019-09/schema",
    2020: "https://json-schema.org/draft/2020-12/schema",
}


def closed(required: list[str] | None = None, **properties: Schema) -> Schema:
    wanted = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": wanted, "additionalProperties": False}


def texts() -> Iterator[Schema]:
    yield {"type": "string"}
    for low in (0, 1, 3, 10):
        yield {"type": "string", "minLength": low}
        yield {"type": "string", "maxLength": low}
        yield {"type": "string", "minLength": low, "maxLength": low + 4}
    for name in ("date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"):
        yield {"type": "string", "format": name}
        yield {"anyOf": [{"type": "string", "format": name}, NOTHING]}
    yield {"type": "string", "format": "date", "pattern": "^20"}
    yield {"type": "string", "format": "date-time", "maxLength": 25}
    for pattern in PATTERNS:
        yield {"type": "string", "pattern": pattern}
    for pattern in ("^[a-c]+$", "[0-9]", "^x"):
        yield {"type": "string", "pattern": pattern, "minLength": 2, "maxLength": 6}
    yield {"allOf": [{"type": "string", "pattern": "^a"}, {"pattern": "^.b"}, {"maxLength": 5}]}


PATTERNS = (
    *(
        r"^\d{3}-\d{4}$",
        r"^\w+$",
        r"^\s\S$",
        r"^\D\W$",
        r"^[\w-]{2,5}$",
        r"^[^\s\d]{1,4}$",
        r"^.{1,5}$",
        r"^[^a-z]{2}$",
    ),
    *(
        r"^(foo|bar)+$",
        r"^(?:a|b|)c?$",
        r"^a{2,}$",
        r"^a|b$",
        r"x",
        r"^[A-Z][a-z]*( [A-Z][a-z]*)?$",
        r"^\p{Lu}\p{Ll}*$",
    ),
    *(
        r"^[\u00e0-\u00e9]$",
        r"^\u{1F600}$",
        r"^\x41\cJ?$",
        r"^[a&&b]{3}$",
        r"^[[:alpha:]]$",
        r"^[+--]$",
    ),
    *(r"^\/\*\.\?\$$", r"^\"\\$", r"^[\]\[\-^]{2}$", r"^#[0-9a-fA-F]{6}$", r"^(\+|-)?[0-9]+(\.[0-9]+)?$", r"^a+?b*?$"),
    *(r"^(?<year>[0-9]{4})$", r"^(a+)+$", r"^(a|a)*b$", r"^[\s\S]{3}$", r"^v\d+\.\d+(\.\d+)?$", '^é+"$'),
)


def numbers() -> Iterator[Schema]:
    for kind in ("integer", "number"):
        yield {"type": kind}
        for low, high in ((0, 10), (-5, 5), (-100, -90), (7, 7), (0, 2**31), (-(2**53), 2**53), (-(2**63), 2**63 - 1)):
            yield {"type": kind, "minimum": low, "maximum": high}
        yield {"type": kind, "minimum": 1}
        yield {"type": kind, "maximum": -1}
        yield {"type": kind, "exclusiveMinimum": 0}
        yield {"type": kind, "exclusiveMinimum": -1, "exclusiveMaximum": 3}
        yield {"type": kind, "multipleOf": 5}
        yield {"type": kind, "multipleOf": 3, "minimum": 0, "maximum": 100}
        yield {"type": kind, "minimum": 0.5, "maximum": 7.25}
    for step in (0.5, 0.1, 0.01, 2.5):
        yield {"type": "number", "multipleOf": step}
    yield {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
    yield {"type": "number", "minimum": 1e-7, "maximum": 1e-3}
    yield {"$schema": DRAFTS[4], "type": "integer", "minimum": 3, "exclusiveMinimum": True, "maximum": 9}
    yield {"minimum": 3, "maxLength": 2, "maxItems": 1, "maxProperties": 1}


def values() -> Iterator[Schema]:
    yield from (
        {},
        True,
        FLAG,
        NOTHING,
        {"type": "object"},
        {"type": "array"},
        {"title": "t", "default": 1, "x-order": 3},
    )
    for value in (
        None,
        True,
        0,
        -1,
        1.5,
        1e18,
        10**18,
        2**53,
        -0.000125,
        "",
        'é"\\\n\t',
        "</s>",
        [],
        {},
        [1, {"a": None}],
        {"k": ["v"]},
    ):
        yield {"const": value}
        yield {"enum": [value, "other"]}
    yield {"enum": ["a", 1, None, 2.5, True, {"x": [1]}]}
    yield {"type": "string", "enum": ["a", 1, "b"]}
    yield {"type": ["string", "null"], "enum": ["a", None]}
    yield {"enum": [f"choice number {number}" for number in range(300)]}
    for kinds in (["string", "null"], ["integer", "boolean"], ["array", "object", "null"]):
        yield {"type": kinds}


def arrays() -> Iterator[Schema]:
    for items in (
        INTEGER,
        WORD,
        FLAG,
        {"enum": [1, "a"]},
        closed(a=FLAG),
        {"type": "array", "items": FLAG, "maxItems": 2},
    ):
        yield {"type": "array", "items": items}
        for low, high in ((0, 0), (1, 1), (0, 3), (2, 5)):
            yield {"type": "array", "items": items, "minItems": low, "maxItems": high}
    yield {"type": "array", "prefixItems": [INTEGER, WORD]}
    yield {"type": "array", "prefixItems": [INTEGER, WORD], "items": False}
    yield {"type": "array", "prefixItems": [INTEGER, WORD], "items": FLAG, "minItems": 3, "maxItems": 5}
    yield {"type": "array", "prefixItems": [INTEGER, WORD], "minItems": 2, "maxItems": 2}
    yield {"type": "array", "items": False}
    yield {"type": "array", "items": FLAG, "uniqueItems": False, "minItems": 1}
    for draft in (4, 6, 7, 2019):
        yield {"$schema": DRAFTS[draft], "type": "array", "items": [INTEGER, WORD], "additionalItems": False}
        yield {"$schema": DRAFTS[draft], "type": "array", "items": [FLAG], "additionalItems": FLAG, "maxItems": 4}
    yield {"type": "array", "minItems": 40, "items": {"const": 1}, "maxItems": 40}
    yield {"items": FLAG, "minItems": 1, "type": ["array", "null"]}


def objects() -> Iterator[Schema]:
    for required in ([], ["a"], ["b"], ["a", "b", "c"]):
        three = {"a": INTEGER, "b": WORD, "c": FLAG}
        yield {"type": "object", "properties": three, "required": required}
        yield closed(required, **three)
        yield {"type": "object", "properties": three, "required": required, "additionalProperties": INTEGER}
        yield {"properties": three, "required": required, "type": "object", "unevaluatedProperties": False}
    yield {"type": "object", "properties": {"a": INTEGER}, "required": ["a", "z"], "additionalProperties": FLAG}
    yield {"type": "object", "properties": {"a\nb": INTEGER, "c": FLAG}, "additionalProperties": {"type": "string"}}
    yield closed(**{"": FLAG, 'é"\\/~': FLAG, "a b": FLAG})
    yield {"type": "object", "additionalProperties": INTEGER, "propertyNames": {"type": "string"}}
    yield {"type": "object", "additionalProperties": False}
    yield {"type": "object", "properties": {"a": False, "b": FLAG}}
    yield {"type": "object", "required": ["x"]}
    yield {"type": "object", "patternProperties": {"^x_[a-z]+$": INTEGER}}
    yield {
        "type": "object",
        "properties": {"x": FLAG},
        "patternProperties": {"^[0-9]+$": WORD},
        "additionalProperties": False,
    }
    yield {"type": "object", "patternProperties": {"^a": INTEGER, "^b": WORD}, "additionalProperties": FLAG}
    yield {"type": "object", "additionalProperties": FLAG, "minProperties": 1}
    yield {"type": "object", "additionalProperties": FLAG, "maxProperties": 2}
    yield {
        "type": "object",
        "properties": {"a": FLAG},
        "required": ["a"],
        "additionalProperties": FLAG,
        "minProperties": 2,
    }
    nested = closed(leaf=INTEGER)
    for depth in range(1, 12):
        nested = closed(down=nested, level={"const": depth})
        yield nested
    yield closed([], **{f"p{number}": FLAG for number in range(60)})
    yield closed(**{f"p{number}": INTEGER for number in range(40)})


def unions() -> Iterator[Schema]:
    shapes = [closed(kind={"const": kind}, value=value) for kind, value in (("a", INTEGER), ("b", WORD), ("c", FLAG))]
    for keyword in ("anyOf", "oneOf"):
        yield {keyword: [INTEGER, NOTHING]}
        yield {keyword: [{"type": "integer"}, {"type": "string"}, {"type": "array", "items": FLAG}]}
        yield {keyword: shapes}
        yield {"type": "array", "items": {keyword: shapes}, "maxItems": 3}
        yield {keyword: [{"$ref": "#/$defs/0"}, {"$ref": "#/$defs/1"}], "$defs": dict(enumerate_names(shapes))}
    yield {"oneOf": [{"type": "object", "properties": {name: INTEGER}, "required": [name]} for name in "ab"]}
    yield {"type": "object", "properties": {"k": FLAG}, "anyOf": [{"required": ["k"]}, {"type": "object"}]}
    yield {
        "type": "object",
        "properties": {"k": FLAG},
        "required": ["k"],
        "anyOf": [{"properties": {"a": INTEGER}, "required": ["a"]}, {"properties": {"b": WORD}, "required": ["b"]}],
    }
    yield {"allOf": [{"type": "integer"}, {"minimum": 3}, {"maximum": 9}]}
    yield {"allOf": [{"anyOf": [INTEGER, NOTHING]}, {"type": "integer", "minimum": 50}]}
    yield {"allOf": [{"type": "object", "properties": {name: FLAG}, "required": [name]} for name in "abc"]}
    yield {
        "type": "object",
        "properties": {"own": FLAG},
        "allOf": [{"$ref": "#/$defs/base"}],
        "unevaluatedProperties": False,
        "$defs": {"base": {"type": "object", "properties": {"id": INTEGER}, "required": ["id"]}},
    }
    yield {
        "allOf": [
            {"type": "object", "unevaluatedProperties": False, "properties": {"a": FLAG}},
            {"properties": {"a": FLAG, "b": INTEGER}},
        ]
    }
    yield {
        "type": "object",
        "properties": {"a": FLAG, "b": FLAG},
        "anyOf": [{"properties": {"a": FLAG}, "unevaluatedProperties": False}, {"properties": {"c": INTEGER}}],
    }
    yield {"$ref": "#/$defs/a", "maximum": 50, "$defs": {"a": INTEGER}}


def enumerate_names(schemas: list[Schema]) -> Iterator[tuple[str, Schema]]:
    yield from ((str(number), schema) for number, schema in enumerate(schemas))


def references() -> Iterator[Schema]:
    for keyword in ("$defs", "definitions"):
        yield {"$ref": f"#/{keyword}/a", keyword: {"a": INTEGER}}
        yield {"type": "array", "items": {"$ref": f"#/{keyword}/a~1b%25"}, "maxItems": 3, keyword: {"a/b%": FLAG}}
    yield closed(a=INTEGER, b={"$ref": "#/properties/a"})
    yield {"$id": "https://example.com/s.json", "$ref": "https://example.com/s.json#/$defs/a", "$defs": {"a": FLAG}}
    yield closed(value=INTEGER, next={"anyOf": [{"$ref": "#"}, NOTHING]})
    yield closed(left={"anyOf": [{"$ref": "#"}, NOTHING]}, right={"anyOf": [{"$ref": "#"}, NOTHING]})
    yield {"type": "array", "items": {"$ref": "#"}}
    yield {"anyOf": [INTEGER, {"type": "array", "items": {"$ref": "#"}, "minItems": 1, "maxItems": 2}]}
    yield {"type": "object", "additionalProperties": {"anyOf": [FLAG, {"$ref": "#"}]}}
    yield {
        "$ref": "#/$defs/expression",
        "$defs": {
            "expression": {"anyOf": [INTEGER, {"$ref": "#/$defs/operation"}]},
            "operation": closed(
                op={"enum": ["+", "*"]}, args={"type": "array", "items": {"$ref": "#/$defs/expression"}}
            ),
        },
    }
    chain = {f"d{number}": {"$ref": f"#/$defs/d{number + 1}"} for number in range(9)}
    yield {"$ref": "#/$defs/d0", "$defs": {**chain, "d9": INTEGER}}
    for draft in DRAFTS.values():
        yield {"$schema": draft, "definitions": {"a": INTEGER}, **closed(a={"$ref": "#/definitions/a"})}


def programs() -> Iterator[Schema]:
    """Schemas as pydantic, zod and people write them."""
    yield {
        "$defs": {
            "Color": {"enum": ["red", "green"], "title": "Color", "type": "string"},
            "Point": {
                "properties": {
                    "x": {"title": "X", "type": "number"},
                    "y": {"default": 0, "title": "Y", "type": "number"},
                },
                "required": ["x"],
                "title": "Point",
                "type": "object",
            },
        },
        "description": "A drawing.",
        "properties": {
            "name": {"maxLength": 12, "minLength": 1, "title": "Name", "type": "string"},
            "color": {"$ref": "#/$defs/Color", "default": "red"},
            "note": {"anyOf": [{"type": "string", "maxLength": 5}, {"type": "null"}], "default": None, "title": "Note"},
            "points": {"items": {"$ref": "#/$defs/Point"}, "maxItems": 2, "title": "Points", "type": "array"},
            "made": {"format": "date-time", "title": "Made", "type": "string"},
            "kind": {"const": "drawing", "default": "drawing", "title": "Kind", "type": "string"},
        },
        "required": ["name", "points", "made"],
        "title": "Drawing",
        "type": "object",
    }
    yield {
        "$schema": DRAFTS[2020],
        "type": "object",
        "properties": {"tags": {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": FLAG}},
        "required": ["tags"],
        "additionalProperties": False,
    }
    shape = {"oneOf": [{"$ref": "#/$defs/Leaf"}, {"$ref": "#/$defs/Pair"}]}  # a tree of tagged models
    pair = closed(tag={"const": "pair"}, left=shape, right=shape)
    yield {**shape, "$defs": {"Leaf": closed(tag={"const": "leaf"}, value=INTEGER), "Pair": pair}}
    cat, dog = closed(pet={"const": "cat"}, lives=INTEGER), closed(pet={"const": "dog"}, tricks=WORD)
    yield {
        "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
        "discriminator": {"propertyName": "pet", "mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}},
        "$defs": {"Cat": cat, "Dog": dog},
    }


def disjoint() -> Iterator[Schema]:
    """Alternatives of objects that are open as sent, and nevertheless disjoint."""
    one, two = closed(k={"const": "one"}), closed(k={"const": "two"}, a=INTEGER)
    for schema in (one, two):
        del schema["additionalProperties"]
    yield {"oneOf": [one, two]}
    yield {"oneOf": [{**one, "required": []}, {**two, "required": ["a"]}], "required": ["k"]}
    yield {"oneOf": [{**two, "required": ["k"]}, {"anyOf": [NOTHING, one]}]}
    yield {"oneOf": [closed(v=one), closed(v=two), {"type": ["array", "null"], "items": FLAG}]}
    yield {"oneOf": [closed(a=FLAG), {"type": "object", "properties": {"a": FLAG, "b": FLAG}, "required": ["a", "b"]}]}
    yield {"oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}], "$defs": {"a": one, "b": two}}
    yield {"oneOf": [{"enum": [1, 2.5]}, {"enum": ["a", None]}, {"const": True}, {"type": "array", "items": FLAG}]}


def overlapping() -> Iterator[Schema]:
    """Alternatives that are disjoint in the grammar, which closes objects, but overlap for a validator."""
    one = {"type": "object", "properties": {"a": FLAG}, "required": ["a"]}
    two = {"type": "object", "properties": {"a": FLAG, "b": FLAG}, "required": ["a", "b"]}
    yield {"oneOf": [one, two]}
    yield {"oneOf": [{"type": "object", "properties": {"a": FLAG}}, {**two, "required": ["b"]}]}
    yield {"oneOf": [{"$ref": "#/$defs/a"}, {"allOf": [{"$ref": "#/$defs/b"}]}], "$defs": {"a": one, "b": two}}
    yield {"oneOf": [closed(v=one), closed(v=two)]}
    yield {"oneOf": [one, {"anyOf": [NOTHING, two]}]}
    yield {"type": "object", "required": ["a"], "oneOf": [{"properties": {"a": FLAG}}, {"required": ["a", "b"]}]}
    yield {"type": "object", "properties": {"a": FLAG, "b": FLAG}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
    tags = [{**closed(k={"const": value}), "additionalProperties": True} for value in (1, 2)]
    yield {"$schema": DRAFTS[4], "oneOf": tags}  # draft 4 knows no `const`
    referring = [{"$ref": "#/definitions/a", **tag} for tag in tags]
    yield {
        "$schema": DRAFTS[7],
        "oneOf": referring,
        "definitions": {"a": {"type": "object"}},
    }  # keywords next to a `$ref` are ignored


ACCEPTED: list[Schema] = [
    *(
        schema
        for family in (texts, numbers, values, arrays, objects, unions, disjoint, references, programs)
        for schema in family()
    )
]

REFUSED: list[tuple[Schema, str, str]] = [
    ({"type": "array", "uniqueItems": True}, "/uniqueItems", "uniqueItems"),
    (closed(a={"type": "array", "contains": FLAG}), "/properties/a/contains", "contains"),
    ({"not": NOTHING}, "/not", "not"),
    ({"if": FLAG, "then": True}, "/if", "if"),
    ({"type": "object", "propertyNames": {"maxLength": 3}}, "/propertyNames", "propertyNames"),
    ({"type": "object", "dependentRequired": {"a": ["b"]}}, "/dependentRequired", "dependentRequired"),
    ({"type": "object", "dependentSchemas": {"a": FLAG}}, "/dependentSchemas", "dependentSchemas"),
    ({"type": "object", "additionalProperties": FLAG, "minProperties": 2}, "/minProperties", "minProperties"),
    ({"type": "string", "format": "regex"}, "/format", "format"),
    ({"type": "integer", "format": "int32"}, "/format", "format"),
    ({"type": "string", "contentEncoding": "base64"}, "/contentEncoding", "contentEncoding"),
    ({"type": "string", "nullable": True}, "/nullable", "nullable"),
    ({"anyOf": [FLAG, {"type": "string", "pattern": "(?=a)"}]}, "/anyOf/1", "look-around"),
    ({"type": "string", "pattern": r"\bword"}, "", "lookarounds"),
    ({"type": "string", "pattern": r"(a)\1"}, "", "backreferences"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"enum": ["\u0001"]}}}, "/$defs/a/enum", "enum"),
    ({"type": "integer", "minimum": 10**20}, "/minimum", "minimum"),
    ({"const": -(2**63)}, "/const", "const"),  # aborts the compiler, and the process
    ({"enum": [1, {"a": [2**53 + 1]}]}, "/enum", "enum"),
    ({"const": 2.1378391413799992e-40}, "/const", "const"),
    (closed(a={"type": "integer", "multipleOf": 123456789}), "/properties/a/multipleOf", "multipleOf"),
    ({"allOf": [{"type": "integer", "multipleOf": 997}, {"multipleOf": 991}]}, "/allOf/1/multipleOf", "multipleOf"),
    ({"type": "integer", "enum": [1, 1e20]}, "/enum", "enum"),
    (closed(a={"oneOf": [{"type": "integer"}, {"type": "number"}]}), "/properties/a/oneOf", "oneOf"),
    *((schema, "/oneOf", "oneOf") for schema in overlapping()),
    *(
        ({"$schema": DRAFTS[draft], "prefixItems": [FLAG], "items": INTEGER}, "/prefixItems", "$schema")
        for draft in (4, 6, 7, 2019)
    ),
    (closed(a={"$schema": DRAFTS[7], "prefixItems": [FLAG], "items": True}), "/properties/a/prefixItems", "$schema"),
    (closed(a={"type": "integer", "minimum": 5, "maximum": 3}), "/properties/a", "minimum"),
    ({"type": "object", "properties": {"a": FLAG}, "required": ["b"]}, "/required", "required"),
    ({"type": "object", "patternProperties": {"^x": FLAG, "y$": FLAG}}, "", "patternProperty"),
    ({"$ref": "#"}, "/$ref", "$ref"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "/$defs/a/$ref", "$ref"),
    ({"$ref": "#x", "$defs": {"a": {"$anchor": "x"}}}, "/$ref", "$ref"),
    ({"$dynamicRef": "#"}, "/$dynamicRef", "$dynamicRef"),
    (closed(down={"$ref": "#"}), "", "never terminates"),
    ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "", "never terminates"),
    ({"type": "array", "unevaluatedItems": False}, "/unevaluatedItems", "unevaluatedItems"),
    ({"typ": "string"}, "/typ", "typ"),
    ({"x-guidance": {"lenient": True}, "not": FLAG}, "/not", "not"),
    (False, "", "false"),
]
"""Schemas, the pointer that the error names, and a text that it must contain."""


def random_schemas(seed: int, number: int) -> Iterator[Schema]:
    """Random schemas of keywords that are enforced and a few that are not."""
    rng = random.Random(seed)
    for _ in range(number):
        names = [f"d{number}" for number in range(rng.randrange(3))]
        schema = _random(rng, 4, names)
        if names:
            schema = {"allOf": [schema], "$defs": {name: _random(rng, 2, names) for name in names}}
        yield schema


def _random(rng: random.Random, depth: int, names: list[str]) -> Schema:
    leaves = [*texts(), *numbers(), *values()] if rng.random() < 0.2 else [INTEGER, WORD, FLAG, NOTHING]
    if depth == 0 or rng.random() < 0.3:
        return {"$ref": f"#/$defs/{rng.choice(names)}"} if names and rng.random() < 0.3 else rng.choice(leaves)

    def inner() -> Schema:
        return _random(rng, depth - 1, names)

    match rng.randrange(7):
        case 0:
            return {"type": "array", "items": inner(), "minItems": rng.randrange(2), "maxItems": rng.randrange(2, 5)}
        case 1:
            return {"type": "array", "prefixItems": [inner(), inner()], "items": rng.choice([False, inner()])}
        case 2 | 3:
            properties = {name: inner() for name in rng.sample(["a", "b", "c", "é", "a b"], rng.randrange(1, 4))}
            required = [name for name in properties if rng.random() < 0.6]
            rest = rng.choice([{}, {}, {"additionalProperties": inner()}, {"additionalProperties": False}])
            return {"type": "object", "properties": properties, "required": required, **rest}
        case 4:
            return {rng.choice(["anyOf", "anyOf", "oneOf"]): [inner(), inner()]}
        case 5:
            return {"allOf": [inner(), {"description": "the same"}]}
        case _:
            extra = rng.choice([{"uniqueItems": True}, {"not": NOTHING}, {"title": "t"}, {"if": FLAG}])
            schema = inner()
            return {**schema, **extra} if isinstance(schema, dict) and rng.random() < 0.2 else schema
