"""Chat templates: messages to a prompt by the model's own Jinja template, in a sandbox.

Templates are rendered as transformers renders them, so that every template that works there works here. Where templates
differ in what they expect, the source of the template decides.
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
from crossette.text.template.messages import (
    Message,
    as_parts,
    replace_unsupported,
    with_later_system_as_user,
    with_short_ids,
)
from crossette.text.template.spans import Delimiters, Span, unused_characters, user_strings, variants

RESERVED = ("messages", "tools", "bos_token", "eos_token", "add_generation_prompt", "strftime_now", "raise_exception")
"""Template variables that requests cannot set: they have fields of their own, or templates trust them."""

_HAS_SHORT_IDS = re.compile(r"\|\s*length\s*!=\s*9")
"""Mistral's templates accept tool call ids of nine characters only."""
_EXPECTS_NULL = re.compile(r"""\bcontent['"\]]*\s+is\s+(not\s+)?none""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TemplateOptions:
    """Options for rendering a conversation."""

    add_generation_prompt: bool = True
    """Whether the prompt ends with the beginning of an assistant message."""
    continue_final_message: bool = False
    """Whether it ends with the text of the last message instead."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Further variables of the template."""
    tools: Sequence[Mapping[str, Any]] = ()
    """Tools for templates that list them, in the shape of `Tool.described`."""
    now: datetime = field(default_factory=datetime.now)


class ChatTemplate:
    """A compiled Jinja template. Raises ModelError if its source cannot be compiled."""

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        self._source = source
        # Without tools and documents transformers passes null, and publishers test their templates with that.
        self._always = {"bos_token": bos_token, "eos_token": eos_token, "tools": None, "documents": None}
        try:
            self._template = environment().from_string(source)
        except TemplateError as error:
            raise ModelError(f"The model's chat template cannot be compiled: {error}") from error
        self._has_short_ids = _HAS_SHORT_IDS.search(source) is not None
        self._expects_null = _EXPECTS_NULL.search(source) is not None
        self._needs_parts = False
        self._needs_parts = self._shows_only_parts()
        self._shows_later_system = all(
            self._shows_system(*before) for before in (("user",), ("system", "user"), ("system", "user", "assistant"))
        )
        self._unsupported = {"system": not self._shows_system(), "tools": "tool_calls" not in source}

    def render(self, messages: Sequence[Message], options: TemplateOptions | None = None) -> str:
        """Render the prompt.

        Raises InvalidRequest with the template's own message if it rejects the conversation, and names the message that
        it rejects.
        """
        options = options or TemplateOptions()
        try:
            return self._render(messages, options)
        except Exception as error:  # a template is a program of the model's author: it may raise anything
            index = self._index_of(str(error), messages, options)
            what = "the messages" if index is None else f"messages[{index}]"
            param = "messages" if index is None else what
            raise InvalidRequest(f"The model's chat template refused {what}: {error}", param=param) from error

    def render_spans(self, messages: Sequence[Message], options: TemplateOptions | None = None) -> list[Span]:
        """Render the prompt of `render` as spans of markup and of user strings.

        Raises Unsupported if the template changes the strings, so that the two cannot be separated.
        """
        options = options or TemplateOptions()
        plain = self.render(messages, options)
        for variant in variants(messages):
            delimiters = Delimiters.unused_in(self._source + "".join(user_strings(variant)))
            try:
                spans = delimiters.spans(self._render(delimiters.wrap(variant), options))
            except Exception:  # it inspects the strings, and fails on the delimiters
                continue
            if spans is not None and "".join(span.text for span in spans) == plain:
                return spans
        raise Unsupported(
            "A message contains the text of a control token, and this model's chat template rewrites messages, so it "
            "cannot be encoded as plain text. Remove it, or send safe_tokenization: false.",
            param="messages",
        )

    def _render(self, messages: Sequence[Message], options: TemplateOptions) -> str:
        messages = self._as_expected(messages)
        if options.continue_final_message:
            return self._render_open(messages, options)
        return self._run(messages, options, options.add_generation_prompt)

    def _render_open(self, messages: Sequence[Message], options: TemplateOptions) -> str:
        """Render the prompt up to the end of the last message's text, which a delimiter after it locates."""
        *earlier, last = messages
        (delimiter,) = unused_characters(1, self._source + "".join(user_strings(messages)))
        delimited = {**last, "content": f"{last['content']}{delimiter} "}
        prompt, found, rest = self._run([*earlier, delimited], options, False).rpartition(delimiter)
        if not found:
            raise TemplateError("it leaves out the last message, so that cannot be continued")
        return prompt if rest.startswith(" ") else prompt.rstrip()  # it trims its messages

    def _run(self, messages: Sequence[Message], options: TemplateOptions, add_generation_prompt: bool) -> str:
        if self._needs_parts:
            messages = list(map(as_parts, messages))
        return self._template.render(
            **self._always | dict(options.variables) | ({"tools": options.tools} if options.tools else {}),
            messages=messages,
            add_generation_prompt=add_generation_prompt,
            strftime_now=options.now.strftime,
        )

    def _as_expected(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages in the shape that this template expects."""
        if not self._shows_later_system:
            messages = with_later_system_as_user(messages)
        expected = replace_unsupported(messages, **self._unsupported)
        if self._has_short_ids:
            expected = with_short_ids(expected)
        if not self._expects_null:
            return expected
        return [
            {**message, "content": None} if message.get("tool_calls") and not message["content"] else message
            for message in expected
        ]

    def _shows_system(self, *before: str) -> bool:
        """Whether the template shows all of messages of these roles, a system message, and one of the user."""
        roles = (*before, "system", "user")
        contents = unused_characters(len(roles), self._source)
        return self._shows(
            contents, [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
        )

    def _shows_only_parts(self) -> bool:
        """Whether the template shows contents that are lists of parts, and no texts: those of some models that see."""
        contents = unused_characters(1, self._source)
        message = {"role": "user", "content": contents[0]}
        return not self._shows(contents, [message]) and self._shows(contents, [as_parts(message)])

    def _shows(self, contents: Sequence[str], messages: Sequence[Message]) -> bool:
        try:
            prompt = self._run(messages, TemplateOptions(), True)
            return all(content in prompt for content in contents)
        except Exception:  # it rejects such messages
            return False

    def _index_of(self, reason: str, messages: Sequence[Message], options: TemplateOptions) -> int | None:
        """Index of the message that the template rejects with this reason; None if it rejects any conversation."""

        def is_refused(count: int) -> bool:
            try:
                self._run(self._as_expected(messages[:count]), options, options.add_generation_prompt)
            except Exception as error:
                return str(error) == reason
            return False

        if is_refused(0):
            return None
        accepted, refused = 0, len(messages)
        while refused - accepted > 1:
            middle = (accepted + refused) // 2
            accepted, refused = (accepted, middle) if is_refused(middle) else (middle, refused)
        return refused - 1 if messages else None
