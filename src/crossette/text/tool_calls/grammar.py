"""A choice of tools as a grammar: what is forbidden cannot be written, and what is required must be."""

from __future__ import annotations

from collections.abc import Sequence

from crossette.text.lark import ANY, Marker, spelled, text_without
from crossette.text.tool_calls.format import ToolFormat
from crossette.text.tool_calls.tools import Tool, ToolChoice


def tool_grammar(
    tool_format: ToolFormat,
    tools: Sequence[Tool],
    choice: ToolChoice,
    marker: Marker,
    unwanted: Sequence[str] = (),
    form: str = "",
) -> str:
    """The grammar in Lark, for a Constraint of kind `lark`.

    With `none` there is text and no call. With `auto` there is text, until a call opens; from there on the grammar
    holds it to the tools, and the answer ends with its calls. With `required` there is nothing but calls. Free text
    never holds `unwanted`: the mark of thoughts, where those are the preamble's. A `form`, an expression, takes the
    place of text with `auto`.

    Raises InvalidRequest for parameters that cannot be enforced, or not in this format. Some tool must be allowed,
    but for `none`.
    """
    allowed = choice.allowed(tools)
    text = _text(tool_format, unwanted)
    content = " ".join(filter(None, [_spelled(tool_format, tool_format.before_text, marker), "TEXT"]))
    calls = _calls(tool_format, choice, marker)
    match choice.mode:
        case "none":
            return f"start: {content}\nTEXT: {text}\n"
        case "required":
            start = calls
        case "auto" if form:
            before = _spelled(tool_format, tool_format.before_text, marker)
            start = f"{before} form | {calls}\nform: {form}"
        case "auto" if tool_format.bare or tool_format.before_text:
            start = f"{content} | {calls}"
        case "auto" if calls.startswith("<["):
            start = f"{content} ({calls})?"
        case "auto":
            return _auto_after_words(tool_format, allowed, choice, marker, unwanted)
    return "\n".join([f"start: {start}", f"TEXT: {text}", *_call_rules(tool_format, allowed, marker)])


def _auto_after_words(
    tool_format: ToolFormat, tools: Sequence[Tool], choice: ToolChoice, marker: Marker, unwanted: Sequence[str]
) -> str:
    """`auto` where the opening is no token: text up to it is one lexeme, which ends as soon as it stands there."""
    opening = tool_format.trigger
    others = [other for other in (*tool_format.openings, *unwanted) if other != opening]
    calls = _calls(tool_format, choice, marker, opened=opening)
    return "\n".join(
        [
            f"start: TEXT | opened {calls}",
            f"opened[lazy]: {text_without(others, then=opening)}",
            f"TEXT: {_text(tool_format, unwanted)}",
            *_call_rules(tool_format, tools, marker),
        ]
    )


def _text(tool_format: ToolFormat, unwanted: Sequence[str]) -> str:
    """Text in which no call begins."""
    triggers = {*tool_format.openings, *filter(None, [tool_format.trigger])}
    text = text_without([*sorted(triggers), *unwanted])
    return f"{text} & ~(/{tool_format.bare_beginning}/ {ANY})" if tool_format.bare else text


def _calls(tool_format: ToolFormat, choice: ToolChoice, marker: Marker, opened: str = "") -> str:
    """All calls of an answer, without the words of the opening that were already written."""
    first = _spelled(tool_format, (tool_format.begin + tool_format.before_name).removeprefix(opened), marker)
    another = _spelled(tool_format, tool_format.between + tool_format.before_name, marker)
    more = f"({another} call)*" if choice.parallel and not tool_format.one_call else ""
    if tool_format.bare:
        # Up to the arguments it is one lexeme, so that it ends where free text can no longer be that text.
        first = "first_call"
    else:
        first += " call"
    return " ".join(filter(None, [first, more, _spelled(tool_format, tool_format.end, marker)]))


def _call_rules(tool_format: ToolFormat, tools: Sequence[Tool], marker: Marker) -> list[str]:
    """From a call's name on; `first_call` from the beginning of all calls on."""
    rules = _alternatives(tool_format, tools, marker, "call", "")
    if tool_format.bare:
        rules += _alternatives(tool_format, tools, marker, "first_call", tool_format.begin + tool_format.before_name)
    return rules


def _alternatives(
    tool_format: ToolFormat, tools: Sequence[Tool], marker: Marker, rule: str, before_name: str
) -> list[str]:
    after = _spelled(tool_format, tool_format.after_arguments, marker)
    rules = [f"{rule}: " + " | ".join(f"{rule}_{place}" for place in range(len(tools)))]
    for place, tool in enumerate(tools):
        head = _spelled(tool_format, before_name + tool.name + tool_format.before_arguments, marker)
        rules.append(f"{rule}_{place}: {head} {tool_format.arguments_of(tool)} {after}")
    return rules


def _spelled(tool_format: ToolFormat, text: str, marker: Marker) -> str:
    return spelled(text, tool_format.markers, marker) if text else ""
