"""docs/requests.md lists exactly the headers, log fields and span attributes of a request."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from crossette import log as logs
from crossette.observability import request_log
from crossette.observability.record import RequestRecord
from crossette.observability.tracing import attributes, events
from crossette.types import SamplingParams
from support.api_server import say, serving
from support.records import WORK, make_record

PAGE = Path(__file__).parent.parent / "docs/requests.md"
HEADER, LOG, SPAN = 2, 3, 4


def named(column: int) -> set[str]:
    """The names in a column of the page's tables."""
    rows = [line.split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return {name for row in rows for name in re.findall("`([^`]+)`", row[column])}


def full_record() -> RequestRecord:
    """A record with all optional values."""
    work = replace(WORK, sampling=SamplingParams(16, top_k=40, seed=7))
    return make_record(work=work, error="internal", hint="--x", recorded={"user": "ann"})


@pytest.mark.usefixtures("root_logger")
def test_the_page_lists_all_log_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    with logs.ids("req-1", "0af7651916cd43dd8448eb211c80319c"):
        request_log.note(full_record())

    assert named(LOG) == json.loads(capsys.readouterr().err).keys()


def test_the_page_lists_all_span_attributes() -> None:
    record = full_record()

    assert named(SPAN) == attributes(record).keys() | {name for name, _ in events(record.work)}


def test_the_page_lists_all_headers() -> None:
    body = {"model": "fake", "prompt": say("Hello"), "prediction": "Help"}
    with serving() as server:
        headers = server.post("/inference/v1/completions", body).headers

    assert named(HEADER) == {name for name in headers if name.startswith("fireworks-")} | {"x-request-id"}
