"""Call formats of model families, and how a chat template identifies its family."""

# ruff: noqa: RUF001 - DeepSeek's tags have a full-width bar

from __future__ import annotations

import re
from dataclasses import dataclass

from crossette.text.template.jinja_environment import variables_of
from crossette.text.tool_calls.format import NAME, ToolFormat
from crossette.text.tool_calls.json_calls import JsonCalls
from crossette.text.tool_calls.named_calls import NamedCalls
from crossette.text.tool_calls.pythonic_calls import PythonicCalls

HERMES = JsonCalls(
    name="hermes",
    before_name='<tool_call>\n{"name": "',
    after_arguments="}\n</tool_call>",
    between="\n",
    openings=("<tool_call>",),
    closing="</tool_call>",
    markers=("<tool_call>", "</tool_call>"),
)
"""Also the format for templates without tools: it is the most common one in training data."""

LLAMA_3 = JsonCalls(
    name="llama3-json",
    before_arguments='", "parameters": ',
    openings=("<|python_tag|>",),
    bare="{",
    markers=("<|python_tag|>",),
    one_call=True,
)

LLAMA_PYTHONIC = PythonicCalls(
    name="llama-pythonic",
    begin="[",
    between=", ",
    end="]",
    openings=("<|python_start|>",),
    bare="[",
    layout=("<|python_end|>",),
    markers=("<|python_start|>", "<|python_end|>"),
)

GEMMA = PythonicCalls(
    name="gemma",
    begin="```tool_code\n",
    between="\n",
    end="\n```",
    openings=("```tool_code",),
    is_list=False,
    closing="```",
)

MISTRAL = JsonCalls(
    name="mistral",
    begin="[TOOL_CALLS][",
    between=", ",
    end="]",
    is_list=True,
    openings=("[TOOL_CALLS]",),
    markers=("[TOOL_CALLS]",),
)

GRANITE = JsonCalls(
    name="granite",
    begin="<|tool_call|>[",
    between=", ",
    end="]",
    is_list=True,
    openings=("<|tool_call|>", "<tool_call>"),
    layout=("<|/tool_call|>",),
    markers=("<|tool_call|>", "<|/tool_call|>"),
)

FIREFUNCTION = JsonCalls(
    name="firefunction", begin="functools[", between=", ", end="]", is_list=True, openings=("functools[",)
)

