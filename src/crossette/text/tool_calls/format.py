"""What is the same for every family of models: a call is spelled, it opens somewhere, it can be read back."""

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
    """The calls of one output, counted."""

    def __init__(self) -> None:
        self.num = 0

    def head(self, name: str) -> ToolCallStart:
        self.num += 1
        return ToolCallStart(self.num - 1, name)

    def arguments(self, text: str) -> ToolCallArguments:
        """More of the arguments of the call that began last."""
        return ToolCallArguments(self.num - 1, text)


@dataclass(frozen=True, kw_only=True)
class ToolFormat(ABC):
    """How a family of models calls tools. The first six fields are the exact words that a grammar holds it to:

    begin (before_name NAME before_arguments ARGUMENTS after_arguments), repeated with between, end
    """

    begin: str = ""
    before_name: str
    before_arguments: str
    after_arguments: str
    between: str = ""
    end: str = ""

    name: str
    """As `--tool-format` knows it."""
    openings: tuple[str, ...] = ()
    """What opens a call, wherever it stands in the answer."""
    bare: str = ""
    """The character that a call begins with which has no opening, and is the whole answer; "" where there is none."""
    layout: tuple[str, ...] = ()
    """Markers around calls that say nothing, and are left out of the content."""
    markers: tuple[str, ...] = ()
    """What of the markup may be control tokens of the vocabulary, which have no text: the parser must see them."""
    before_text: str = ""
    """What content begins with."""
    one_call: bool = False
    """Whether the family's templates know answers of one call only."""

    @property
    def trigger(self) -> str:
        """The mark that spelled calls begin with: the call's, or that of all calls; "" where there is none."""
        marks = (*self.layout, *self.openings)
        return next((mark for mark in marks if (self.begin + self.before_name).startswith(mark)), "")

    def render(self, calls: Iterable[tuple[str, str]]) -> str:
        """Calls, each a name and the JSON of its arguments, as the model would write them."""
        written = (self.before_name + name + self.before_arguments + self.render_arguments(arguments)
                   + self.after_arguments for name, arguments in calls)  # fmt: skip
        return self.begin + self.between.join(written) + self.end

    def render_arguments(self, arguments: str) -> str:
        return arguments

    def arguments_of(self, tool: Tool) -> str:
        """The arguments as a Lark expression.

        Raises InvalidRequest for a schema that cannot be enforced, or that the format has no words for.
        """
        return json_of(tool.enforced_schema())

    @property
    def bare_beginning(self) -> str:
        """A pattern of how a call without an opening begins: free text does not begin so."""
        raise NotImplementedError(f"{self.name} has openings")

    @abstractmethod
    def read(self, reader: Reader, calls: Calls) -> Reading[None]:
        """Read what an opening opens, from the opening on: at least one call.

        Raises Malformed, with all that was not said held back in `reader`. What was said of a call that breaks off
        stays said.
        """
