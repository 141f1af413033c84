"""The grammar of a schema allows nothing that the validator rejects: every keyword and format, at its extremes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st

from crossette.engines.grammar.compiler import GrammarCompiler, Matcher
from crossette.errors import ConstraintFailed, InvalidRequest
from crossette.testing.fake_tokenizer import IM_END, FakeTokenizer
from crossette.text import output_format
from crossette.text.output_format import OutputFormat
from crossette.text.schema.formats import FORMAT_SCHEMAS, FORMATS
from support.schema_corpus import DRAFTS, Schema
from support.schema_pairs import BOUNDS, KEYWORDS, schemas_of_pairs
from support.schema_pairs import FORMATS as NAMED_FORMATS
from support.schema_walks import accepts, steered_walk, uneven_walk

pytestmark = pytest.mark.slow

STEERS = (b"a", b".a", b"-a", b"0", b"9", b"@a", b"%0", b"1e.0", b":", b"zZ", b"Ff:", "é".encode(), b"\\n")
"""The bytes that walks prefer: labels, hyphens, digits, escapes."""


OFTEN_REJECTED = [HealthCheck.filter_too_much]
COMPILER = GrammarCompiler(FakeTokenizer(), 259, {IM_END})


def format_of(schema: Schema) -> OutputFormat:
    """The output format of a schema. A schema that is rejected is no example."""
    try:
        answer_format = output_format.json_schema(schema, "p", strict=True)
        COMPILER.matcher(answer_format.constraint)
    except InvalidRequest:
        reject()
    return answer_format


def allows(answer_format: OutputFormat, text: str) -> bool:
    return accepts(COMPILER.matcher(answer_format.constraint), text)


def generated(answer_format: OutputFormat, walk: Callable[[Matcher], bytes | None]) -> bytes | None:
    """A text of its grammar; None if it does not end, or costs more than the limit of a step."""
    try:
        return walk(COMPILER.matcher(answer_format.constraint))
    except ConstraintFailed:
        return None


def check(
    schema: Schema, answer_format: OutputFormat, seeds: Iterable[int], steers: Sequence[bytes] = STEERS[:2]
) -> int:
    """Validate random texts of its grammar, and texts steered to be long or short. Return their number."""
    assert answer_format.validator is not None
    walks: list[Callable[[Matcher], bytes | None]] = [partial(uneven_walk, rng=random.Random(seed)) for seed in seeds]
    walks += [partial(steered_walk, wanted=wanted, to_end=to_end) for wanted in steers for to_end in (False, True)]
    outputs = [generated(answer_format, walk) for walk in walks]
    texts = [text.decode() for text in outputs if text is not None]
    for text in texts:
        fault = answer_format.validator.fault(text)
        assert fault is None, (schema, text, fault)
    return len(texts)


# --- formats ---

LABEL = "d" * 63
VALID = {
    "date": ("2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31"),
    "time": ("23:59:59Z", "00:00:00+00:00", "12:30:45.123456-05:30"),
    "date-time": ("2024-02-29T23:59:59Z", "1985-04-12T23:20:50.52Z", "1996-12-19T16:39:57-08:00"),
    "duration": ("P1D", "PT30M", "P1Y2M3D", "P3W", "PT1H30M5S", "P1Y2M10DT2H30M", "PT36H"),
    "email": (
        *("a@b.co", "jane.doe@example.com", "first.last+tag@sub.mail.example.co.uk", "x_y-z@example.org", "a@b"),
        *(
            "o'brien@example.ie",
            "USER@EXAMPLE.COM",
            "root@localhost",
            "1@3.example",
            "a@my-host.example",
        ),
        *(
            "me@t-online.de",
            "me@x--y.de",
            "me@xn.de",
            "!#$%&'*+-/=?^_`{|}~@example.com",
            "a@ab-c-d.com",
            "mail@a-b-c.io",
        ),
        *(
            f"{'l' * 64}@{LABEL}.{LABEL[1:]}.{LABEL[1:]}",
            f"{'a.' * 7}b@example.com",
            f"a@{LABEL}.{'e' * 30}.{'e' * 30}.{'e' * 30}.example",
        ),
    ),
    "hostname": (
        *("localhost", "example.com", "www.example.co.uk", "a", "ab", "abc", "a1-2.example", "1and1.com", "3com.com"),
        *("EXAMPLE.COM", "a.b.c.d.e.f", "node-1.cluster-2.internal", "192-168-0-1.example", "t-online.de", "x--y.io"),
        *("xn.com", "my-site--2.example", f"{LABEL}.com", f"{LABEL}.{LABEL}.{LABEL}.{'e' * 61}"),
    ),
    "ipv4": ("0.0.0.0", "127.0.0.1", "192.168.1.254", "255.255.255.255"),
    "ipv6": ("::", "::1", "2001:db8::1", "fe80::1ff:fe23:4567:890a", "2001:0db8:85a3:0000:0000:8a2e:0370:7334"),
    "uri": (
        *(
            "https://example.com",
            "http://user:pw@example.com:8080/a/b?c=d&e=f#g",
            "mailto:a@b.co",
            "urn:isbn:0451450523",
        ),
        *("file:///etc/hosts", "tel:+1-816-555-1212", "http://[::1]:80/", "data:text/plain;base64,SGVsbG8="),
        *("https://example.com/a%20b", "http://localhost:3000", "https://example.org/wiki/A_(b)"),
    ),
    "uuid": ("f308a72c-fa84-11eb-9a03-0242ac130003", "F308A72C-FA84-11EB-9A03-0242AC130003"),
    "json-pointer": ("", "/", "/a/b~1c/m~0n/0", "/é", "/ /"),
    "relative-json-pointer": ("0", "1/a", "2#", "0/a~1b"),
    "base64": ("", "SGk=", "SGVsbG8=", "AA==", "+/+/"),
    "base64url": ("", "SGk", "SGk=", "-_-_", "AA", "AA=="),
    "e164": ("+14155552671", "+4930123456"),
    "uri-reference": (
        *(
            "",
            "a",
            "../b?c=d#e",
            "/a//b:c",
            "#x",
            "?a=/?",
            "a/b:c",
            "%20",
            "https://example.com/a?b#c",
            "mailto:a@b.co",
        ),
    ),
}
INVALID = {
    "email": (
        *("l" * 65 + "@example.org", f"a@{'d' * 64}", "a@-b.de", "a@b-", "a@ab--c.de", "a@xn--a", ".a@b", "a..b@c"),
        f"{'l' * 64}@{LABEL}.{LABEL}.{'d' * 62}",
    ),
    "hostname": ("d" * 64, f"{LABEL}.{LABEL}.{LABEL}.{'e' * 62}", "ab--c.de", "xn--a", "-a", "a-", "a..b", "a."),
    "date": ("2023-02-29", "2024-04-31", "0000-01-01"),
    "time": ("23:59:60Z", "24:00:00Z", "12:00:00"),
    "json-pointer": ("a", "/~2", "/a~"),
    "base64": ("SGk", "A===", "-_-_"),
    "uri-reference": ("a b", "1:b", "%2", "<a>", "#a#b", "é"),
    "e164": ("14155552671", "+0123456789"),
}


@pytest.mark.parametrize("name", NAMED_FORMATS)
def test_generated_texts_of_a_format_are_valid(name: str) -> None:
    schema = {"type": "string", "format": name}
    answer_format = output_format.json_schema(schema, "p")

    assert check(schema, answer_format, range(40), STEERS) > 30


def test_every_format_is_tested() -> None:
    assert set(NAMED_FORMATS) == {*FORMATS, *FORMAT_SCHEMAS} == VALID.keys()


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in VALID.items() for text in texts])
def test_valid_values_of_a_format_can_be_generated(name: str, text: str) -> None:
    answer_format = output_format.json_schema({"type": "string", "format": name}, "p")
    assert answer_format.validator is not None

    assert answer_format.validator.fault(json.dumps(text)) is None
    assert allows(answer_format, json.dumps(text, ensure_ascii=False))


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in INVALID.items() for text in texts])
def test_invalid_values_of_a_format_cannot_be_generated(name: str, text: str) -> None:
    answer_format = output_format.json_schema({"type": "string", "format": name}, "p")

    assert not allows(answer_format, json.dumps(text))


@pytest.mark.parametrize(
    "keywords",
    [
        {"pattern": "@example[.]org$"},
        {"pattern": "[.]org$", "maxLength": 50},
        {"pattern": "@example[.]org$", "maxLength": 255},
        {"pattern": r"^[\w.+-]+@[\w-]+\.[\w.-]+$"},
        {"pattern": r"^[^@]+@[^@]+\.[a-z]{2,}$", "maxLength": 254},
        {"minLength": 40, "maxLength": 50},
        {"minLength": 6, "maxLength": 320},
    ],
)
def test_an_address_may_have_a_pattern_and_lengths(keywords: dict[str, Any]) -> None:
    schema = {"type": "string", "format": "email", **keywords}
    answer_format = output_format.json_schema(schema, "p")

    assert check(schema, answer_format, range(20)) > 15
    assert allows(answer_format, f'"{"a" * 30}@example.org"')


# --- keywords ---


@pytest.mark.parametrize("schema", [{}, {"type": ["array", "string"]}])
def test_contains_without_room_for_an_item_excludes_arrays_only(schema: Schema) -> None:
    answer_format = output_format.json_schema({**schema, "contains": True, "maxItems": 0}, "p")

    assert allows(answer_format, '"a"')
    assert not allows(answer_format, "[]")


@settings(deadline=None, max_examples=150, suppress_health_check=OFTEN_REJECTED)
@given(schemas_of_pairs(), st.integers(0, 10**6))
@example({"oneOf": [{"additionalItems": True}, {"contains": True, "maxItems": 0}]}, 0)
def test_two_keywords_are_enforced_or_rejected(schema: Schema, seed: int) -> None:
    answer_format = format_of(schema)

    check(schema, answer_format, range(seed, seed + 3))


NEEDED: dict[str, Schema] = {"contains": {"maxItems": 3}}
"""What a keyword needs to be enforced."""


@pytest.mark.parametrize(("kind", "keyword"), [(kind, name) for kind, known in KEYWORDS.items() for name in known])
@settings(deadline=None, max_examples=12, suppress_health_check=OFTEN_REJECTED)
@given(st.data())
def test_a_single_keyword_is_enforced_or_rejected(kind: str, keyword: str, data: st.DataObject) -> None:
    schema = {"type": kind, keyword: data.draw(KEYWORDS[kind][keyword]), **NEEDED.get(keyword, {})}
    answer_format = format_of(schema)

    check(schema, answer_format, range(4))


@settings(deadline=None, max_examples=60, suppress_health_check=OFTEN_REJECTED)
@given(schemas_of_pairs(), st.integers(0, 10**6))
def test_what_a_grammar_without_strict_allows_is_valid_or_checked(schema: Schema, seed: int) -> None:
    try:
        answer_format = output_format.json_schema(schema, "p")
        COMPILER.matcher(answer_format.constraint)
    except InvalidRequest:
        reject()
    if not answer_format.checked:
        check(schema, answer_format, range(seed, seed + 2))


COMPLETE: list[tuple[Schema, list[Any]]] = [
    ({"type": "string", "not": {"enum": ["ab", "c"]}}, ["", "a", "abc", "ac", "cc", "é", "b"]),
    ({"type": "string", "not": {"pattern": "ab|^c"}}, ["", "a", "ba", "ac", "aacb", "b\nc"]),
    ({"type": "string", "pattern": r"^(?!.*--)[a-z-]+(?<!-)$"}, ["a", "-a", "a-b-c"]),
    ({"type": "string", "pattern": r"^(?=.*[A-Z])(?=.*\d).{4,}$"}, ["A123", "12Ab"]),
    ({"type": "string", "pattern": r"\bab\b"}, ["ab", "x ab y", "-ab-"]),
    ({"type": "integer", "not": {"enum": [0, 3]}}, [-1, 1, 2, 4, 100]),
    ({"type": "number", "not": {"const": 1}}, [0, 0.5, 1.5, -1, 2]),
    ({"enum": ["a", 1, None, True], "not": {"enum": ["a", True]}}, [1, None]),
    ({"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True}, [[], ["a"], ["b", "a"], ["a", "b"]]),
    (
        {"type": "array", "items": {"type": "integer"}, "contains": {"minimum": 5}, "maxItems": 3},
        [[5], [1, 5], [1, 2, 7], [9, 9, 1]],
    ),
    ({"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": True}, [{}, {"a": 1, "b": []}]),
    ({"type": "object", "propertyNames": {"pattern": "^[ab]+$"}}, [{}, {"ab": 1}, {"b": 1, "bb": 2}]),
    (
        {"type": "object", "properties": {"a": True, "b": True}, "not": {"required": ["a", "b"]}},
        [{}, {"a": 1}, {"b": 1}],
    ),
    (
        {"type": "object", "properties": {"a": True, "b": True}, "dependentRequired": {"a": ["b", "c"]}},
        [{}, {"b": 1}, {"a": 1, "b": 1, "c": 1}],
    ),
    (
        {
            "type": "object",
            "properties": {"k": {"enum": ["x", "y"]}, "n": {"type": "integer"}},
            "if": {"properties": {"k": {"const": "x"}}, "required": ["k"]},
            "then": {"required": ["n"]},
        },
        [{}, {"k": "y"}, {"n": 1}, {"k": "x", "n": 1}],
    ),
    ({"type": "object", "properties": {"a": True}, "required": ["b"]}, [{"b": [1]}, {"a": 1, "b": {"c": None}}]),
    ({"type": "array", "contains": {"const": 7}}, [[7], [1, 2, 7, 3], [[], "a", {}, 7], [1] * 7 + [7] + [2] * 9]),
    ({"type": "array", "not": {"items": {"type": "string"}}}, [[1], ["a", 1], ["a", "b", None, "c"]]),
    ({"not": {"contains": {"type": "string"}}, "type": ["array", "null"]}, [[], [1], [1, None, True]]),
    (
        {"type": "object", "properties": dict.fromkeys("abc", True), "minProperties": 2},
        [{"a": 1, "c": 2}, {"b": 1, "c": 2}, {"a": 1, "b": 2, "c": 3}],
    ),
    (
        {"type": "object", "properties": dict.fromkeys("abcd", True), "maxProperties": 2, "required": ["b"]},
        [{"b": 1}, {"a": 1, "b": 2}, {"b": 1, "d": 2}],
    ),
    ({"type": "object", "not": {"propertyNames": {"not": {"enum": ["a", "b"]}}}}, [{"a": 1}, {"b": 1, "x": 2}]),
    (
        {"type": "object", "not": {"patternProperties": {"^[ab]$": {"const": 1}}}},
        [{"a": 2}, {"b": 2, "a": 1}, {"a": 0, "x": 1}],
    ),
    ({"type": "string", "nullable": True, "enum": ["a"]}, ["a", None]),
    ({"type": "array", "items": [{"type": "integer"}], "additionalItems": False}, [[], [1]]),
    ({"type": "integer", "format": "uint8"}, [0, 255]),
]
"""Schemas with keywords that are rewritten, and valid values."""


@pytest.mark.parametrize(("schema", "value"), [(schema, value) for schema, values in COMPLETE for value in values])
def test_a_rewritten_keyword_excludes_no_valid_value(schema: Schema, value: Any) -> None:
    answer_format = output_format.json_schema(schema, "p")
    assert answer_format.validator is not None

    assert answer_format.validator.fault(json.dumps(value)) is None
    assert allows(answer_format, json.dumps(value, ensure_ascii=False))


# --- numbers, near their bounds ---


def numbers_near(bound: float) -> Iterator[str]:
    """Numbers that differ from a bound in one digit, and the bound with fewer or more digits."""
    value = Decimal(repr(bound))
    for exponent in range(21):
        unit = Decimal(1).scaleb(-exponent)
        near = [value + unit * factor for factor in (-9, -5, -1, 0, 1, 5, 9)]
        near += [(value / unit).to_integral_value(rounding) * unit for rounding in ("ROUND_FLOOR", "ROUND_CEILING")]
        for one in near:
            plain = format(one, "f")
            short = plain.rstrip("0").rstrip(".") if "." in plain else plain
            yield from (plain, short, f"{short}.0" if "." not in short else f"{short}0", f"-{short}", f"{short}e0")


def check_bounds(schema: Schema, bounds: list[float]) -> None:
    answer_format = format_of(schema)
    assert answer_format.validator is not None
    for text in sorted({text for bound in bounds for text in numbers_near(bound)}):
        if allows(answer_format, text):
            assert answer_format.validator.fault(text) is None, (schema, text)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"minimum": 0, "exclusiveMaximum": 100}, "99.99"),
        ({"minimum": 0, "maximum": 0.9999}, "0.9"),
        ({"maximum": 199.95}, "199.9"),
        ({"minimum": -199.95, "maximum": 40}, "-199.9"),
        ({"minimum": -90.555, "maximum": 90.555}, "90.55"),
        ({"exclusiveMinimum": -7.25, "maximum": 90.555}, "-7.2"),
        ({"exclusiveMaximum": 2.625, "multipleOf": 0.2}, "2.6"),
        ({"allOf": [{"maximum": 12.75}, {"maximum": 12.725, "minimum": 12}]}, "12.7"),
    ],
)
def test_a_number_may_have_fewer_digits_than_its_bound(schema: Schema, text: str) -> None:
    answer_format = output_format.json_schema({"type": "number", **schema}, "p", strict=True)
    assert answer_format.validator is not None

    assert answer_format.validator.fault(text) is None
    assert allows(answer_format, text)


@pytest.mark.parametrize(
    "schema",
    [
        {"minimum": 99.93, "maximum": 99.95},
        {"exclusiveMinimum": 99.9, "maximum": 99.95},
        {"allOf": [{"maximum": 99.95}, {"minimum": 99.93}]},
        {"maximum": 99.95, "multipleOf": 0.25},
        {"type": "integer", "maximum": 99.95},
    ],
)
def test_a_number_of_fewer_digits_is_within_the_other_bounds(schema: Schema) -> None:
    answer_format = output_format.json_schema({"type": "number", **schema}, "p", strict=True)

    assert not allows(answer_format, "99.9")


lower = st.sampled_from(["minimum", "exclusiveMinimum"])
upper = st.sampled_from(["maximum", "exclusiveMaximum"])
numbers = st.sampled_from(BOUNDS) | st.integers(-1000, 1000).map(lambda number: number / 8) | st.floats(-(2**53), 2**53)


@settings(deadline=None, max_examples=40, suppress_health_check=OFTEN_REJECTED)
@given(st.sampled_from(["number", "integer"]), lower, upper, numbers, numbers)
def test_the_next_number_beyond_a_bound_cannot_be_generated(
    kind: str, least: str, most: str, one: float, other: float
) -> None:
    low, high = sorted((one, other))

    check_bounds({"type": kind, least: low, most: high}, [low, high])


@pytest.mark.parametrize("keyword", ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"])
@pytest.mark.parametrize("bound", [0, 5, 0.5, -1.25, 99999999.99999999, 1000000000000000.1, 9007199254740991.0])
def test_a_single_bound_is_enforced_to_the_last_digit(keyword: str, bound: float) -> None:
    check_bounds({"type": "number", keyword: bound}, [bound])


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"exclusiveMinimum": 0, "maximum": 0.5}, "0"),
        ({"exclusiveMinimum": 1, "exclusiveMaximum": 1.25}, "1"),
        ({"minimum": -1.5, "exclusiveMaximum": -1}, "-1"),
        ({"allOf": [{"exclusiveMinimum": 0}, {"maximum": 0.1}]}, "0"),
        ({"minimum": 1, "maximum": 99999999.99999999}, "100000000"),
        ({"$schema": DRAFTS[4], "minimum": 0, "exclusiveMinimum": True, "maximum": 0.5}, "0"),
    ],
)
def test_an_exclusive_bound_cannot_be_generated(schema: Any, text: str) -> None:
    answer_format = output_format.json_schema({"type": "number", **schema}, "p")
    assert answer_format.validator is not None

    assert answer_format.validator.fault(text) is not None
    assert not allows(answer_format, text)
    assert check(schema, answer_format, range(20), STEERS) > 10


# --- classes of patterns ---


@pytest.mark.parametrize(
    ("pattern", "valid", "invalid"),
    [
        (r"^[^\\]+$", ["ab", "a\n", 'a"b'], ["a\\b", "\\"]),
        (r'^[^"]+$', ["ab", "a\tb", "a\\b"], ['a"b', '"']),
        (r"^[\x00-\x20a-z]+$", ["a b", "\n"], ['"', "a\\"]),
        (r"^[^a\\/]*$", ["b", ""], ["\\", "b\\"]),
        (r"^[^\D]+$", ["12"], ["1\\", "a"]),
    ],
)
def test_a_class_allows_only_its_own_escapes(pattern: str, valid: list[str], invalid: list[str]) -> None:
    answer_format = format_of({"type": "string", "pattern": pattern})

    assert [text for text in valid if not allows(answer_format, json.dumps(text))] == []
    assert [text for text in invalid if allows(answer_format, json.dumps(text))] == []


def test_a_keyword_that_the_draft_does_not_know_changes_nothing() -> None:
    schema = {"type": "array", "contains": False, "minContains": 0}
    older = {"$schema": "http://json-schema.org/draft-06/schema#", **schema}

    assert allows(output_format.json_schema(schema, "p", strict=True), "[]")
    with pytest.raises(InvalidRequest, match="contains"):
        output_format.json_schema(older, "p", strict=True)
