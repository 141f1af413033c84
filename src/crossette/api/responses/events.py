"""Wire types of the events of a streamed response. The tag of each is its name."""

from __future__ import annotations

import msgspec

from crossette.api.responses.answer import OutputItem, OutputText, ReasoningPart, Response, SummaryPart
from crossette.api.schema.logprobs import TokenLogprob


class Event(msgspec.Struct, kw_only=True, tag_field="type"):
    sequence_number: int = 0
    """Counts the events of a stream from 0; set when the event is sent."""


class ResponseCreated(Event, kw_only=True, tag="response.created"):
    response: Response


class ResponseInProgress(Event, kw_only=True, tag="response.in_progress"):
    response: Response


class ResponseCompleted(Event, kw_only=True, tag="response.completed"):
    response: Response


class ResponseIncomplete(Event, kw_only=True, tag="response.incomplete"):
    response: Response


class ResponseFailed(Event, kw_only=True, tag="response.failed"):
    response: Response


class ItemAdded(Event, kw_only=True, tag="response.output_item.added"):
    output_index: int
    item: OutputItem


class ItemDone(Event, kw_only=True, tag="response.output_item.done"):
    output_index: int
    item: OutputItem


class _OfItem(Event, kw_only=True):
    item_id: str
    output_index: int


class PartAdded(_OfItem, kw_only=True, tag="response.content_part.added"):
    content_index: int = 0
    part: OutputText | ReasoningPart


class PartDone(_OfItem, kw_only=True, tag="response.content_part.done"):
    content_index: int = 0
    part: OutputText | ReasoningPart


class OutputTextDelta(_OfItem, kw_only=True, tag="response.output_text.delta"):
    content_index: int = 0
    delta: str
    logprobs: list[TokenLogprob] = []


class OutputTextDone(_OfItem, kw_only=True, tag="response.output_text.done"):
    content_index: int = 0
    text: str
    logprobs: list[TokenLogprob] = []


class ReasoningDelta(_OfItem, kw_only=True, tag="response.reasoning_text.delta"):
    content_index: int = 0
    delta: str


class ReasoningDone(_OfItem, kw_only=True, tag="response.reasoning_text.done"):
    content_index: int = 0
    text: str


class SummaryPartAdded(_OfItem, kw_only=True, tag="response.reasoning_summary_part.added"):
    summary_index: int = 0
    part: SummaryPart


class SummaryPartDone(_OfItem, kw_only=True, tag="response.reasoning_summary_part.done"):
    summary_index: int = 0
    part: SummaryPart


class SummaryDelta(_OfItem, kw_only=True, tag="response.reasoning_summary_text.delta"):
    summary_index: int = 0
    delta: str


class SummaryDone(_OfItem, kw_only=True, tag="response.reasoning_summary_text.done"):
    summary_index: int = 0
    text: str


class ArgumentsDelta(_OfItem, kw_only=True, tag="response.function_call_arguments.delta"):
    delta: str


class ArgumentsDone(_OfItem, kw_only=True, tag="response.function_call_arguments.done"):
    name: str
    arguments: str


class ErrorEvent(Event, kw_only=True, tag="error"):
    """A stream that failed before its response began."""

    code: str | None
    message: str
    param: str | None


StreamEvent = (
    ResponseCreated
    | ResponseInProgress
    | ResponseCompleted
    | ResponseIncomplete
    | ResponseFailed
    | ItemAdded
    | ItemDone
    | PartAdded
    | PartDone
    | OutputTextDelta
    | OutputTextDone
    | ReasoningDelta
    | ReasoningDone
    | SummaryPartAdded
    | SummaryPartDone
    | SummaryDelta
    | SummaryDone
    | ArgumentsDelta
    | ArgumentsDone
    | ErrorEvent
)
"""Every event of a stream."""