MISTRAL_NAMED = NamedCalls(
    name="mistral-named",
    before_name="[TOOL_CALLS]",
    before_arguments="[ARGS]",
    after_arguments="",
    header=re.compile(rf"\[TOOL_CALLS\](?P<name>{NAME})(?:\[CALL_ID\]\w+)?\[ARGS\]\s*"),
    openings=("[TOOL_CALLS]",),
    markers=("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),
)

DEEPSEEK_V3 = NamedCalls(
    name="deepseek-v3",
    begin="<｜tool▁calls▁begin｜>",
    before_name="<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
    before_arguments="\n```json\n",
    after_arguments="\n```<｜tool▁call▁end｜>",
    between="\n",
    end="<｜tool▁calls▁end｜>",
    header=re.compile(rf"<｜tool▁call▁begin｜>function<｜tool▁sep｜>(?P<name>{NAME})\s*(?:```json)?\s*"),
    closing="```<｜tool▁call▁end｜>",
    openings=("<｜tool▁call▁begin｜>",),
    layout=("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
    markers=(
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
    ),
)

DEEPSEEK_V3_1 = NamedCalls(
    name="deepseek-v3.1",
    begin=DEEPSEEK_V3.begin,
    before_name="<｜tool▁call▁begin｜>",
    before_arguments="<｜tool▁sep｜>",
    after_arguments="<｜tool▁call▁end｜>",
    end=DEEPSEEK_V3.end,
    header=re.compile(rf"<｜tool▁call▁begin｜>(?P<name>{NAME})<｜tool▁sep｜>\s*"),
    closing="<｜tool▁call▁end｜>",
    openings=DEEPSEEK_V3.openings,
    layout=DEEPSEEK_V3.layout,
    markers=DEEPSEEK_V3.markers,
)

KIMI = NamedCalls(
    name="kimi",
    begin="<|tool_calls_section_begin|>",
    before_name="<|tool_call_begin|>functions.",
    before_arguments=":0<|tool_call_argument_begin|>",
    after_arguments="<|tool_call_end|>",
    end="<|tool_calls_section_end|>",
    header=re.compile(rf"<\|tool_call_begin\|>\s*functions\.(?P<name>{NAME}):\d+\s*<\|tool_call_argument_begin\|>\s*"),
    closing="<|tool_call_end|>",
    openings=("<|tool_call_begin|>",),
    layout=("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
    markers=(
        "<|tool_calls_section_begin|>",
        "<|tool_call_begin|>",
        "<|tool_call_argument_begin|>",
        "<|tool_call_end|>",
        "<|tool_calls_section_end|>",
    ),
    one_call=True,
)
"""Its calls are numbered, which a grammar of repeated calls cannot express, so it allows one."""

FUNCTIONARY = NamedCalls(
    name="functionary-v3.1",
    before_name="<function=",
    before_arguments=">",
    after_arguments="</function>",
    header=re.compile(rf"<function=(?P<name>{NAME})>\s*"),
    closing="</function>",
    openings=("<function=",),
)

HARMONY = NamedCalls(
    name="harmony",
    before_name="<|channel|>commentary to=functions.",
    before_arguments=" <|constrain|>json<|message|>",
    after_arguments="<|call|>",
    header=re.compile(
        r"(?:<\|start\|>assistant|<\|channel\|>(?:commentary|analysis))? to=functions\."
        rf"(?P<name>{NAME})(?:<\|channel\|>(?:commentary|analysis))?(?: ?(?:<\|constrain\|>)?json)?<\|message\|>\s*"
    ),
    closing="<|call|>",
    openings=(
        "<|channel|>commentary to=functions.",
        "<|channel|>analysis to=functions.",
        "<|start|>assistant to=functions.",
        " to=functions.",
    ),
    layout=("<|call|>", "<|channel|>final<|message|>"),
    markers=("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|call|>", "<|end|>", "<|return|>"),
    before_text="<|channel|>final<|message|>",
    one_call=True,
)
"""A call ends the turn of gpt-oss. The tags of its reasoning and its content are in `text/reasoning.py`."""

FORMATS: dict[str, ToolFormat] = {
    known.name: known
    for known in (
        HERMES,
        LLAMA_3,
        LLAMA_PYTHONIC,
        GEMMA,
        MISTRAL,
        MISTRAL_NAMED,
        DEEPSEEK_V3,
        DEEPSEEK_V3_1,
        KIMI,
        GRANITE,
        FUNCTIONARY,
        FIREFUNCTION,
        HARMONY,
    )
}
"""By name, as in `--tool-format`."""

_BY_TEMPLATE: tuple[tuple[str, ToolFormat], ...] = (
    ("<|channel|>", HARMONY),
    ("<｜tool▁call▁begin｜>' + tool['type']", DEEPSEEK_V3),
    ("<｜tool▁call▁begin｜>function", DEEPSEEK_V3),
    ("<｜tool▁calls▁begin｜>", DEEPSEEK_V3_1),
    ("<|tool_calls_section_begin|>", KIMI),
    ("[ARGS]", MISTRAL_NAMED),
    ("[TOOL_CALLS]", MISTRAL),
    ("<tool_call>", HERMES),
    ("functools", FIREFUNCTION),
    ("<function=", FUNCTIONARY),
    ("<|tool_call|>", GRANITE),
    ("[func_name1(", LLAMA_PYTHONIC),
    ("<|python_start|>", LLAMA_PYTHONIC),
    ("```tool_code", GEMMA),
    ('{"name": function name, "parameters": ', LLAMA_3),
)
"""Formats by a string in the chat template. The first match decides."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """How the tools of a request are given to one model, and how it calls them."""

    format: ToolFormat
    is_listed: bool
    """Whether the template renders its variable `tools`; else `with_tools` describes the tools in the prompt."""


def tool_use(template: str, format_name: str = "") -> ToolUse:
    """Detect the format from a chat template's source, or take the format of that name.

    A template that lists tools for an unknown format is not used for that: it would contradict the default format.
    """
    detected = next((known for text, known in _BY_TEMPLATE if text in template), None)
    chosen = FORMATS[format_name] if format_name else detected
    return ToolUse(chosen or HERMES, is_listed=chosen is not None and "tools" in variables_of(template))
