"""A request to /responses as one for a chat, which all that follows reads."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial

from crossette.api.chat import prepare as prepare_chat
from crossette.api.dialect import Dialect
from crossette.api.endpoint import Call
from crossette.api.responses.context import context_of
from crossette.api.responses.fields import PASSED
from crossette.api.responses.items import messages_of
from crossette.api.responses.schema import Format, ResponsesRequest
from crossette.api.responses.tools import chat_tools, tools_of
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.response_format import OutputFormatBuilder, ResponseFormat
from crossette.api.schema.table import check_limits, refuse_unsupported
from crossette.engine import Engine
from crossette.errors import InvalidRequest, Unsupported, missing
from crossette.text import output_format
from crossette.text.tool_calls.tools import Tool, ToolChoice

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"
_GUIDED = ("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs")
_NAMES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "logprobs": "include",
    "prompt_truncate_len": "truncation",
    "response_format": "text.format",
    "tool_choice.function": "tool_choice.name",
}
_UNTIL_IT_FITS = sys.maxsize
"""The limit of the prompt with `truncation: auto`, until the model's window is known."""
_RESERVED = 8
"""With `truncation: auto` and no limit of the answer, one part in eight of the window is left for it."""


class TextFormat(ResponseFormat, kw_only=True, forbid_unknown_fields=True):
    """A response format. Its errors have the paths of `text.format`."""

    def builder(self) -> OutputFormatBuilder | None:
        if self.grammar is not None:
            return partial(output_format.gbnf, self.grammar, "text.format.grammar")
        if (found := self.schema_sent()) is not None:
            schema, wrapper = found
            strict = wrapper.get("strict") is True
            return partial(output_format.json_schema, schema, "text.format.schema", strict=strict)
        return partial(output_format.json_object, "text.format") if self.type == "json_object" else None


class ResponsesChat(ChatRequest, kw_only=True, forbid_unknown_fields=True):
    """The chat of a request to /responses. Its errors have the paths of that request's tools."""

    tool_indices: list[int]

    def tools_and_choice(self) -> tuple[list[Tool], ToolChoice]:
        tools, choice = super().tools_and_choice()
        paths = (f"tools[{index}].parameters" for index in self.tool_indices)
        return [replace(tool, param=path) for tool, path in zip(tools, paths, strict=True)], choice


def chat_of(sent: ResponsesRequest, dialect: Dialect) -> ResponsesChat:
    """Raises InvalidRequest, naming the invalid field."""
    _check(sent, dialect)
    context = context_of(sent)
    tools = tools_of(sent.tools or (), skips_others=context.skips_tools)
    has_logprobs = LOGPROBS in (sent.include or ()) or bool(sent.top_logprobs)
    return ResponsesChat(
        **{name: getattr(sent, name) for name in PASSED},
        messages=messages_of(sent.input, sent.instructions, context.history),
        max_completion_tokens=sent.max_output_tokens,
        reasoning_effort=sent.reasoning.effort if sent.reasoning is not None else None,
        response_format=_response_format(sent.text.format if sent.text is not None else None),
        tools=chat_tools(tools),
        tool_choice=sent.tool_choice,
        tool_indices=tools.indices,
        logprobs=has_logprobs or None,
        top_logprobs=(sent.top_logprobs or 0) if has_logprobs else None,
        prompt_truncate_len=_UNTIL_IT_FITS if sent.truncation == "auto" else None,
    )


def _check(sent: ResponsesRequest, dialect: Dialect) -> None:
    refuse_unsupported(sent, sent.table)
    check_limits(sent, sent.table, dialect)
    if sent.stream_options is not None:
        refuse_unsupported(sent.stream_options, sent.stream_options.table, "stream_options.")
        if not sent.stream:
            raise InvalidRequest("stream_options needs stream: true.", param="stream_options")
    for index, name in enumerate(sent.include or ()):
        if name not in (LOGPROBS, ENCRYPTED):
            raise Unsupported(
                f"'include[{index}]' is {name[:64]!r}: answers here may include {LOGPROBS} and {ENCRYPTED}.",
                param=f"include[{index}]",
            )
    _check_reasoning(sent)
    _check_text(sent)


def _check_reasoning(sent: ResponsesRequest) -> None:
    options = sent.reasoning
    if options is None:
        return
    refuse_unsupported(options, options.table, "reasoning.")
    for name in ("summary", "generate_summary"):
        if getattr(options, name) == "concise":
            raise Unsupported(
                f"'reasoning.{name}' is 'concise', but nothing here shortens reasoning. Send 'auto' for all of it.",
                param=f"reasoning.{name}",
            )
    if options.summary and options.generate_summary and options.summary != options.generate_summary:
        raise InvalidRequest(
            "reasoning.summary and reasoning.generate_summary are two names of one thing, and differ.",
            param="reasoning.generate_summary",
        )


def _check_text(sent: ResponsesRequest) -> None:
    if sent.text is None:
        return
    refuse_unsupported(sent.text, sent.text.table, "text.")
    other = next((name for name in _GUIDED if getattr(sent, name) is not None), None)
    if other is not None and sent.text.format is not None and sent.text.format.type != "text":
        raise InvalidRequest(f"text.format and {other} both set the output format: send one of them.", param=other)


def _response_format(sent: Format | None) -> TextFormat | None:
    """The format in the notation of a chat. Raises InvalidRequest for a schema or a grammar of another type."""
    if sent is None:
        return None
    own = {"json_schema": "schema", "grammar": "grammar"}.get(sent.type)
    for name in ("schema", "grammar"):
        if getattr(sent, name) is not None and name != own:
            raise InvalidRequest(
                f"text.format.{name} cannot be combined with type '{sent.type}'.", param=f"text.format.{name}"
            )
    if own is not None and getattr(sent, own) is None:
        raise missing(f"text.format.{own}")
    if sent.type != "json_schema":
        return TextFormat(type=sent.type, grammar=sent.grammar)
    given = {"name": sent.name, "description": sent.description, "strict": sent.strict}
    wrapper = {"schema": sent.schema, **{name: value for name, value in given.items() if value is not None}}
    return TextFormat(type="json_schema", json_schema=wrapper)


def names(path: str) -> str:
    """The path of a field in a request to /responses, from the path in a chat."""
    if path.startswith("response_format."):
        return f"text.format.{path.removeprefix('response_format.')}"
    return _NAMES.get(path, path)


async def prepare(body: ResponsesChat, engine: Engine, dialect: Dialect) -> Call:
    """As for a chat. With `truncation: auto` the prompt leaves room for the answer."""
    if body.prompt_truncate_len is not None:
        window = engine.info.context_length
        room = body.requested_max_tokens() or window // _RESERVED
        body.prompt_truncate_len = max(1, window - room)
    return await prepare_chat(body, engine, dialect)
