"""The OpenAPI document matches the routes, the accepted requests and all responses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import schemathesis
from starlette.routing import Route

from crossette.api.anthropic.request import CountTokensRequest, MessagesRequest
from crossette.api.app import App
from crossette.api.dialect import FIREWORKS, OPENAI
from crossette.api.docs.openapi import document
from crossette.api.docs.pages import render
from crossette.api.docs.values import exactly
from crossette.api.models import ServedModels
from crossette.api.pages.site import FILES, PAGES
from crossette.api.responses.schema import ResponsesRequest
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.completions import CompletionRequest
from crossette.api.schema.fields import MAX_STOPS
from crossette.api.schema.files import ExpiresAfter
from crossette.api.schema.table import Table
from crossette.api.schema.tokenize import ApplyTemplateRequest, DetokenizeRequest, TokenizeRequest
from crossette.pool.pool import ModelPool
from crossette.testing.fake_engine import FakeEngine
from support.api_server import ALIASES, DIALECTS, ApiServer, parrot, serving
from support.fields_page import OTHERS, nested

BODIES = ("CompletionRequest", "ChatRequest", "ResponsesRequest", "MessagesRequest", "CountTokensRequest")
STREAMED = BODIES[:4]
TABLES: dict[str, Table] = {
    wire.__name__: wire.table  # type: ignore[attr-defined]  # every wire type of a request has one
    for wire in (
        *(CompletionRequest, ChatRequest, ResponsesRequest, MessagesRequest, CountTokensRequest),
        *nested().values(),
        *OTHERS.values(),
        ExpiresAfter,
    )
}
OF_MESSAGES = ("Item", "Message", "Part", "ImageUrl", "ToolCall", "FunctionCall")
"""The types in which other keys are dropped."""


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """The document as it is served."""
    made = document(["fake", "other"], (OPENAI, FIREWORKS))
    decoded: dict[str, Any] = json.loads(msgspec.json.encode(made))
    return decoded


def everything_in(value: object) -> Iterator[dict[str, Any]]:
    """Every object of a document."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from everything_in(child)


# --- the document ---


@pytest.mark.slow
def test_the_document_is_valid_openapi_and_every_reference_resolves(described: dict[str, Any]) -> None:
    schemathesis.openapi.from_dict(described).validate()

    for reference in {part["$ref"] for part in everything_in(described) if "$ref" in part}:
        found: Any = described
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def test_every_schema_is_valid_json_schema(described: dict[str, Any]) -> None:
    """The validation of the document above does not look into schemas."""
    schemas = list(described["components"]["schemas"].values())
    schemas += [part["schema"] for part in everything_in(described) if "schema" in part]
    for schema in schemas:
        jsonschema.Draft202012Validator.check_schema(schema)


def test_generators_of_clients_support_every_schema(described: dict[str, Any]) -> None:
    """One schema that a generator does not support removes all operations that refer to it."""
    for part in everything_in(described):
        assert "items" in part or part.get("type") != "array", part
        assert part.keys() & {"properties", "additionalProperties"} or part.get("type") != "object", part
        assert not isinstance(part.get("type"), list)
        if isinstance(values := part.get("enum"), list):
            assert {type(value).__name__ for value in values} in ({"str"}, {"int"}), part
            assert part["type"] == {"str": "string", "int": "integer"}[type(values[0]).__name__]
        if "const" in part:
            assert isinstance(part["const"], str | bool), part
        if isinstance(part.get("required"), list):
            assert set(part["required"]) <= set(part["properties"]), part


def test_no_default_is_a_keyword(described: dict[str, Any]) -> None:
    """Generated clients send such a default with every request, also where the model has another one."""
    schemas = [schema for schema in everything_in(described) if not isinstance(schema.get("default"), dict)]

    assert [schema for schema in schemas if "default" in schema] == []


def test_operations_have_names_of_their_own(described: dict[str, Any]) -> None:
    names = [operation["operationId"] for item in described["paths"].values() for operation in item.values()]

    assert len(names) == len(set(names))


def test_routes_and_documented_paths_are_the_same(described: dict[str, Any]) -> None:
    routes = {
        (route.path.replace(":path", ""), method.lower())
        for route in App(ServedModels(ModelPool.of({}))).routes
        if isinstance(route, Route) and route.methods
        for method in route.methods - {"HEAD"}
    }
    operations = {(path, method) for path, item in described["paths"].items() for method in item}

    pages = {(path, method) for path, method in routes if path in ("/", *PAGES) or path.startswith(FILES)}

    assert operations == routes - pages - {("/openapi.json", "get"), ("/docs", "get")}


