"""Messages to a prompt, by the model's own template, sandboxed.

User text stays text: the template's markup becomes control tokens, the words of the messages never do. Where the
words contain the spelling of a control token, the template is rendered a second time with marks around them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from crossette.errors import InvalidRequest, ModelError

Message = Mapping[str, Any]
"""A message as templates know it: role, content and what else the model's template reads."""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a prompt: the template's markup, or words that came with the request."""

    text: str
    is_markup: bool


class ChatTemplate:
    """A compiled Jinja template. Raises ModelError if its source cannot be compiled."""

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals.update(raise_exception=_raise, strftime_now=_now, bos_token=bos_token, eos_token=eos_token)
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise ModelError(f"The model's chat template cannot be compiled: {error}") from error

    def render(self, messages: Sequence[Message], **variables: Any) -> str:
        """The prompt, up to where the assistant speaks.

        Raises InvalidRequest with the template's own words if it refuses the messages.
        """
        try:
            return self._template.render(messages=messages, add_generation_prompt=True, **variables)
        except Exception as error:  # a template is a program of the model's author: it may raise anything
            raise InvalidRequest(
                f"The model's chat template refused the messages: {error}", param="messages"
            ) from error

    def render_spans(self, messages: Sequence[Message], **variables: Any) -> list[Span]:
        """The prompt of `render`, cut where markup and the messages' words meet.

        Raises InvalidRequest if the template changes the words, so that the two cannot be told apart.
        """
        open_mark, close_mark = _unused_marks(messages)
        marked = [_map_words(message, lambda text: _mark(text, open_mark, close_mark)) for message in messages]
        rendered = self.render(marked, **variables)
        spans = list(_split(rendered, open_mark, close_mark))
        kept = _alternate(rendered, open_mark, close_mark)
        if not kept or "".join(span.text for span in spans) != self.render(messages, **variables):
            raise InvalidRequest(
                "A message contains the spelling of a control token, and this model's chat template rewrites "
                "messages, so it could not be kept as plain text. Remove it, or send safe_tokenization: false.",
                param="messages",
            )
        return spans


def _mark(text: str, open_mark: str, close_mark: str) -> str:
    """Put marks around the words, inside the white space that templates like to trim."""
    words = text.strip()
    if not words:
        return text
    at = text.index(words)
    return text[:at] + open_mark + words + close_mark + text[at + len(words) :]


def _alternate(rendered: str, open_mark: str, close_mark: str) -> bool:
    """Whether every mark has its partner: a template that cuts words in two leaves half a pair."""
    marks = [character for character in rendered if character in (open_mark, close_mark)]
    return marks == [open_mark, close_mark] * (len(marks) // 2)


def _split(rendered: str, open_mark: str, close_mark: str) -> Iterator[Span]:
    for piece in rendered.split(open_mark):
        words, mark, markup = piece.partition(close_mark)
        if not mark:
            words, markup = "", piece
        if words:
            yield Span(words, is_markup=False)
        if markup:
            yield Span(markup, is_markup=True)


def _unused_marks(messages: Sequence[Message]) -> tuple[str, str]:
    """Two private-use characters that no message contains."""
    text = repr(messages) + json.dumps(messages, ensure_ascii=False, default=str)
    unused = (chr(code) for code in range(0xE000, 0xF8FF) if chr(code) not in text)
    try:
        return next(unused), next(unused)
    except StopIteration:
        raise InvalidRequest("The messages use every private-use character of Unicode.", param="messages") from None


def _map_words(value: Any, change: Callable[[str], str], key: str = "") -> Any:
    """A copy of a message with every string changed, but for those that templates compare: role and type."""
    if isinstance(value, str):
        return value if key in ("role", "type") else change(value)
    if isinstance(value, Mapping):
        return {name: _map_words(item, change, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map_words(item, change, key) for item in value]
    return value


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    """JSON as models were trained on: not escaped for HTML, as Jinja's own filter does."""
    return json.dumps(value, ensure_ascii=False, indent=indent, **options)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)
