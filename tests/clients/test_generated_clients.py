"""Clients that generators make of the OpenAPI document of a running server."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.api_server import ALIASES, DIALECTS, LIMIT_S, ApiServer
from support.client_environments import node, npm_folder, python_of, run_client, typecheck

pytestmark = [pytest.mark.all, pytest.mark.timeout(600)]  # the first test may install a generator

TYPESCRIPT = "openapi_typescript"


def promised(prefix: str) -> dict[str, Any]:
    """The answers of one dialect."""
    dialect = DIALECTS[prefix]
    text = "one, two" if dialect.include_stop else "one, "
    kind, code = dialect.errors["invalid_request"]
    return {
        "completion": [text, "stop", 8],
        "logprobs": [["o", "n"], [-0.875, -0.75], ["H", "i"]],
        "chat": "one, two, three",
        "tool call": ["weather", {"city": "Bern"}, "tool_calls"],
        "format": {"city": "Bern"},
        "bad value": [kind, "temperature", "decimal_above_max_value" if dialect.specific_codes else code],
        "unsupported": [kind, "best_of", code],
        "models": ["fake", *ALIASES],
        "model": "gpt-3.5-turbo",
    }


EXPECTED = {"openai": promised("/v1"), "fireworks": promised("/inference/v1")}


def test_a_client_of_openapi_python_client_has_and_calls_every_operation(api: ApiServer) -> None:
    told = run_client("openapi_python_client", "generated_client.py", api.root)

    assert told["generator"] == "Generating generated"  # a warning for each operation that it leaves out
    assert told["answers"] == EXPECTED


def test_a_client_over_types_of_openapi_typescript_compiles_and_calls_every_operation(api: ApiServer) -> None:
    folder = npm_folder(TYPESCRIPT)
    generator = folder / "node_modules/openapi-typescript/bin/cli.js"
    command = [str(node()), str(generator), f"{api.root}/openapi.json", "--output", str(folder / "openapi.d.ts")]
    ran = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=LIMIT_S)
    assert ran.returncode == 0, ran.stderr
    assert "⚠" not in ran.stdout + ran.stderr

    assert typecheck(TYPESCRIPT, "generated_client.ts") == ""
    told = run_client(TYPESCRIPT, "generated_client.ts", api.root)

    assert told == {name: {**answers, "chat stream": "data: [DONE]"} for name, answers in EXPECTED.items()}


def test_a_validator_of_openapi_accepts_the_document(api: ApiServer, tmp_path: Path) -> None:
    """It checks schemas, parameters and examples, and that names of operations are unique."""
    file = tmp_path / "openapi.json"
    file.write_bytes(api.get("/openapi.json").content)
    command = [str(python_of("openapi_python_client")), "-m", "openapi_spec_validator", "--errors=all", str(file)]
    ran = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=LIMIT_S)

    assert (ran.returncode, ran.stdout) == (0, f"{file}: OK\n"), ran.stdout + ran.stderr
