"""What a request says, as token ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crossette.engine import Tokenizer
from crossette.text.chat_template import ChatTemplate, Message, Span


def encode_text(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """A plain prompt, as it is: control tokens may be spelled in it. BOS where the model wants one."""
    return _with_bos(tokenizer, tokenizer.encode(text, specials=True))


def encode_chat(
    tokenizer: Tokenizer,
    template: ChatTemplate,
    messages: Sequence[Message],
    *,
    safe: bool = True,
    **variables: Any,
) -> tuple[int, ...]:
    """A conversation, rendered by the model's template. With `safe`, no message's words become control tokens.

    Whole prompts are encoded in one piece, as the model was trained, unless a message spells a control token.
    """
    if safe and _spell_specials(tokenizer, messages):
        spans = template.render_spans(messages, **variables)
        tokens = [
            token for text, specials in _pieces(tokenizer, spans) for token in tokenizer.encode(text, specials=specials)
        ]
    else:
        tokens = tokenizer.encode(template.render(messages, **variables), specials=True)
    return _with_bos(tokenizer, tokens)


def _with_bos(tokenizer: Tokenizer, tokens: list[int]) -> tuple[int, ...]:
    """Exactly one BOS where the model wants one: templates often write it themselves."""
    bos = tokenizer.bos_token_id
    return tuple(tokens) if bos is None or tokens[:1] == [bos] else (bos, *tokens)


def _spell_specials(tokenizer: Tokenizer, messages: Sequence[Message]) -> bool:
    """Whether a control token is spelled in one string, or in neighbours, which a template may join."""
    words = list(_words(messages))
    return tokenizer.has_specials("\x00".join(words)) or tokenizer.has_specials("".join(map(str.strip, words)))


def _words(value: Any) -> Iterator[str]:
    """Every string in the messages, but for types: they stand between the parts of a content, and say nothing."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key != "type":
                yield from _words(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _words(item)


def _pieces(tokenizer: Tokenizer, spans: list[Span]) -> list[tuple[str, bool]]:
    """Neighbouring spans joined where neither has control tokens to find or to avoid.

    A tokenizer joins characters across a border, so the fewer cuts, the closer to how the model was trained.
    """
    pieces: list[tuple[str, bool]] = []
    for span in spans:
        specials = span.is_markup and tokenizer.has_specials(span.text)
        if pieces and not specials and not pieces[-1][1]:
            pieces[-1] = (pieces[-1][0] + span.text, False)
        else:
            pieces.append((span.text, specials))
    return pieces
