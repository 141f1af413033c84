"""The messages of POST /messages as those of a chat.

All that can be wrong with them is found here, under their own paths: the messages of the chat have other indices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crossette.api.anthropic.blocks import Block, text_of
from crossette.api.anthropic.request import CountTokensRequest, Turn
from crossette.api.schema.messages import IMAGE, MAX_DEPTH, FunctionCall, Message, Part, ToolCall
from crossette.errors import InvalidRequest
from crossette.text.template.messages import Arguments

_ROLES = {
    "document": ("user",),
    "image": ("user",),
    "tool_result": ("user",),
    "tool_use": ("assistant",),
    "thinking": ("assistant",),
}
"""The roles whose messages may have a block of a type; any for other types."""


def chat_messages(sent: CountTokensRequest) -> list[Message]:
    """Raises InvalidRequest, naming the invalid block."""
    if not sent.messages:
        raise InvalidRequest("messages is empty: there is nothing to answer.", param="messages", code="empty_array")
    messages: list[Message] = []
    if sent.system:
        messages.append(Message(role="system", content=text_of(sent.system, "system")))
    first = _first_with_thinking(sent)
    for index, turn in enumerate(sent.messages):
        for message in _of_turn(turn, f"messages[{index}].", keeps_thinking=index >= first):
            if not messages or not _joined(messages[-1], message):
                messages.append(message)
    if sent.is_prefilled and messages[-1].tool_calls:
        raise InvalidRequest(
            f"'messages[{len(sent.messages) - 1}]' is the last message and has tool_use blocks. Send their results in "
            "tool_result blocks of a user message.",
            param="messages",
        )
    return messages


def _first_with_thinking(sent: CountTokensRequest) -> int:
    """The index of the first message that keeps its reasoning."""
    kept = sent.context_management.num_kept() if sent.context_management is not None else None
    thinking = [
        index for index, turn in enumerate(sent.messages) if any(block.type == "thinking" for block in turn.blocks)
    ]
    return 0 if kept is None or len(thinking) <= kept else thinking[-kept]


def _of_turn(turn: Turn, path: str, *, keeps_thinking: bool) -> Iterator[Message]:
    """The messages of a turn: a user's results of tools are messages of their own."""
    is_text = isinstance(turn.content, str)
    blocks = [(f"{path}content[{index}].", block) for index, block in enumerate(turn.blocks)]
    for at, block in blocks if not is_text else ():
        block.check(at)
        if turn.role not in _ROLES.get(block.type, (turn.role,)):
            raise InvalidRequest(
                f"'{at}type' is '{block.type}', which is for messages of role '{_ROLES[block.type][0]}', not "
                f"'{turn.role}'.",
                param=f"{at}type",
            )
    if turn.role == "assistant":
        yield _assistant(blocks, keeps_thinking=keeps_thinking)
        return
    parts: list[Part] = []
    for at, block in blocks:
        if block.type != "tool_result":
            parts.append(block.part(at))
            continue
        if parts:
            yield Message(role=turn.role, content=_content(parts))
            parts = []
        yield Message(role="tool", content=block.result(at), tool_call_id=block.tool_use_id)
    if parts or not blocks:
        yield Message(role=turn.role, content=_content(parts))


def _content(parts: Sequence[Part]) -> str | list[Part]:
    """The content of a message: its texts as one, unless it has images."""
    if any(part.type == IMAGE for part in parts):
        return list(parts)
    return _lines([part.text or "" for part in parts])


def _assistant(blocks: Sequence[tuple[str, Block]], *, keeps_thinking: bool) -> Message:
    thoughts = [block.thinking or "" for _, block in blocks if block.type == "thinking" and keeps_thinking]
    calls = [_call(block, at) for at, block in blocks if block.type == "tool_use"]
    text = _lines([block.text or "" for _, block in blocks if block.type == "text"])
    return Message(
        role="assistant",
        content=text if text or not calls else None,
        tool_calls=calls or None,
        reasoning_content=_lines(thoughts) or None,
    )


def _call(block: Block, path: str) -> ToolCall:
    arguments = Arguments(block.input or {})
    if arguments.depth > MAX_DEPTH:
        raise InvalidRequest(f"'{path}input' is nested more than {MAX_DEPTH} levels deep.", param=f"{path}input")
    function = FunctionCall(name=block.name or "", arguments=arguments.text)
    return ToolCall(id=block.id, type="function", function=function)


def _joined(last: Message, message: Message) -> bool:
    """Join a message to the last one, if both are of one role; false if they are not."""
    if last.role != message.role or last.role not in ("user", "assistant"):
        return False
    last.content = _content([part for one in (last, message) for part in _parts(one)])
    last.tool_calls = [*(last.tool_calls or ()), *(message.tool_calls or ())] or None
    last.reasoning_content = (
        _lines([text for text in (last.reasoning_content, message.reasoning_content) if text]) or None
    )
    return True


def _parts(message: Message) -> list[Part]:
    if isinstance(message.content, list):
        return message.content
    return [Part(type="text", text=message.content)] if message.content else []


def _lines(texts: Sequence[str]) -> str:
    return "\n".join(text for text in texts if text)
