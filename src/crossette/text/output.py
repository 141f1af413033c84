"""Parser of a model's output: text to reasoning, content and tool calls, streamed or not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from crossette.text.json_reader import begins_json
from crossette.text.pieces import Content, Piece, ReasoningText, joined
from crossette.text.reader import SPACE, Malformed, Reader, Reading
from crossette.text.reasoning import Reasoning
from crossette.text.stop import possible_start
from crossette.text.tool_calls.format import Calls, ToolFormat

Make = Callable[[str], Piece]


class PlainText:
    """The parser of text that is content only: of a model without reasoning, in a request without tools."""

    is_thinking = only_calls = False

    def __init__(self) -> None:
        self.position = 0

    def push(self, text: str) -> list[Piece]:
        begin = self.position
        self.position += len(text)
        return [Content(text, begin)] if text else []

    def flush(self, *, is_cut: bool = False) -> list[Piece]:
        return []


class OutputParser:
    """Parses the text of one choice. Joined, the pieces depend on the text alone, not on where it is cut.

    Markup and the white space next to it are dropped; all other text is emitted in order, and only text that may become
    markup is held back. Text that only looks like a call is content. A call within reasoning is reasoning. If the JSON
    of a call is malformed, what was already emitted of the call stays, and the rest is content.

    Where the text is cut, for example by `max_tokens`, held text is dropped if it can only be markup: the beginning of
    a call, or text with a control token. Half a tag of ordinary characters is content.
    """

    def __init__(
        self,
        reasoning: Reasoning | None,
        tools: ToolFormat | None,
        *,
        is_thinking: bool = False,
        only_calls: bool = False,
        content_format: Literal["json", "text"] | None = None,
    ) -> None:
        """Create a parser: `is_thinking` if the prompt ends within reasoning; no `tools` if there can be no calls.

        `only_calls` if there can be no content, only reasoning and calls. `content_format` if the content has an output
        format: what looks like a call within it is content.
        """
        self._reasoning = reasoning
        self._tools = tools
        self._reader = Reader()
        self._calls = Calls()
        self._layout = {*(reasoning.layout if reasoning else ()), *(tools.layout if tools else ())}
        self._tags = _tags(reasoning, tools)
        self._content_format = content_format
        self._content_tags = _tags(reasoning, None)
        self._always_markup = _always_markup(reasoning, tools)
        self._has_content = self._is_after_markup = self._is_over = False
        self.is_thinking = is_thinking
        """Whether the text read so far ends within reasoning."""
        self._only_calls = only_calls
        self._parsing = self._read(is_thinking)

    @property
    def only_calls(self) -> bool:
        """Whether only calls, and no content, can follow the text read so far."""
        return self._only_calls or self._calls.num > 0

    @property
    def num_calls(self) -> int:
        """The number of calls that have begun."""
        return self._calls.num

    @property
    def position(self) -> int:
        """The number of characters that were parsed: emitted or dropped."""
        return self._reader.position

    def push(self, text: str) -> list[Piece]:
        """Return the pieces that are certain now."""
        self._reader.push(text)
        return self._run()

    def flush(self, *, is_cut: bool = False) -> list[Piece]:
        """Return the rest, at the end of the text; `is_cut` if the model would have continued."""
        if is_cut and not self.is_thinking:
            self._drop_markup()
        self._reader.ended = True
        return self._run()

    def _drop_markup(self) -> None:
        """Discard held text that cannot be content, and the white space before it."""
        pending = self._reader.pending
        content = pending[: 0 if self.only_calls else self._markup_at(pending)]
        if content != pending:
            self._reader.drop(len(content.rstrip(SPACE)))
            self._only_calls |= self._tools is not None

    def _markup_at(self, pending: str) -> int:
        """Index at which text begins that can only be markup; the length of the text if there is none."""
        if self._content_format is not None and self._has_content:
            return len(pending)
        if self._content_format == "json":
            return len(pending) if begins_json(pending.lstrip(SPACE)) else 0
        bare = self._tools.bare_pattern if self._tools is not None and self._tools.bare else "(?!)"
        if not self._has_content and re.match(bare, pending):
            return 0
        return min((at for tag in self._always_markup if (at := pending.find(tag)) >= 0), default=len(pending))

    def _run(self) -> list[Piece]:
        pieces: list[Piece] = []
        while not self._is_over:
            try:
                piece = next(self._parsing)
            except StopIteration:
                self._is_over = True
                break
            if piece is None:
                break
            pieces.append(piece)
        return joined(pieces)

    # --- grammar of the output ---

    def _read(self, is_thinking: bool) -> Reading[None]:
        if self._reasoning is not None:
            yield from self._leading_reasoning(self._reasoning, is_thinking)
        if self._tools is not None and self._tools.bare:
            yield from self._bare_call(self._tools)
        while True:
            if self._is_after_markup and not self._has_content:
                yield from self._reader.space()
            tag, space = yield from self._text((yield from self._tags_here()), Content)
            if tag is None:
                if not self._is_after_markup:
                    yield from self._emit(self._reader.take(space), Content)
                return
            yield from self._markup(tag, space)

    def _tags_here(self) -> Reading[tuple[str, ...]]:
        """The tags to look for from here on: none of calls once formatted content has begun."""
        if self._content_format is None:
            return self._tags
        self._reader.hold()
        yield from self._reader.space()
        match = yield from self._reader.expect(*self._tags)
        self._reader.go_back()
        return self._tags if match else self._content_tags

    def _markup(self, tag: str, space: int) -> Reading[None]:
        """Handle a tag and the white space before it."""
        if self._reasoning is not None and tag == self._reasoning.begin:
            self._reader.take(space + len(tag))
            yield from self._reasoning_text(self._reasoning)
        elif tag in self._layout:
            self._reader.take(space + len(tag))
            self._is_after_markup = True
            self._only_calls |= self._tools is not None and tag == self._tools.trigger
        elif not (yield from self._is_call()):
            yield from self._emit(self._reader.take(space + len(tag)), Content)

    def _leading_reasoning(self, reasoning: Reasoning, is_thinking: bool) -> Reading[None]:
        """Read reasoning at the start of the text. Some models repeat the tag that ends their prompt."""
        self._reader.hold()
        yield from self._reader.space()
        if (yield from self._reader.expect(reasoning.begin)) or is_thinking:
            yield from self._reasoning_text(reasoning)
        else:
            self._reader.go_back()

    def _reasoning_text(self, reasoning: Reasoning) -> Reading[None]:
        self._reader.release()
        self.is_thinking = True
        yield from self._reader.space()
        end, space = yield from self._text((reasoning.end,), ReasoningText)
        self.is_thinking = False
        if end is None:
            yield from self._emit(self._reader.take(space), ReasoningText)
        else:
            self._reader.take(space + len(end))
            self._is_after_markup = True

    def _bare_call(self, tools: ToolFormat) -> Reading[None]:
        """Read a call without an opening tag, which must be the whole answer."""
        self._reader.hold()
        yield from self._reader.space()
        may_be_call = (yield from self._reader.peek()) == tools.bare
        self._reader.go_back()
        if may_be_call:
            yield from self._is_call()

    def _is_call(self) -> Reading[bool]:
        """Read a call, or the beginning of one, and return whether there was one. Else read nothing."""
        assert self._tools is not None
        num_before = self._calls.num
        self._reader.hold()
        try:
            yield from self._reader.space()
            yield from self._tools.read(self._reader, self._calls)
        except Malformed:
            self._reader.go_back()
        if self._calls.num == num_before:
            self._reader.go_back()
            return False
        self._reader.release()
        self._is_after_markup = True
        return True

    def _text(self, tags: tuple[str, ...], make: Make) -> Reading[tuple[str | None, int]]:
        """Emit the text up to the first tag, or to the end.

        Return the tag, None at the end, and the length of the white space before it. Both stay unread.
        """
        pattern = re.compile("|".join(map(re.escape, tags))) if tags else None
        while True:
            ahead = self._reader.ahead
            match = pattern.search(ahead) if pattern else None
            certain = len(ahead) - (0 if self._reader.ended else possible_start(ahead, tags))
            if match and certain <= match.start():
                match = None  # a longer tag may be there
            text = ahead[: match.start() if match else certain]
            emitted = text.rstrip(SPACE) if tags else text
            yield from self._emit(self._reader.take(len(emitted)), make)
            if match or self._reader.ended:
                return match[0] if match else None, len(text) - len(emitted)
            yield None

    def _emit(self, text: str, make: Make) -> Reading[None]:
        if not text:
            return
        if make is Content:
            yield Content(text, self._reader.position - len(text))
            self._has_content, self._is_after_markup = True, False
        else:
            yield make(text)


def _tags(reasoning: Reasoning | None, tools: ToolFormat | None) -> tuple[str, ...]:
    """The tags to look for within an answer, the longest first."""
    tags = {
        *(tools.openings if tools else ()),
        *(tools.layout if tools else ()),
        *(reasoning.layout if reasoning else ()),
    }
    if reasoning is not None and reasoning.repeats:
        tags.add(reasoning.begin)
    return tuple(sorted(tags, key=lambda tag: (-len(tag), tag)))


def _always_markup(reasoning: Reasoning | None, tools: ToolFormat | None) -> frozenset[str]:
    """Strings that are always markup: the grammar excludes them from content, or they are control tokens."""
    of_tools = (*tools.openings, *tools.layout, *tools.markers) if tools else ()
    of_reasoning = (reasoning.begin, *reasoning.layout, *reasoning.markers) if reasoning else ()
    return frozenset((*of_tools, *of_reasoning))
