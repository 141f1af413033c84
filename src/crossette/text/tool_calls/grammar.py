"""The tool choice of a request as a grammar: calls that are not allowed are excluded, required calls are enforced."""

from __future__ import annotations

from collections.abc import Sequence

from crossette.text.lark import ANY, MarkerId, literal, text_without
from crossette.text.tool_calls.format import ToolFormat
from crossette.text.tool_calls.tools import Tool, ToolChoice


def tool_grammar(
    tool_format: ToolFormat,
    tools: Sequence[Tool],
    choice: ToolChoice,
    marker_id: MarkerId,
    excluded: Sequence[str] = (),
    content_format: str = "",
) -> str:
    """The Lark grammar of a Constraint of kind `lark`.

    `none` allows text without calls. `auto` allows text until a call begins; from there on the calls are constrained,
    and end the answer. `required` allows calls only. Text never contains the strings in `excluded`, which is the
    opening tag of reasoning if that has its own preamble. With `auto`, `content_format`, an expression, replaces text.

    Raises InvalidRequest for parameters that cannot be enforced, or not in this format. Except for `none`, at least one
    tool must be allowed.
    """
    allowed = choice.allowed(tools)
    text = _text(tool_format, excluded)
    content = " ".join(filter(None, [_literal(tool_format, tool_format.before_text, marker_id), "TEXT"]))
    calls = _calls(tool_format, choice, marker_id)
    match choice.mode:
        case "none":
            return f"start: {content}\nTEXT: {text}\n"
        case "required":
            start = calls
        case "auto" if content_format:
            before = _literal(tool_format, tool_format.before_text, marker_id)
            start = f"{before} content | {calls}\ncontent: {content_format}"
        case "auto" if tool_format.bare or tool_format.before_text:
            start = f"{content} | {calls}"
        case "auto" if calls.startswith("<["):
            start = f"{content} ({calls})?"
        case "auto":
            return _auto_with_text_trigger(tool_format, allowed, choice, marker_id, excluded)
    return "\n".join([f"start: {start}", f"TEXT: {text}", *_call_rules(tool_format, allowed, marker_id)])


def _auto_with_text_trigger(
    tool_format: ToolFormat, tools: Sequence[Tool], choice: ToolChoice, marker_id: MarkerId, excluded: Sequence[str]
) -> str:
    """The grammar of `auto` if the opening tag is not a single token: the text up to it and the tag are one lexeme."""
    opening = tool_format.trigger
    others = [other for other in (*tool_format.openings, *excluded) if other != opening]
    calls = _calls(tool_format, choice, marker_id, opened=opening)
    return "\n".join(
        [
            f"start: TEXT | opened {calls}",
            f"opened[lazy]: {text_without(others, then=opening)}",
            f"TEXT: {_text(tool_format, excluded)}",
            *_call_rules(tool_format, tools, marker_id),
        ]
    )


def _text(tool_format: ToolFormat, excluded: Sequence[str]) -> str:
    """The expression of text in which no call begins."""
    triggers = {*tool_format.openings, *filter(None, [tool_format.trigger])}
    text = text_without([*sorted(triggers), *excluded])
    return f"{text} & ~(/{tool_format.bare_pattern}/ {ANY})" if tool_format.bare else text


def _calls(tool_format: ToolFormat, choice: ToolChoice, marker_id: MarkerId, opened: str = "") -> str:
    """The expression of all calls of an answer, without the text `opened`, which already precedes it."""
    first = _literal(tool_format, (tool_format.begin + tool_format.before_name).removeprefix(opened), marker_id)
    next_call = _literal(tool_format, tool_format.between + tool_format.before_name, marker_id)
    more = f"({next_call} call)*" if choice.parallel and not tool_format.one_call else ""
    if tool_format.bare:
        # Up to the arguments it is one lexeme, so that it ends where the lexeme of text no longer matches.
        first = "first_call"
    else:
        first += " call"
    return " ".join(filter(None, [first, more, _literal(tool_format, tool_format.end, marker_id)]))


def _call_rules(tool_format: ToolFormat, tools: Sequence[Tool], marker_id: MarkerId) -> list[str]:
    """The rules of a call, from its name on; `first_call` from the beginning of all calls on."""
    rules = _alternatives(tool_format, tools, marker_id, "call", "")
    if tool_format.bare:
        rules += _alternatives(tool_format, tools, marker_id, "first_call", tool_format.begin + tool_format.before_name)
    return rules


def _alternatives(
    tool_format: ToolFormat, tools: Sequence[Tool], marker_id: MarkerId, rule: str, before_name: str
) -> list[str]:
    after = _literal(tool_format, tool_format.after_arguments, marker_id)
    rules = [f"{rule}: " + " | ".join(f"{rule}_{index}" for index in range(len(tools)))]
    for index, tool in enumerate(tools):
        head = _literal(tool_format, before_name + tool.name + tool_format.before_arguments, marker_id)
        rules.append(f"{rule}_{index}: {head} {tool_format.arguments_of(tool)} {after}")
    return rules


def _literal(tool_format: ToolFormat, text: str, marker_id: MarkerId) -> str:
    return literal(text, tool_format.markers, marker_id) if text else ""