@pytest.mark.parametrize("name", TABLES)
def test_a_request_schema_has_exactly_the_fields_of_the_table(described: dict[str, Any], name: str) -> None:
    schema = described["components"]["schemas"][name]

    assert schema["properties"].keys() == TABLES[name].keys()
    assert schema["additionalProperties"] is (name in OF_MESSAGES)
    for field, entry in TABLES[name].items():
        properties = dict(schema["properties"][field])
        assert entry.note in properties.pop("description")
        assert properties == exactly([*entry.neutral, None]) or entry.state != "refused"


def test_limits_are_keywords_where_the_dialects_agree(described: dict[str, Any]) -> None:
    properties = described["components"]["schemas"]["CompletionRequest"]["properties"]

    def keywords(name: str) -> dict[str, Any]:
        return {key: value for key, value in properties[name].items() if key not in ("description", "anyOf")}

    assert keywords("temperature") == {"minimum": 0, "maximum": 2}
    assert keywords("stop") == {"maxItems": MAX_STOPS}
    assert keywords("metadata") == {"maxProperties": 16}
    assert keywords("min_tokens") == {"minimum": 0}


def test_limits_and_defaults_are_listed_by_dialect_where_they_differ(described: dict[str, Any]) -> None:
    properties = described["components"]["schemas"]["CompletionRequest"]["properties"]

    assert properties["top_logprobs"]["maximum"] == 20
    assert "At most `20` (openai) or `5` (fireworks)." in properties["top_logprobs"]["description"]
    assert "By default `0`." in properties["min_tokens"]["description"]
    assert 'By default `{"type":"text"}`.' in properties["response_format"]["description"]
    assert "By default `16` (openai) or `2048` (fireworks)." in properties["max_tokens"]["description"]


@pytest.mark.parametrize("prefix_", DIALECTS)
def test_every_error_status_has_the_types_and_codes_of_its_dialect(described: dict[str, Any], prefix_: str) -> None:
    dialect = DIALECTS[prefix_]
    for path in ("/completions", "/chat/completions", "/responses"):
        answers = described["paths"][prefix_ + path]["post"]["responses"]
        assert set(answers) == {
            "200",
            "400",
            "401",
            "403",
            "404",
            "408",
            "413",
            "415",
            "429",
            "500",
            "502",
            "503",
            "504",
        }
        refusal = described["components"]["responses"][answers["408"]["$ref"].rpartition("/")[2]]
        _, detail = refusal["content"]["application/json"]["schema"]["allOf"]
        kind, code = dialect.errors["timeout"]
        assert detail["properties"]["error"]["properties"] == {"type": exactly([kind]), "code": exactly([code])}


def test_a_setting_that_changes_a_dialect_changes_its_description() -> None:
    def description_of(include_stop: bool) -> str:
        tags = document([], (replace(FIREWORKS, include_stop=include_stop),))["tags"]
        description: str = tags[0]["description"]
        return description

    assert "Text includes the stop string." in description_of(True)
    assert "Text excludes the stop string." in description_of(False)


def test_the_document_is_served(api: ApiServer) -> None:
    answer = api.get("/openapi.json")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == json.loads(msgspec.json.encode(document(["fake", *ALIASES], (OPENAI, FIREWORKS))))


# --- the page ---


def test_the_page_shows_every_path_and_every_field(api: ApiServer, described: dict[str, Any]) -> None:
    answer = api.get("/docs")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for path in described["paths"]:
        assert path in answer.text
    for schema in described["components"]["schemas"].values():
        for field in schema.get("properties", ()):
            assert f"<code>{field}</code>" in answer.text


def test_every_link_of_the_page_resolves(api: ApiServer) -> None:
    page = api.get("/docs").text

    links = set(re.findall(r'href="#([^"]*)"', page))
    assert len(links) > 10
    assert links <= set(re.findall(r'id="([^"]*)"', page))


def test_the_page_needs_no_script_and_no_network(api: ApiServer) -> None:
    answer = api.get("/docs")

    assert not re.search(r"<script|<link|<img|<iframe|@import|url\(|src=|https?:", answer.text)
    assert answer.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_model_names_are_escaped_in_the_page() -> None:
    name = "</pre><script>alert('`<b>`')</script>"

    page = render(document([name], (OPENAI, FIREWORKS)))

    assert "<script" not in page
    assert "&lt;/pre&gt;&lt;script&gt;" in page


# --- the responses ---

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)
RUNS: dict[str, tuple[int, tuple[str, ...]]] = {
    # Every field with every kind of value, valid and invalid, and some random bodies.
    "whole": (20, ("--phases=examples,coverage,fuzzing",)),
    # Only valid requests, so that there are streams to check.
    "streamed": (40, ("--phases=examples,fuzzing", "--mode=positive")),
}
"""The number of random bodies and other settings of schemathesis; with `--fuzz N`, N times as many, and new ones."""
WANTED = {
    "whole": {(200, "application/json"), (400, "application/json"), (404, "application/json")},
    "streamed": {(200, "text/event-stream")},
}
"""Status and media type of responses that a run must include."""

