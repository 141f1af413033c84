"""A model's text to pieces: thoughts, content and calls. What streams and what is folded comes from here."""

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
    """Text that is nothing but content: of a model that marks no thoughts, asked without tools."""

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
    """Reads one choice's text. The pieces depend on the text alone, but for where they are cut.

    Markup is left out, and the white space beside it; all else comes out, in order, and nothing is held back but what
    may become markup. What only looks like a call is content. A call within thoughts is a thought. A call that broken
    JSON ends leaves what was said of it; what was not said is content.

    Where the text is cut, by `max_tokens` say, what was held back is left out if it can be nothing but markup: a call
    that has begun, or what has a control token in it. Half a mark that is spelled with letters is a word.
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
        """`is_thinking` where the prompt ends within the model's thoughts; no `tools` where there can be no calls.

        `only_calls` where there can be nothing else, reasoning apart. `content_format` where the content has an output
        format: what looks like a call within it is content.
        """
        self._reasoning = reasoning
        self._tools = tools
        self._reader = Reader()
        self._calls = Calls()
        self._layout = {*(reasoning.layout if reasoning else ()), *(tools.layout if tools else ())}
        self._marks = _marks(reasoning, tools)
        self._content_format = content_format
        self._content_marks = _marks(reasoning, None)
        self._never_content = _never_content(reasoning, tools)
        self._has_content = self._is_after_markup = self._is_over = False
        self.is_thinking = is_thinking
        """Whether the text, as far as it was read, ends within thoughts."""
        self._only_calls = only_calls
        self._parsing = self._read(is_thinking)

    @property
    def only_calls(self) -> bool:
        """Whether nothing but calls can follow upon the text, as far as it was read, and upon its thoughts."""
        return self._only_calls or self._calls.num > 0

    @property
    def num_calls(self) -> int:
        """Of the calls that have begun."""
        return self._calls.num

    @property
    def position(self) -> int:
        """How many characters of the text are accounted for."""
        return self._reader.position

    def push(self, text: str) -> list[Piece]:
        """What is certain now."""
        self._reader.push(text)
        return self._run()

    def flush(self, *, is_cut: bool = False) -> list[Piece]:
        """The rest, at the end of the text; `is_cut` where the model would have gone on."""
        if is_cut and not self.is_thinking:
            self._drop_markup()
        self._reader.ended = True
        return self._run()

    def _drop_markup(self) -> None:
        """Forget of what is held back what can be no content, and the white space before it."""
        unsaid = self._reader.unsaid
        content = unsaid[: 0 if self.only_calls else self._markup_in(unsaid)]
        if content != unsaid:
            self._reader.drop(len(content.rstrip(SPACE)))
            self._only_calls |= self._tools is not None

    def _markup_in(self, unsaid: str) -> int:
        """Where markup begins that can be nothing else; the length of the text if it has none."""
        if self._content_format is not None and self._has_content:
            return len(unsaid)
        if self._content_format == "json":
            return len(unsaid) if begins_json(unsaid.lstrip(SPACE)) else 0
        bare = self._tools.bare_beginning if self._tools is not None and self._tools.bare else "(?!)"
        if not self._has_content and re.match(bare, unsaid):
            return 0
        return min((at for mark in self._never_content if (at := unsaid.find(mark)) >= 0), default=len(unsaid))

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

    # --- what the text is made of ---

    def _read(self, is_thinking: bool) -> Reading[None]:
        if self._reasoning is not None:
            yield from self._first_thoughts(self._reasoning, is_thinking)
        if self._tools is not None and self._tools.bare:
            yield from self._bare_call(self._tools)
        while True:
            if self._is_after_markup and not self._has_content:
                yield from self._reader.space()
            mark, space = yield from self._text((yield from self._marks_here()), Content)
            if mark is None:
                if not self._is_after_markup:
                    yield from self._said(self._reader.take(space), Content)
                return
            yield from self._markup(mark, space)

    def _marks_here(self) -> Reading[tuple[str, ...]]:
        """What is looked for from here on: no calls once a form has begun."""
        if self._content_format is None:
            return self._marks
        self._reader.hold()
        yield from self._reader.space()
        found = yield from self._reader.expect(*self._marks)
        self._reader.go_back()
        return self._marks if found else self._content_marks

    def _markup(self, mark: str, space: int) -> Reading[None]:
        """What a mark stands for, and the white space before it."""
        if self._reasoning is not None and mark == self._reasoning.begin:
            self._reader.take(space + len(mark))
            yield from self._thoughts(self._reasoning)
        elif mark in self._layout:
            self._reader.take(space + len(mark))
            self._is_after_markup = True
            self._only_calls |= self._tools is not None and mark == self._tools.trigger
        elif not (yield from self._is_call()):
            yield from self._said(self._reader.take(space + len(mark)), Content)

    def _first_thoughts(self, reasoning: Reasoning, is_thinking: bool) -> Reading[None]:
        """Those that open the text. Some models repeat the marker that their prompt ends with."""
        self._reader.hold()
        yield from self._reader.space()
        if (yield from self._reader.expect(reasoning.begin)) or is_thinking:
            yield from self._thoughts(reasoning)
        else:
            self._reader.go_back()

    def _thoughts(self, reasoning: Reasoning) -> Reading[None]:
        self._reader.release()
        self.is_thinking = True
        yield from self._reader.space()
        end, space = yield from self._text((reasoning.end,), ReasoningText)
        self.is_thinking = False
        if end is None:
            yield from self._said(self._reader.take(space), ReasoningText)
        else:
            self._reader.take(space + len(end))
            self._is_after_markup = True

    def _bare_call(self, tools: ToolFormat) -> Reading[None]:
        """A call that is the whole answer, or no call."""
        self._reader.hold()
        yield from self._reader.space()
        is_begun = (yield from self._reader.peek()) == tools.bare
        self._reader.go_back()
        if is_begun:
            yield from self._is_call()

    def _is_call(self) -> Reading[bool]:
        """Read a call, if it is one, or as much as there is of it; else nothing."""
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

    def _text(self, marks: tuple[str, ...], make: Make) -> Reading[tuple[str | None, int]]:
        """Say the text up to the first of the marks, or to the end.

        The white space before it is left, with the mark: its length is the second result.
        """
        pattern = re.compile("|".join(map(re.escape, marks))) if marks else None
        while True:
            ahead = self._reader.ahead
            found = pattern.search(ahead) if pattern else None
            begun = len(ahead) - (0 if self._reader.ended else possible_start(ahead, marks))
            if found and begun <= found.start():
                found = None  # a longer mark may stand there
            text = ahead[: found.start() if found else begun]
            said = text.rstrip(SPACE) if marks else text
            yield from self._said(self._reader.take(len(said)), make)
            if found or self._reader.ended:
                return found[0] if found else None, len(text) - len(said)
            yield None

    def _said(self, text: str, make: Make) -> Reading[None]:
        if not text:
            return
        if make is Content:
            yield Content(text, self._reader.position - len(text))
            self._has_content, self._is_after_markup = True, False
        else:
            yield make(text)


def _marks(reasoning: Reasoning | None, tools: ToolFormat | None) -> tuple[str, ...]:
    """What is to be found within an answer, the longest first."""
    marks = {
        *(tools.openings if tools else ()),
        *(tools.layout if tools else ()),
        *(reasoning.layout if reasoning else ()),
    }
    if reasoning is not None and reasoning.repeats:
        marks.add(reasoning.begin)
    return tuple(sorted(marks, key=lambda mark: (-len(mark), mark)))


def _never_content(reasoning: Reasoning | None, tools: ToolFormat | None) -> frozenset[str]:
    """What is markup wherever it stands whole: a grammar keeps it out of content, or it is a control token."""
    of_tools = (*tools.openings, *tools.layout, *tools.markers) if tools else ()
    of_thoughts = (reasoning.begin, *reasoning.layout, *reasoning.markers) if reasoning else ()
    return frozenset((*of_tools, *of_thoughts))
