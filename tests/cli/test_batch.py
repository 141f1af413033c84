"""`crossette batch run`: a file of requests, answered without a server."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from crossette.accounts.batches import LineResult
from crossette.api.app import App
from crossette.api.batches.input_file import BatchLine, lines, parsed
from crossette.api.batches.offline import OfflineRun, answered
from crossette.api.batches.slots import Slots
from crossette.api.models import ServedModels
from crossette.cli.main import app as commands
from crossette.errors import ConfigError
from crossette.models.store import StoredModel
from crossette.pool.pool import ModelPool
from crossette.testing.fake_engine import FakeEngine
from support.api_server import parrot
from support.batch_files import chat_line, jsonl, texts


def requests(wanted: Sequence[dict[str, object]]) -> list[BatchLine]:
    return [parsed(line, lambda url: True) for line in lines([jsonl(wanted)], 2**20)]


def run(engine: FakeEngine, pending: Sequence[BatchLine], output: Path) -> list[LineResult]:
    app, noted = App(ServedModels(ModelPool.of({"fake": engine}))), list[LineResult]()
    with output.open("ab") as opened:
        asyncio.run(OfflineRun(app.in_process(), Slots(app.models), opened, noted.append).run(pending))
    return noted


def written(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.read_bytes().splitlines()]


def test_every_request_has_a_result_at_the_width_of_the_engine(tmp_path: Path) -> None:
    widths: Counter[int] = Counter()

    def noting(request: Any, index: int) -> bytes:
        widths[engine.stats().running + engine.stats().waiting] += 1
        return parrot(request, index)

    engine = FakeEngine(noting, max_sequences=4)
    wanted = {f"id {n}": f"text {n}" for n in range(20)}
    noted = run(engine, requests([chat_line(name, text) for name, text in wanted.items()]), tmp_path / "out")

    assert texts(written(tmp_path / "out")) == wanted
    assert (len(noted), max(widths)) == (20, 3)  # with itself, a request makes it four


def test_a_refused_request_is_a_result_too(tmp_path: Path) -> None:
    (result,) = run(FakeEngine(), requests([chat_line("a", "x", temperature=9)]), tmp_path / "out")

    (line,) = written(tmp_path / "out")
    assert (result.is_completed, line["response"]["status_code"]) == (False, 400)


def test_results_of_an_earlier_run_are_found_and_an_incomplete_line_is_cut_off(tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert answered(output) == frozenset()
    run(FakeEngine(parrot), requests([chat_line("a", "x"), chat_line("b", "y")]), output)
    complete = output.read_bytes()

    for cut in range(1, len(complete.splitlines()[-1])):
        output.write_bytes(complete + complete.splitlines()[-1][:cut])
        assert (answered(output), output.read_bytes()) == (frozenset({"a", "b"}), complete)


def test_a_file_with_other_contents_is_not_overwritten(tmp_path: Path) -> None:
    output = tmp_path / "notes.txt"
    output.write_text("my notes\nmore")

    with pytest.raises(ConfigError, match=r"Line 1 of .*notes\.txt is no result"):
        answered(output)
    assert output.read_text() == "my notes\nmore"


def test_an_invalid_file_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_bytes(jsonl([chat_line("a", "x"), chat_line("b", "x", url="/v1/other")]) + b"{\n")
    ended = CliRunner().invoke(commands, ["batch", "run", str(file)])

    assert isinstance(ended.exception, ConfigError)
    assert "line 2: The url '/v1/other'" in str(ended.exception)
    assert "line 3: This line is not parseable" in str(ended.exception)


def test_the_command_answers_what_is_left(real_model: StoredModel, tmp_path: Path) -> None:
    file, output = tmp_path / "in.jsonl", tmp_path / "in.out.jsonl"
    asked = [{"role": "user", "content": "Name the capital of France."}]
    wanted = [chat_line(name, "", messages=asked, temperature=0, max_tokens=12, model="gpt-4") for name in "abc"]
    file.write_bytes(jsonl(wanted[:2]))
    command = ["batch", "run", str(file), "--model", real_model.name]

    first = CliRunner().invoke(commands, command)
    assert first.exit_code == 0, first.output
    file.write_bytes(jsonl(wanted))
    second = CliRunner().invoke(commands, command)
    third = CliRunner().invoke(commands, command)

    found = texts(written(output))
    assert (sorted(found), list(found)[2]) == (["a", "b", "c"], "c")
    assert all("Paris" in text for text in found.values())
    assert ("2 requests" in first.output, "1 requests" in second.output) == (True, True)
    assert "All 3 requests have a result" in third.output