RUN_LIMIT_S = 200
EXAMPLES = {
    ("CompletionRequest", "prompt"): "Once upon a time",
    ("ChatRequest", "messages"): [{"role": "user", "content": "Hello"}],
    ("ResponsesRequest", "input"): "Hello",
    ("Item", "role"): "user",
    ("Item", "content"): "Hello",
    ("Message", "role"): "user",
    ("Message", "content"): "Hello",
    ("Part", "type"): "text",
    ("Part", "text"): "Hello",
    ("MessagesRequest", "messages"): [{"role": "user", "content": "Hello"}],
    ("MessagesRequest", "max_tokens"): 8,
    ("CountTokensRequest", "messages"): [{"role": "user", "content": "Hello"}],
    ("Turn", "role"): "user",
    ("Turn", "content"): "Hello",
    ("Block", "type"): "text",
    ("Block", "text"): "Hello",
}
"""The values of fields while another is tested; others are null, as many exclude one another."""


@pytest.fixture(scope="module")
def small() -> Iterator[ApiServer]:
    """A server with a small context window, so that no answer is long."""
    with serving(FakeEngine(parrot, context_length=128)) as server:
        yield server
        server.wait_until_idle()


def narrowed(described: dict[str, Any]) -> dict[str, Any]:
    """The document, restricted to served models and without additional properties in answers.

    Unsupported fields are left out: each has its own test in `test_errors.py`.
    """
    schemas = described["components"]["schemas"]
    for schema in schemas.values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    for name, table in TABLES.items():
        for field, entry in table.items():
            if entry.state == "refused":
                del schemas[name]["properties"][field]
            elif field not in schemas[name]["required"] or (name, field) in EXAMPLES:
                schemas[name]["properties"][field]["example"] = EXAMPLES.get((name, field))
    for name in BODIES:
        schemas[name]["properties"]["model"] = {"enum": ["fake"]}
    for wire in (TokenizeRequest, DetokenizeRequest, ApplyTemplateRequest):
        schemas[wire.__name__]["properties"]["model"]["enum"] = ["fake", None]
    return described


def streaming(described: dict[str, Any]) -> dict[str, Any]:
    """The document, restricted to streams and to prompts that are not rejected late."""
    schemas = described["components"]["schemas"]
    text = {"type": "string", "minLength": 1, "maxLength": 20}
    turn = {"role": {"enum": ["system", "user", "assistant"]}, "content": text}
    schemas["Message"] |= {"properties": turn, "required": list(turn)}
    schemas["ChatRequest"]["properties"]["messages"] |= {"minItems": 1, "maxItems": 2}
    schemas["CompletionRequest"]["properties"]["prompt"] = text
    schemas["MessagesRequest"]["required"].append("max_tokens")
    schemas["Turn"] |= {"properties": turn | {"role": {"enum": ["user"]}}, "required": list(turn)}
    schemas["MessagesRequest"]["properties"]["messages"] |= {"minItems": 1, "maxItems": 2}
    schemas["ResponsesRequest"]["properties"]["input"] = text
    for name in STREAMED:
        schemas[name]["properties"]["stream"] = {"const": True}
        schemas[name]["required"].append("stream")
    for part in everything_in(described["paths"]):
        if "example" in part:
            part["example"]["stream"] = True
    return described


def answers_in(report: Path) -> set[tuple[int, str]]:
    """Status and media type of every response to a POST."""
    entries = json.loads(report.read_text(encoding="utf-8"))["log"]["entries"]
    return {
        (entry["response"]["status"], entry["response"]["content"]["mimeType"].partition(";")[0])
        for entry in entries
        if entry["request"]["method"] == "POST" and "completions" in entry["request"]["url"]
    }


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_every_response_matches_the_document(small: ApiServer, tmp_path: Path, fuzz: int, run: str) -> None:
    num_examples, options = RUNS[run]
    described = narrowed(small.get("/openapi.json").json())
    (tmp_path / "openapi.json").write_text(json.dumps(streaming(described) if run == "streamed" else described))

    ran = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", f"--url={small.root}", *options),
            *(f"--checks={','.join(CHECKS)}", f"--max-examples={num_examples * fuzz}"),
            *(("--generation-deterministic",) if fuzz == 1 else ()),
            *("--no-color", "--report=har", "--report-har-path=report.har"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S * fuzz,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert WANTED[run] <= answers_in(tmp_path / "report.har")
