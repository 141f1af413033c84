"""Answers as responses: whole, or as events."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from functools import partial

from crossette.api.dialect import Dialect
from crossette.api.endpoint import Reply
from crossette.api.extras import Extras
from crossette.api.responses import events as ev
from crossette.api.responses.answer import IncompleteDetails, Response, ResponseFailure, response_usage
from crossette.api.responses.body import ENCRYPTED
from crossette.api.responses.context import context_of
from crossette.api.responses.echo import new_response
from crossette.api.responses.output import Output, OutputOptions
from crossette.api.responses.schema import ResponsesRequest
from crossette.api.schema.answer import Head
from crossette.api.schema.logprobs import ContentLogprobs, TokenLogprob, logprobs_body
from crossette.api.wire import Wire, error_body
from crossette.errors import InvalidRequest, RetryLater, ServingError
from crossette.generation.answer import DeltaSource
from crossette.text.token_offsets import TokenText
from crossette.types import FinishReason

_INCOMPLETE = {
    FinishReason.LENGTH: IncompleteDetails("max_output_tokens"),
    FinishReason.CONTENT_FILTER: IncompleteDetails("content_filter"),
}
ID_PREFIX = "resp_"


class ResponsesReply(Reply):
    """Converts the deltas of an answer to the events of a response, or all of them to the response."""

    def __init__(self, head: Head, sent: ResponsesRequest, dialect: Dialect, extras: Extras | None) -> None:
        self.finish_reasons: list[str] = []
        self._dialect = dialect
        self._sent = sent
        self._head = head
        self._extras = extras
        self._response: Response | None = None
        """None until its first event."""
        self._output: Output | None = None
        self._num_events = 0
        self._keeper = context_of(sent).keeper
        self.ends_at_once = self._keeper is None  # which saves the response before its last event

    async def chunks(self, answer: DeltaSource) -> AsyncGenerator[ev.Event, None]:
        async with aclosing(self._events(answer)) as events:
            async for event in events:
                yield self._numbered(event)

    async def completion(self, answer: DeltaSource) -> Response:
        last: ev.Event | None = None
        async with aclosing(self._events(answer)) as events:
            async for event in events:
                last = event
        if not isinstance(last, ev.ResponseCompleted | ev.ResponseIncomplete):
            raise RuntimeError("An answer ended without its last event.")
        return last.response

    def failure(self, error: ServingError) -> ev.Event | None:
        if self._response is None or self._output is None:
            return None
        self._response.status = "failed"
        self._response.error = ResponseFailure(_code_of(error), error.message)
        self._response.output = self._output.items()
        return self._numbered(ev.ResponseFailed(response=self._response))

    def _numbered(self, event: ev.Event) -> ev.Event:
        event.sequence_number = self._num_events
        self._num_events += 1
        return event

    async def _events(self, answer: DeltaSource) -> AsyncGenerator[ev.Event, None]:
        reason: FinishReason | None = None
        async with aclosing(answer.deltas()) as deltas:
            async for delta in deltas:
                if self._response is None or self._output is None:
                    self._response = await self._begin(answer)
                    self._output = Output(self._head.id.removeprefix(ID_PREFIX), self._options(answer))
                    yield ev.ResponseCreated(response=self._response)
                    yield ev.ResponseInProgress(response=self._response)
                for event in self._output.add(delta.pieces, delta.tokens):
                    yield event
                reason = delta.finish_reason
                if self._output.is_over:
                    break
        if self._response is None or self._output is None:
            raise RuntimeError("An answer ended without a delta.")
        for event in self._end(self._response, self._output, reason, answer):
            if self._keeper is not None and isinstance(event, ev.ResponseCompleted | ev.ResponseIncomplete):
                await self._keeper.save(event.response)  # before the client can continue it
            yield event

    async def _begin(self, answer: DeltaSource) -> Response:
        response = new_response(self._head, self._sent, self._dialect, answer.sampling)
        response.store = self._keeper is not None
        if self._keeper is not None and self._keeper.is_background:
            response.background = True
            await self._keeper.save(response)
        return response

    def _end(
        self, response: Response, output: Output, reason: FinishReason | None, answer: DeltaSource
    ) -> Iterator[ev.Event]:
        """The last events, from the end of what is open."""
        details = (
            IncompleteDetails("max_tool_calls") if output.is_over else _INCOMPLETE.get(reason or FinishReason.STOP)
        )
        cut = details is not None and not output.is_over
        yield from output.end("incomplete" if cut else "completed")
        is_call = output.num_calls and not cut
        self.finish_reasons.append("tool_calls" if is_call else reason or FinishReason.STOP)
        response.output = output.items()
        response.incomplete_details = details
        response.usage = response_usage(answer.usage, self._dialect, is_cached=self._is_cached(answer))
        if details is None:
            response.status, response.completed_at = "completed", int(time.time())
            yield ev.ResponseCompleted(response=response)
        else:
            response.status = "incomplete"
            yield ev.ResponseIncomplete(response=response)

    def _is_cached(self, answer: DeltaSource) -> bool:
        return answer.sampling is not None and self._sent.cache_prompt is not False

    def _options(self, answer: DeltaSource) -> OutputOptions:
        sent, reasoning, extras = self._sent, self._sent.reasoning, self._extras
        has_logprobs = extras is not None and extras.logprobs is not None
        return OutputOptions(
            shows_reasoning=sent.include_reasoning is not False,
            summarises=reasoning is not None and bool(reasoning.summary or reasoning.generate_summary),
            seals=ENCRYPTED in (sent.include or ()),
            max_calls=sent.max_tool_calls,
            logprobs=partial(_logprobs, extras) if extras is not None and has_logprobs else None,
            are_calls_in_turn=answer.calls_in_turn,
        )


def _logprobs(extras: Extras, tokens: Sequence[TokenText]) -> list[TokenLogprob]:
    detailed = extras.dialect.detailed_logprobs
    body = logprobs_body(extras.logprobs, tokens, extras.tokenizer.token_text, detailed=detailed)
    return body.content if isinstance(body, ContentLogprobs) else []


def _code_of(error: ServingError) -> str:
    """OpenAI's code of a failed response: it has fewer than other errors."""
    if isinstance(error, InvalidRequest):
        return "invalid_prompt"
    return "rate_limit_exceeded" if isinstance(error, RetryLater) and error.status == 429 else "server_error"


def _error_event(error: ServingError, dialect: Dialect, request_id: str) -> ev.ErrorEvent:
    """The event of a stream that failed before its response began."""
    _, code = dialect.error_names(error.kind, error.code)
    return ev.ErrorEvent(code=code, message=error.message, param=error.param)


WIRE = Wire(error_body, error_event=_error_event)
