"""The measurement of `scripts/schemas`: what it makes of refusals, of instances, and of steps that do not end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
OPEN = {"type": "object", "properties": {"b": {"type": "integer"}, "a": {"type": "string"}}, "required": ["a"]}
SLOW_IN_PYTHON = {"type": "string", "pattern": "^(a+)+$"}
"""Python's regular expressions backtrack on it without end; the server's and those of jsonschema-rs do not."""


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def line(schema: Any, *tests: tuple[Any, bool], family: str = "one") -> str:
    instances = [{"data": data, "valid": valid} for data, valid in tests]
    return json.dumps({"family": family, "name": "a.json", "schema": schema, "tests": instances})


def measured(tmp_path: Path, *lines: str, limit_s: int = 20) -> Any:
    from schemas.cases import read_cases
    from schemas.pool import measure

    file = tmp_path / "cases.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return list(measure(read_cases(file), num_workers=1, limit_s=limit_s, seed=0))


def test_schemas_and_instances_are_counted(tmp_path: Path) -> None:
    from schemas.report import failures, report

    results = measured(
        tmp_path,
        line(OPEN, ({"a": "é", "b": 1.0}, True), ({"a": "x", "c": 1}, True), ({"b": 1}, False), ({"b": 1}, True)),
        line({"type": "array", "items": {"type": "boolean"}, "minItems": 1200}),
        line({"type": "array", "items": {"$ref": "#/$defs/none"}}, family="two"),
    )

    text = report(results, "cases.jsonl", "scripts/schemas cases.jsonl")
    assert "| one | 2 / 2 / 1 | 1 / 1 / 1 | 0 | 1 / 1 / 0 | 0 | 0 | 0 | 0 | 2 |" in text
    assert "| all | 3 / 3 / 1 | 1 / 1 / 1 | 1 / 1 / 0 | 1 / 1 / 0 | 0 | 0 | 0 | 0 |" in text
    assert "| one | 1 | 1 | 0 | 1 | 0 | 1 | 0 |" in text
    assert failures(results) == []


@pytest.mark.parametrize(
    ("schema", "ordered"),
    [
        ({"anyOf": [{"required": ["c"]}], "properties": {"b": {}, "a": {}}}, ["b", "a", "c"]),
        ({"dependencies": {"a": {"properties": {"a": {}}}}, "properties": {"b": {}, "a": {}}}, ["b", "a", "c"]),
        (
            {"allOf": [{"$schema": "http://json-schema.org/draft-04/schema", "properties": {"c": {}, "b": {}}}]},
            ["c", "b", "a"],
        ),
    ],
)
def test_keys_of_an_instance_get_the_order_of_the_schema(schema: Any, ordered: list[str]) -> None:
    from schemas.validators import Validators

    data = dict.fromkeys("abc", 1)
    sent = {"$schema": "http://json-schema.org/draft-07/schema#", **schema}

    assert Validators(sent).objects(data).keys(data) == ordered


def test_an_object_may_keep_its_own_order_of_keys() -> None:
    from schemas.cases import Case, Instance
    from schemas.walks import Instances

    from crossette.text import output_format

    inner = {"type": "object", "properties": {"b": {}, "a": {}}, "additionalProperties": False}
    constraint = output_format.json_schema({**inner, "properties": {"y": {}, "x": inner}}, "p").constraint
    sent: Any = {"properties": {"x": {"properties": {"a": {}, "b": {}}}, "y": {}}}
    instances = [
        {"y": 1.0, "x": {"b": [], "a": "é"}},
        {"x": {"b": {}, "a": None}, "y": 1},
        {"y": 1, "x": {"a": 1, "b": 2}},
    ]
    case = Case("one", "a.json", sent, tuple(Instance(one, is_valid=True) for one in instances))

    walked = Instances().walked(case, constraint)

    assert [one.walk for one in walked] == ["valid, allowed", "valid, forbidden", "valid, forbidden"]


def test_a_step_that_does_not_end_ends_no_other(tmp_path: Path) -> None:
    from schemas.report import failures

    slow = line(SLOW_IN_PYTHON, ("a" * 60 + "!", False))
    results = measured(tmp_path, slow, line(OPEN, ({"a": "x"}, True)), limit_s=10)

    assert failures(results) == ["one/a.json: walking its instances takes too long"]
    assert [walked.walk for walked in results[1].walks] == ["valid, allowed"]


@pytest.mark.parametrize(
    ("message", "keyword"),
    [
        ("The JSON schema cannot be enforced: 'uniqueItems' at '/a/uniqueItems': omit it.", "`uniqueItems`"),
        ("The JSON schema cannot be enforced: '$ref' at '/$ref': it refers to itself.", "`$ref`"),
        ("The JSON schema cannot be enforced at '/a': 'oneOf' has alternatives.", "`oneOf`, by the compiler"),
        ("The JSON schema cannot be enforced: the schema at '/a': a name may match.", "schemas that cannot be"),
        ("The JSON schema cannot be enforced: the schema at '/a': no value matches it.", "the schema at"),
        (
            "The JSON schema cannot be enforced: '/a/b' is nested more than 50 schemas deep",
            "… is nested more than … schemas deep",
        ),
    ],
)
def test_refusals_are_counted_by_keyword(message: str, keyword: str) -> None:
    from schemas.report import keyword_of

    assert keyword_of(message).startswith(keyword)


def test_instances_are_written_in_the_order_of_the_schema() -> None:
    from schemas.validators import Validators
    from schemas.walks import Notation

    schema = {
        "$defs": {"pair": {"properties": {"y": {}, "x": {}}}},
        "allOf": [{"properties": {"p": {"$ref": "#/$defs/pair"}}}, {"properties": {"list": {"items": OPEN}}}],
    }
    data = {"list": [{"a": "x", "b": 2}], "more": 1, "p": {"x": 1.0, "y": 0.5}}

    objects = Validators(schema).objects(data)

    notation = Notation(objects, set())
    notation.write(data)
    assert notation.text == b'{"p": {"y": 0.5, "x": 1}, "list": [{"b": 2, "a": "x"}], "more": 1}'
    assert objects.has_undeclared_keys(data)
    assert not objects.has_undeclared_keys(data["list"])
