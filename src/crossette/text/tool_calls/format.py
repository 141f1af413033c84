"""Base class of call formats: how a call is rendered, where it begins, and how it is parsed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

from crossette.text.lark import json_of
from crossette.text.pieces import ToolCallArguments, ToolCallStart
from crossette.text.reader import Reader, Reading
from crossette.text.tool_calls.tools import Tool

NAME = r"[\w.-]{1,64}"


class Calls:
    """Counts the calls of one output."""

    def __init__(self) -> None:
        self.num = 0

    def start(self, name: str) -> ToolCallStart:
        """The start of the next call."""
        self.num += 1
        return ToolCallStart(self.num - 1, name)

    def arguments(self, text: str) -> ToolCallArguments:
        """A part of the arguments of the last call."""
        return ToolCallArguments(self.num - 1, text)


@dataclass(frozen=True, kw_only=True)
class ToolFormat(ABC):
    """How a family of models calls tools. The first six fields are the exact text that a grammar enforces:

    begin (before_name NAME before_arguments ARGUMENTS after_arguments), repeated with between, end
    """

    begin: str = ""
    before_name: str
    before_arguments: str
    after_arguments: str
    between: str = ""
    end: str = ""

    name: str
    """The name in `--tool-format`."""
    openings: tuple[str, ...] = ()
    """Tags that open a call, anywhere in the answer."""
    bare: str = ""
    """The first character of calls without an opening tag, which are the whole answer; "" if there are none."""
    layout: tuple[str, ...] = ()
    """Tags around calls that are dropped from the content."""
    markers: tuple[str, ...] = ()
    """Tags that may be control tokens of the vocabulary. Those have no text, so the parser must get them as text."""
    before_text: str = ""
    """The text before content."""
    one_call: bool = False
    """Whether the family's templates support one call per answer only."""

    @property
    def trigger(self) -> str:
        """The tag that rendered calls begin with, of the first call or of all calls; "" if there is none."""
        tags = (*self.layout, *self.openings)
        return next((tag for tag in tags if (self.begin + self.before_name).startswith(tag)), "")

    def render(self, calls: Iterable[tuple[str, str]]) -> str:
        """Render calls, each a name and the JSON of its arguments, as the model writes them."""
        rendered = (self.before_name + name + self.before_arguments + self.render_arguments(arguments)
                   + self.after_arguments for name, arguments in calls)  # fmt: skip
        return self.begin + self.between.join(rendered) + self.end

    def render_arguments(self, arguments: str) -> str:
        """Render the JSON of a call's arguments."""
        return arguments

    def arguments_of(self, tool: Tool) -> str:
        """The arguments as a Lark expression.

        Raises InvalidRequest for a schema that cannot be enforced, or that the format cannot express.
        """
        return json_of(tool.enforced_schema())

    @property
    def bare_pattern(self) -> str:
        """A pattern of the beginning of a call without an opening tag. Free text never begins like this."""
        raise NotImplementedError(f"{self.name} has opening tags")

    @abstractmethod
    def read(self, reader: Reader, calls: Calls) -> Reading[None]:
        """Parse at least one call, from its opening tag on.

        Raises Malformed, with the text that was not emitted still held in `reader`. Of a call that breaks off, the
        pieces that were already emitted stay.
        """
