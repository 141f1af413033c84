"""A corpus of JSON Schemas: generated families, and schemas as real programs send them.

`ACCEPTED` must be enforced completely; `CHECKED` must be rejected with a pointer and a keyword if it is strict, and
otherwise accepted; `REFUSED` must be rejected; `random_schemas` may be any of these.
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


def exclusive() -> Iterator[Schema]:
    """Alternatives that overlap for a validator, and are enforced as one of them without the others."""
    one = {"type": "object", "properties": {"a": FLAG}, "required": ["a"]}
    two = {"type": "object", "properties": {"a": FLAG, "b": FLAG}, "required": ["a", "b"]}
    yield {"oneOf": [one, two]}
    yield {"oneOf": [{"type": "object", "properties": {"a": FLAG}}, {**two, "required": ["b"]}]}
    yield {"oneOf": [{"$ref": "#/$defs/a"}, {"allOf": [{"$ref": "#/$defs/b"}]}], "$defs": {"a": one, "b": two}}
    yield {"oneOf": [one, {"anyOf": [NOTHING, two]}]}
    yield {"type": "object", "required": ["a"], "oneOf": [{"properties": {"a": FLAG}}, {"required": ["a", "b"]}]}
    properties = {"a": FLAG, "b": INTEGER, "c": WORD}
    yield {"type": "object", "properties": properties, "oneOf": [{"required": [name]} for name in "ab"]}
    yield {"type": "object", "properties": properties, "oneOf": [{"required": [name]} for name in "abc"]}
    yield {"type": "object", "properties": properties, "oneOf": [{"required": ["a"]}, {"not": {"required": ["c"]}}]}
    yield {"type": "integer", "minimum": 0, "maximum": 9, "oneOf": [{"minimum": 3}, {"maximum": 5}]}
    yield {"oneOf": [{"type": "number", "maximum": 9}, {"type": "null"}, {"enum": [3, None, 20]}]}
    yield {"type": "string", "maxLength": 3, "oneOf": [{"pattern": "^a"}, {"pattern": "b$"}, {"const": "c"}]}


def overlapping() -> Iterator[Schema]:
    """Alternatives that are disjoint in the grammar, which closes objects, but overlap for a validator."""
    one = {"type": "object", "properties": {"a": FLAG}, "required": ["a"]}
    two = {"type": "object", "properties": {"a": FLAG, "b": FLAG}, "required": ["a", "b"]}
    yield {"oneOf": [closed(v=one), closed(v=two)]}
    yield {"oneOf": [one, two, *({"const": value} for value in "abc")]}
    tags = [{**closed(k={"const": value}), "additionalProperties": True} for value in (1, 2)]
    yield {"$schema": DRAFTS[4], "oneOf": tags}  # draft 4 knows no `const`
    referring = [{"$ref": "#/definitions/a", **tag} for tag in tags]
    yield {
        "$schema": DRAFTS[7],
        "oneOf": referring,
        "definitions": {"a": {"type": "object"}},
    }  # keywords next to a `$ref` are ignored


def annotated() -> Iterator[Schema]:
    """Schemas with keywords and formats that are annotations, as generators of schemas write them."""
    for name in ("json", "password", "file-path", "name-email", "ipv4network", "cuid2", "markdown", "non-blank"):
        yield {"type": "string", "format": name, "maxLength": 4}
    for name in ("double", "float", "decimal"):
        yield {"type": "number", "format": name, "minimum": 0, "maximum": 9}
    for keyword, value in ANNOTATIONS.items():
        yield {"type": "integer", "maximum": 9, keyword: value}
    yield closed(a={"type": "string", "maxLength": 3, "contentEncoding": "base64", "contentMediaType": "text/plain"})
    yield {**closed(a=INTEGER), "additonalProperties": {"type": "null"}}


ANNOTATIONS: dict[str, Any] = {
    "xml": {"name": "a"},
    "externalDocs": {"url": "https://example.com"},
    "$vocabulary": {"https://a.example": True},
    "deprecated": True,
    "$comment": "not",
    "_format": "x",
    "propertyOrder": 3,
    "uniqueKeys": ["a"],
    "typ": "string",
    "then": False,
    "else": False,
    "minContains": 3,
    "nullable": False,
    "additionalItems": False,
    "self": {"a": 1},
    "uniqueItems": False,
    "unevaluatedItems": True,
    "$anchor": "here",
    "id": "a",
    "$id": "https://a.example/s",
}
"""Keywords that change nothing, or nothing with these values."""


def integer_formats() -> Iterator[Schema]:
    for name in ("int8", "int16", "int32", "int64", "uint", "uint8", "uint16", "uint32", "uint64"):
        yield {"type": "integer", "format": name}
        yield {"type": ["integer", "null"], "format": name, "minimum": -3, "exclusiveMaximum": 300}


def mixed() -> Iterator[tuple[Schema, Schema]]:
    """Keywords of older drafts and of OpenAPI without `$schema`, and the same in draft 2020-12."""
    tuples = {"type": "array", "items": [INTEGER, WORD], "minItems": 2, "maxItems": 2}
    yield tuples, {**tuples, "prefixItems": [INTEGER, WORD], "items": True}
    closed_tuple = {"type": "array", "prefixItems": [INTEGER], "items": False}
    yield {"type": "array", "items": [INTEGER], "additionalItems": False}, closed_tuple
    yield closed(a={"type": "array", "items": [INTEGER], "additionalItems": False}), closed(a=closed_tuple)
    yield (
        {"type": "integer", "minimum": 3, "exclusiveMinimum": True, "maximum": 9, "exclusiveMaximum": False},
        {"type": "integer", "minimum": 4, "maximum": 9},
    )
    yield {"type": "string", "nullable": True, "maxLength": 2}, {"type": ["string", "null"], "maxLength": 2}
    yield {"type": "string", "nullable": True, "enum": ["a", "b"]}, {"enum": ["a", "b", None]}
    first = {"type": "array", "items": [{"enum": ["a"]}], "maxItems": 2}
    yield (
        closed(["b"], a=first, b={"$ref": "#/properties/a/items/0"}),
        closed(["b"], a={"type": "array", "prefixItems": [{"enum": ["a"]}], "maxItems": 2}, b={"enum": ["a"]}),
    )
    encoded = {"type": "string", "maxLength": 3}
    yield {"$schema": DRAFTS[7], "contentEncoding": "base64", **encoded}, encoded


def negations() -> Iterator[Schema]:
    inner: Schema
    yield {"anyOf": [{"not": {}}, INTEGER]}
    yield {"type": "object", "properties": {"a": {"not": {}}, "b": FLAG}}
    yield {"not": {"type": ["object", "array", "string"]}}
    for inner in (
        {"enum": ["CAN", "MEX", "USA"]},
        {"const": ""},
        {"pattern": "^[ab]*$"},
        {"maxLength": 2},
        {"pattern": "x"},
    ):
        yield {"type": "string", "maxLength": 5, "not": inner}
    for inner in ({"const": 3}, {"enum": [0, 1, 2.5, -7]}, {"minimum": 4}, {"exclusiveMaximum": 5}, {"type": "string"}):
        yield {"type": "integer", "minimum": -9, "maximum": 9, "not": inner}
        yield {"type": "number", "minimum": -9, "maximum": 9, "not": inner}
    yield {"enum": [1, "a", None, True, "b"], "not": {"enum": ["a", True]}}
    yield {"type": "boolean", "not": {"const": True}}
    yield {"type": "array", "items": FLAG, "not": {"maxItems": 1}}
    properties = {"a": FLAG, "b": INTEGER, "c": WORD}
    for inner in ({"required": ["a"]}, {"required": ["a", "b"]}, {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}):
        yield {"type": "object", "properties": properties, "not": inner}
    yield {"type": "object", "properties": properties, "required": ["a"], "not": {"properties": {"a": {"const": True}}}}
    yield {
        "type": "object",
        "properties": properties,
        "not": {"$ref": "#/$defs/x"},
        "$defs": {"x": {"required": ["c"]}},
    }
    yield {"type": ["string", "null"], "not": {"not": {"maxLength": 2}}}


def conditions() -> Iterator[Schema]:
    properties: Schema = {"kind": {"enum": ["x", "y"]}, "size": INTEGER, "note": WORD}
    condition: Schema
    x, is_x = {"properties": {"kind": {"const": "x"}}}, {"properties": {"kind": {"const": "x"}}, "required": ["kind"]}
    for condition in (x, is_x, {"required": ["size"]}, True, False):
        yield {"type": "object", "properties": properties, "if": condition, "then": {"required": ["note"]}}
        yield {
            "type": "object",
            "properties": properties,
            "required": ["kind"],
            "if": condition,
            "then": {"required": ["note"]},
            "else": {"properties": {"size": {"maximum": 5}}},
        }
    yield {"type": "integer", "minimum": 0, "maximum": 20, "if": {"minimum": 10}, "then": {"multipleOf": 5}}
    for keyword in ("dependencies", "dependentRequired"):
        yield {"type": "object", "properties": properties, keyword: {"size": ["note"], "note": []}}
        yield {"type": "object", "properties": properties, keyword: {"size": ["unlisted"]}}
    for keyword in ("dependencies", "dependentSchemas"):
        yield {"type": "object", "properties": properties, keyword: {"size": is_x}}
        yield {"type": "object", "properties": {"a": FLAG}, keyword: {"a": {"properties": {"b": INTEGER}}}}
    yield {"type": "object", "properties": {"a": FLAG}, "required": ["b"]}
    yield {"type": "object", "properties": {"a": FLAG}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}


def names_and_items() -> Iterator[Schema]:
    for inner in (
        *({"enum": ["a", "b"]}, {"const": "a"}, {"pattern": "^[ab]{1,3}$"}, {"maxLength": 2}, {"not": {"enum": ["a"]}}),
        *({"not": {"pattern": "b"}}, {"type": "string", "minLength": 1, "maxLength": 3}, False),
    ):
        yield {"type": "object", "propertyNames": inner}
        yield {"type": "object", "propertyNames": inner, "additionalProperties": FLAG}
        yield {"type": "object", "propertyNames": inner, "properties": {"a": FLAG, "bbb": FLAG, "zzzz": FLAG}}
    for size in ({}, {"minItems": 1}, {"maxItems": 2}):
        yield {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, **size}
        yield {"type": "array", "items": FLAG, "uniqueItems": True, **size}
    yield {"type": "array", "items": INTEGER, "uniqueItems": True, "maxItems": 1}
    for most in (1, 3):
        yield {"type": "array", "items": INTEGER, "contains": {"maximum": 5}, "maxItems": most}
    yield {
        "type": "array",
        "contains": {"type": "string", "maxLength": 2},
        "minContains": 1,
        "maxItems": 2,
        "minItems": 2,
    }
    yield {"type": "array", "items": FLAG, "contains": {"type": "string"}, "minContains": 0}
    yield {"type": "array", "items": INTEGER, "contains": {"const": 3}}
    yield {"type": ["array", "null"], "contains": {"type": "array", "contains": INTEGER}}


def sizes() -> Iterator[Schema]:
    """Bounds on the number of properties of objects with optional ones."""
    shape = {"type": "object", "properties": dict.fromkeys("abcd", FLAG)}
    for least, most in ((2, 4), (0, 2), (2, 3), (3, 3), (4, 9), (1, 2)):
        yield {**shape, "minProperties": least, "maxProperties": most}
        yield {**shape, "required": ["b"], "minProperties": least, "maxProperties": most}
    yield {"type": ["object", "null"], "properties": {"a": FLAG, "b": FLAG}, "minProperties": 3}
    yield {"allOf": [shape, {"minProperties": 2}, {"maxProperties": 3}]}
    yield {"type": "object", "patternProperties": {"^[ab]x?$": FLAG}, "additionalProperties": False, "minProperties": 3}
    yield {
        "type": "object",
        "properties": {"z": FLAG},
        "patternProperties": {"^(?:a|b)$": FLAG},
        "additionalProperties": False,
        "minProperties": 2,
    }


def negated_shapes() -> Iterator[Schema]:
    """`not` of arrays and objects."""
    items = {"type": "array", "items": INTEGER, "maxItems": 6}
    inner: Schema
    for inner in (
        {"contains": {"minimum": 50}},
        {"items": {"minimum": 50}},
        {"prefixItems": [{"minimum": 50}, {"maximum": 9}]},
        {"oneOf": [{"minItems": 2}, {"items": {"minimum": 10}}]},
    ):
        yield {**items, "not": inner}
    yield {"$schema": DRAFTS[7], **items, "not": {"items": [{"maximum": 9}]}}
    names = {"type": "object", "propertyNames": {"pattern": "^[a-c]{1,2}$"}, "additionalProperties": FLAG}
    for inner in (
        {"propertyNames": {"not": {"enum": ["a", "bb"]}}},
        {"propertyNames": {"not": {"pattern": "^c?a$"}}},
        {"propertyNames": False},
        {"patternProperties": {"^[ab]$": {"const": True}}},
        {"patternProperties": {"^a$": False, "^b$": False}},
    ):
        yield {**names, "not": inner}
    yield {"oneOf": [{"type": "array", "items": {"type": "string"}}, {"type": "array", "contains": WORD}]}


def assertions() -> Iterator[Schema]:
    """Patterns with look-ahead, look-behind and word boundaries, as pydantic, zod and people write them."""
    for pattern in (
        *(r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$", r"^(?=.*[A-Z])(?=.*\d).{4,}$", r"^(?!-)[a-z0-9-]+(?<!-)$", r"^(?!\s*$).+"),
        *(r"^(?!admin$|root$)[a-z]{1,8}$", r"\bword\b", r"^\bab\b$", r"^(?=a)[a-z]{1,5}(?<=z)$", r"^(?!.*--)[a-z-]+$"),
        r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$",
    ):
        yield {"type": "string", "pattern": pattern}


def identified() -> Iterator[Schema]:
    """References to anchors and identifiers."""
    yield {"$ref": "#x", "$defs": {"a": {"$anchor": "x", **INTEGER}}}
    yield {"$schema": DRAFTS[7], "$ref": "#x", "definitions": {"a": {"$id": "#x", **INTEGER}}}
    yield {"$schema": DRAFTS[4], "$ref": "#x", "definitions": {"a": {"id": "#x", **INTEGER}}}
    inner = {"$id": "https://a.example/inner.json", "$defs": {"n": INTEGER}, "$ref": "#/$defs/n"}
    yield {"$id": "https://a.example/root.json", "$ref": "inner.json", "$defs": {"n": WORD, "i": inner}}
    yield {"$ref": "https://a.example/inner.json#/$defs/n", "$defs": {"n": WORD, "i": inner}}
    yield closed(a={"$id": "/properties/a", **INTEGER}, b={"$id": "#/properties/b", **WORD} | {"$id": "/b"})


ACCEPTED: list[Schema] = [
    *(
        schema
        for family in (
            *(texts, numbers, values, arrays, objects, unions, disjoint, references, programs, annotated),
            *(
                integer_formats,
                negations,
                conditions,
                names_and_items,
                assertions,
                identified,
                exclusive,
                sizes,
                negated_shapes,
            ),
        )
        for schema in family()
    )
]

DOMAIN = "^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z0-9][a-z0-9-]{0,61}[a-z0-9]$"

CHECKED: list[tuple[Schema, str, str]] = [
    ({"type": "array", "items": INTEGER, "uniqueItems": True, "maxItems": 3}, "/uniqueItems", "uniqueItems"),
    (
        closed(a={"type": "array", "prefixItems": [INTEGER], "contains": {"const": 3}}),
        "/properties/a/contains",
        "contains",
    ),
    ({"type": "number", "minimum": 0, "maximum": 9, "not": {"type": "integer"}}, "/not", "not"),
    ({"type": "number", "if": {"type": "integer"}, "then": {"minimum": 3}}, "/if", "if"),
    ({"type": "object", "propertyNames": {"format": "uri"}}, "/propertyNames", "propertyNames"),
    (
        {"type": "object", "dependentRequired": {name: ["z"] for name in "abcdefg"}},
        "/dependentRequired",
        "dependentRequired",
    ),
    ({"type": "object", "additionalProperties": FLAG, "minProperties": 2}, "/minProperties", "minProperties"),
    ({"type": "object", "properties": dict.fromkeys("abcdefgh", FLAG), "minProperties": 4}, "/minProperties", "count"),
    ({"type": "object", "properties": dict.fromkeys("abcdefgh", FLAG), "maxProperties": 4}, "/maxProperties", "count"),
    ({"type": "string", "format": "regex", "maxLength": 2}, "/format", "regex"),
    ({"anyOf": [FLAG, {"type": "string", "pattern": "(?=a)b?", "maxLength": 3}]}, "/anyOf/1/pattern", "look-around"),
    ({"type": "string", "pattern": r"^(a|b)\1$", "maxLength": 2}, "/pattern", "backreferences"),
    (closed(a={"type": "string", "pattern": DOMAIN, "maxLength": 253}), "/properties/a/maxLength", "too complex"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"enum": ["\u0001", "a"], "type": "string"}}}, "/$defs/a/enum", "enum"),
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
    ({"type": "object", "patternProperties": {"^x": FLAG, "y$": FLAG}}, "/patternProperties", "disjoint"),
    ({"$dynamicRef": "#"}, "/$dynamicRef", "$dynamicRef"),
    ({"type": "array", "prefixItems": [FLAG], "unevaluatedItems": False}, "/unevaluatedItems", "unevaluatedItems"),
    ({"$schema": DRAFTS[4], "not": {"const": 1}}, "/not", "not"),  # draft 4 knows no `const`
    (
        {"type": "object", "dependentSchemas": {"a": {"properties": {"b": False}}}, "unevaluatedProperties": False},
        "/dependentSchemas",
        "dependentSchemas",
    ),
]
"""Schemas, the pointer of the keyword that is only checked, and a text that the error contains if it is strict."""

REFUSED: list[tuple[Schema, str, str]] = [
    (closed(a={"type": "integer", "minimum": 5, "maximum": 3}), "/properties/a", "minimum"),
    ({"type": "object", "required": ["b"], "additionalProperties": False}, "", "required property 'b'"),
    ({"$ref": "#"}, "/$ref", "$ref"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "/$defs/a/$ref", "$ref"),
    (closed(down={"$ref": "#"}), "", "never terminates"),
    ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "", "never terminates"),
    (closed(**{"\u0001": FLAG}), "/properties", "control character"),
    ({"not": {}}, "", "false"),
    (False, "", "false"),
]
"""Schemas that have no value, or are not supported: the pointer that the error names, and a text that it contains."""


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
            extra = rng.choice(
                [{"uniqueItems": True}, {"not": NOTHING}, {"title": "t"}, {"if": FLAG, "then": {"const": True}}]
            )
            schema = inner()
            return {**schema, **extra} if isinstance(schema, dict) and rng.random() < 0.2 else schema
