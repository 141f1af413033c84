"""Recorded outputs of model families, and their parsed content."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crossette.text.output import OutputParser
from crossette.text.reasoning import COMMAND, HARMONY, THINK, Reasoning, reasoning_of
from crossette.text.tool_calls.families import FORMATS

REASONING: dict[str, Reasoning] = {
    "think": THINK,
    "harmony": HARMONY,
    "command": COMMAND,
    "granite": replace(THINK, layout=("<response>", "</response>")),
    "magistral": reasoning_of("[THINK]") or THINK,
}


@dataclass(frozen=True)
class Recording:
    """An output of a model family, and its parsed content."""

    name: str
    format: str | None
    reasoning: str | None
    is_thinking: bool
    text: str
    reasoning_text: str
    content: str
    calls: list[list[Any]]
    """Name and arguments of each call."""

    def parser(self) -> OutputParser:
        tools = FORMATS[self.format] if self.format else None
        reasoning = REASONING[self.reasoning] if self.reasoning else None
        return OutputParser(reasoning, tools, is_thinking=self.is_thinking)


DATA = Path(__file__).parents[1] / "data"
RECORDINGS = [Recording(**recorded) for recorded in json.loads((DATA / "outputs.json").read_text("utf-8"))]
