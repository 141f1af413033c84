"""What a response repeats of its request, as it was applied."""

from __future__ import annotations

from typing import Any

from crossette.api.dialect import Dialect
from crossette.api.responses.answer import ReasoningUsed, Response
from crossette.api.responses.schema import Format, FunctionTool, ResponsesRequest
from crossette.api.responses.tools import tools_of
from crossette.api.schema.answer import Head
from crossette.api.schema.tools import MODES, AllowedTool, ToolChoiceSent
from crossette.types import SamplingParams


def new_response(head: Head, sent: ResponsesRequest, dialect: Dialect, sampling: SamplingParams | None) -> Response:
    """A response that has just begun. `sampling` is what the engine uses; None if an upstream has its own."""
    reasoning = sent.reasoning
    return Response(
        id=head.id,
        created_at=head.created,
        status="in_progress",
        model=head.model,
        output=[],
        instructions=sent.instructions,
        previous_response_id=sent.previous_response_id,
        max_output_tokens=sent.max_output_tokens,
        max_tool_calls=sent.max_tool_calls,
        parallel_tool_calls=sent.parallel_tool_calls is not False,
        reasoning=ReasoningUsed(
            reasoning.effort if reasoning is not None else None,
            (reasoning.summary or reasoning.generate_summary) if reasoning is not None else None,
        ),
        text={"format": _format(sent.text.format if sent.text is not None else None), "verbosity": "medium"},
        tool_choice=_choice(sent.tool_choice),
        tools=[_tool(tool) for tool in tools_of(sent.tools or (), skips_others=True).functions],
        temperature=_applied("temperature", sent, sampling),
        top_p=_applied("top_p", sent, sampling),
        presence_penalty=_applied("presence_penalty", sent, sampling, 0.0),
        frequency_penalty=_applied("frequency_penalty", sent, sampling, 0.0),
        top_logprobs=sent.top_logprobs or 0,
        truncation=sent.truncation or "disabled",
        service_tier=head.service_tier or "default",
        metadata=sent.metadata or {},
        user=sent.user,
        safety_identifier=sent.safety_identifier,
        prompt_cache_key=sent.prompt_cache_key,
    )


def _applied(name: str, sent: ResponsesRequest, sampling: SamplingParams | None, default: float = 1.0) -> float:
    value: float | None = getattr(sent if sampling is None else sampling, name)
    return default if value is None else value


def _format(sent: Format | None) -> dict[str, Any]:
    if sent is None:
        return {"type": "text"}
    if sent.type != "json_schema":
        return {"type": sent.type} if sent.grammar is None else {"type": sent.type, "grammar": sent.grammar}
    return {
        "type": sent.type,
        "name": sent.name or "answer",
        "description": sent.description,
        "schema": sent.schema,
        "strict": sent.strict is True,
    }


def _tool(tool: FunctionTool) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict is True,
    }


def _choice(sent: str | ToolChoiceSent | None) -> str | dict[str, Any]:
    if sent is None or isinstance(sent, str):
        return MODES[sent or "auto"]
    if sent.type in MODES:
        return MODES[sent.type]
    if sent.type == "function":
        return {"type": "function", "name": sent.named("tool_choice.")}
    allowed = sent.allowed_tools or sent
    return {"type": "allowed_tools", "mode": allowed.mode or "auto", "tools": _allowed(allowed.tools or [])}


def _allowed(tools: list[AllowedTool]) -> list[dict[str, str]]:
    return [{"type": "function", "name": tool.named("tool_choice.tools[].")} for tool in tools]
