"""The tools of a request in the call format of its model, and the validation of calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crossette.errors import InvalidRequest, OutputMismatch
from crossette.text.output_format import OutputFormat, UnusableSchema
from crossette.text.pieces import ToolCall
from crossette.text.schema.report import MAX_FAULTS
from crossette.text.tool_calls.format import ToolFormat
from crossette.text.tool_calls.tools import Tool, ToolChoice


@dataclass(frozen=True, slots=True)
class ToolSet:
    """The tools that a model may call, and its call format."""

    format: ToolFormat
    tools: tuple[Tool, ...]
    choice: ToolChoice
    argument_formats: Mapping[str, OutputFormat]
    """The format of the arguments of each allowed tool."""

    @classmethod
    def of(cls, tool_format: ToolFormat, tools: Sequence[Tool], choice: ToolChoice) -> ToolSet:
        """Create a tool set. Slow for large schemas.

        Raises InvalidRequest for parameters that cannot be enforced, with the faults of all tools.
        """
        allowed = () if choice.mode == "none" else choice.allowed(tools)
        return cls(tool_format, tuple(tools), choice, _argument_formats(allowed))

    @property
    def checked(self) -> tuple[str, ...]:
        """The keywords that are only checked: `tools[0].function.parameters/properties/a/uniqueItems`."""
        formats = self.argument_formats.values()
        return tuple(f"{one.constraint.param}{pointer}" for one in formats for pointer in one.checked)

    def check(self, calls: Sequence[ToolCall], *, is_cut: bool) -> None:
        """Validate the calls of an answer that ended before max_tokens; `is_cut` by a stop token of the request.

        Raises OutputMismatch if the grammar allowed calls that the request does not; InvalidRequest if the answer was
        cut before a required call; and what `OutputFormat.check` raises for arguments.
        """
        if is_cut and self.choice.mode == "required" and not calls:
            raise InvalidRequest(
                "'stop_token_ids' ended the answer before the required call. Omit them: calls end without stop tokens.",
                param="stop_token_ids",
            )
        fault = self._fault(calls)
        if fault is not None:
            raise OutputMismatch(f"The answer violates tool_choice: {fault}. Retry the request.")
        for call in calls:
            self.argument_formats[call.name].check(call.arguments, is_cut=is_cut)

    def _fault(self, calls: Sequence[ToolCall]) -> str | None:
        if self.choice.mode == "required" and not calls:
            return "it has no call"
        if len(calls) > 1 and not self.choice.parallel:
            return f"it has {len(calls)} parallel calls"
        unknown = next((call.name for call in calls if call.name not in self.argument_formats), None)
        return None if unknown is None else f"it calls '{unknown}', which is not allowed"


def _argument_formats(tools: Sequence[Tool]) -> dict[str, OutputFormat]:
    formats: dict[str, OutputFormat] = {}
    faulty: list[tuple[Tool, UnusableSchema]] = []
    for tool in tools:
        try:
            formats[tool.name] = tool.argument_format()
        except UnusableSchema as error:
            faulty.append((tool, error))
    if faulty:
        raise _unenforceable(faulty)
    return formats


def _unenforceable(faulty: Sequence[tuple[Tool, UnusableSchema]]) -> InvalidRequest:
    """The first faults of all tools as one error, with the field of the first tool."""
    faults = [f"'{tool.name}', {tool.param}: {fault}" for tool, error in faulty for fault in error.faults]
    more = f" There are {len(faults) - MAX_FAULTS} more." if len(faults) > MAX_FAULTS else ""
    listed = " ".join(faults[:MAX_FAULTS])
    return InvalidRequest(f"The parameters of functions cannot be enforced. {listed}{more}", param=faulty[0][0].param)
