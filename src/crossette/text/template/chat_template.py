"""Messages to a prompt, by the model's own template, sandboxed.

Templates are rendered as the library that models are published with renders them, so that every template which
works there works here. What they leave open is decided here, from what their source asks for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jinja2 import TemplateError

from crossette.errors import InvalidRequest, ModelError, Unsupported
from crossette.text.template.jinja_environment import environment
from crossette.text.template.messages import Message, in_plain_words, with_short_ids
from crossette.text.template.spans import Marks, Span, readings, unused_characters, user_strings

RESERVED = ("messages", "tools", "bos_token", "eos_token", "add_generation_prompt", "strftime_now", "raise_exception")
"""Variables of a template that requests cannot set: they have fields of their own, or templates trust them."""

_HAS_SHORT_IDS = re.compile(r"\|\s*length\s*!=\s*9")
"""Mistral's templates refuse other ids of calls."""
_ASKS_FOR_NULL = re.compile(r"""\bcontent['"\]]*\s+is\s+(not\s+)?none""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TemplateOptions:
    """How a conversation is rendered."""

    add_generation_prompt: bool = True
    """Whether the prompt ends where the assistant begins to speak."""
    continue_final_message: bool = False
    """Whether it ends with the last word of the last message instead."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """What else the template is told."""
    tools: Sequence[Mapping[str, Any]] = ()
    """For templates that list them, as `Tool.described` has them."""
    now: datetime = field(default_factory=datetime.now)


class ChatTemplate:
    """A compiled Jinja template. Raises ModelError if its source cannot be compiled."""

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        self._source = source
        # Where there are no tools and documents, publishers' templates were tried with null, not with no variable.
        self._always = {"bos_token": bos_token, "eos_token": eos_token, "tools": None, "documents": None}
        try:
            self._template = environment().from_string(source)
        except TemplateError as error:
            raise ModelError(f"The model's chat template cannot be compiled: {error}") from error
        self._has_short_ids = _HAS_SHORT_IDS.search(source) is not None
        self._asks_for_null = _ASKS_FOR_NULL.search(source) is not None
        self._plain = {"system": not self._shows_system(), "tools": "tool_calls" not in source}

    def render(self, messages: Sequence[Message], options: TemplateOptions | None = None) -> str:
        """The prompt.

        Raises InvalidRequest with the template's own words if it refuses the messages, and names the one at fault.
        """
        options = options or TemplateOptions()
        try:
            return self._render(messages, options)
        except Exception as error:  # a template is a program of the model's author: it may raise anything
            place = self._place_of(str(error), messages, options)
            what = "the messages" if place is None else f"messages[{place}]"
            param = "messages" if place is None else what
            raise InvalidRequest(f"The model's chat template refused {what}: {error}", param=param) from error

    def render_spans(self, messages: Sequence[Message], options: TemplateOptions | None = None) -> list[Span]:
        """The prompt of `render`, cut where markup and the messages' words meet.

        Raises Unsupported if the template changes the words, so that the two cannot be told apart.
        """
        options = options or TemplateOptions()
        plain = self.render(messages, options)
        for reading in readings(messages):
            marks = Marks.unused_in(self._source + "".join(user_strings(reading)))
            try:
                spans = marks.spans(self._render(marks.put(reading), options))
            except Exception:  # it looks into the words, and marks are what it stumbles over
                continue
            if spans is not None and "".join(span.text for span in spans) == plain:
                return spans
        raise Unsupported(
            "A message contains the spelling of a control token, and this model's chat template rewrites "
            "messages, so it could not be kept as plain text. Remove it, or send safe_tokenization: false.",
            param="messages",
        )

    def _render(self, messages: Sequence[Message], options: TemplateOptions) -> str:
        messages = self._as_expected(messages)
        if options.continue_final_message:
            return self._render_open(messages, options)
        return self._run(messages, options, options.add_generation_prompt)

    def _render_open(self, messages: Sequence[Message], options: TemplateOptions) -> str:
        """The prompt up to the end of the last message's words. A mark behind them shows where that is."""
        *earlier, last = messages
        (mark,) = unused_characters(1, self._source + "".join(user_strings(messages)))
        marked = {**last, "content": f"{last['content']}{mark} "}
        prompt, found, rest = self._run([*earlier, marked], options, False).rpartition(mark)
        if not found:
            raise TemplateError("it leaves out the last message, which cannot be continued then")
        return prompt if rest.startswith(" ") else prompt.rstrip()  # it trims its messages

    def _run(self, messages: Sequence[Message], options: TemplateOptions, add_generation_prompt: bool) -> str:
        return self._template.render(
            **self._always | dict(options.variables) | ({"tools": options.tools} if options.tools else {}),
            messages=messages,
            add_generation_prompt=add_generation_prompt,
            strftime_now=options.now.strftime,
        )

    def _as_expected(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages as this template reads them, where templates differ."""
        expected = in_plain_words(messages, **self._plain)
        if self._has_short_ids:
            expected = with_short_ids(expected)
        if not self._asks_for_null:
            return expected
        return [
            {**message, "content": None} if message.get("tool_calls") and not message["content"] else message
            for message in expected
        ]

    def _shows_system(self) -> bool:
        (mark,) = unused_characters(1, self._source)
        tried = [{"role": "system", "content": mark}, {"role": "user", "content": "Hi"}]
        try:
            return mark in self._run(tried, TemplateOptions(), True)
        except Exception:  # it has no place for them, and says so
            return False

    def _place_of(self, words: str, messages: Sequence[Message], options: TemplateOptions) -> int | None:
        """The message at which the template says these words; None if it says them to any conversation."""

        def is_refused(count: int) -> bool:
            try:
                self._run(self._as_expected(messages[:count]), options, options.add_generation_prompt)
            except Exception as error:
                return str(error) == words
            return False

        if is_refused(0):
            return None
        accepted, refused = 0, len(messages)
        while refused - accepted > 1:
            middle = (accepted + refused) // 2
            accepted, refused = (accepted, middle) if is_refused(middle) else (middle, refused)
        return refused - 1 if messages else None
