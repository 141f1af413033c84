"""Tool calls on the wire: `tool_calls` in either dialect, or the older `function_call`."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from msgspec import UNSET, UnsetType

from crossette.api.dialect import Dialect
from crossette.api.schema.chat import CallBody, DeltaBody, ToolCallBody
from crossette.text.pieces import ToolCall, ToolCallArguments, ToolCallStart
from crossette.types import FinishReason


class CallWriter:
    """Writes the tool calls of one answer. `is_legacy`: the client sent `functions` and expects `function_call`."""

    def __init__(self, dialect: Dialect, *, is_legacy: bool) -> None:
        self._repeats = dialect.call_pieces_repeat_type
        self._is_legacy = is_legacy

    def head(self, head: ToolCallStart) -> DeltaBody:
        """The first delta of a call. Id and name are sent once only: clients concatenate values under the same key."""
        if self._is_legacy:
            return DeltaBody(content=None, function_call=CallBody("", head.name))
        function = CallBody(UNSET if self._repeats else "", head.name)
        return DeltaBody(tool_calls=[ToolCallBody(function, head.index, _new_id(), "function")])

    def arguments(self, piece: ToolCallArguments) -> DeltaBody:
        function = CallBody(piece.text)
        if self._is_legacy:
            return DeltaBody(function_call=function)
        body = ToolCallBody(function, piece.index)
        if self._repeats:
            body = ToolCallBody(function, piece.index, None, "function")
        return DeltaBody(tool_calls=[body])

    def listed(self, calls: Sequence[ToolCall]) -> list[ToolCallBody] | UnsetType:
        """The `tool_calls` of a message."""
        if self._is_legacy or not calls:
            return UNSET
        return [ToolCallBody(CallBody(call.arguments, call.name), UNSET, _new_id(), "function") for call in calls]

    def single(self, calls: Sequence[ToolCall]) -> CallBody | UnsetType:
        """The `function_call` of a message."""
        return CallBody(calls[0].arguments, calls[0].name) if self._is_legacy and calls else UNSET

    def finish_reason(self, reason: FinishReason | None, num_calls: int) -> str | None:
        """`tool_calls` or `function_call` for an answer that has calls and was not cut off; else `reason`."""
        if reason != FinishReason.STOP or not num_calls:
            return reason
        return "function_call" if self._is_legacy else "tool_calls"


def _new_id() -> str:
    return f"call_{secrets.token_hex(12)}"
