"""The results of lines, as the lines of an output file."""

from __future__ import annotations

import uuid

import msgspec

from crossette.accounts.batches import LineResult
from crossette.api.batches.in_process import InProcessAnswer
from crossette.api.batches.input_file import BatchLine
from crossette.api.schema.batches import LineResponse, OutputLine


def new_id() -> str:
    """The id of a request of a batch, in its result and in the log."""
    return "batch_req_" + uuid.uuid4().hex


def result_of(line: BatchLine, answer: InProcessAnswer) -> LineResult:
    response = LineResponse(status_code=answer.status, request_id=answer.request_id, body=msgspec.Raw(answer.body))
    output = OutputLine(id=answer.request_id, custom_id=line.custom_id, response=response, error=None)
    return LineResult(line.number, answer.status == 200, output.encoded(), answer.usage)
