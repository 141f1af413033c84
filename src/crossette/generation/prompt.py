"""Prompts as token ids."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Sequence

from crossette.engine import Tokenizer
from crossette.errors import ContextLengthExceeded, InvalidRequest
from crossette.text.template.chat_template import ChatTemplate, TemplateOptions
from crossette.text.template.messages import Message
from crossette.text.template.spans import Span, user_strings


def token_id(tokenizer: Tokenizer, text: str) -> int | None:
    """The id of the token with this text; None if it is not a single token."""
    ids = tokenizer.encode(text, specials=True)
    return ids[0] if len(ids) == 1 and tokenizer.token_text(ids[0]) == text.encode() else None


def decode_tokens(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """Decode tokens to text, control tokens included."""
    return b"".join(map(tokenizer.token_text, tokens)).decode(errors="replace")


def encode_text(tokenizer: Tokenizer, text: str, *, specials: bool = True, bos: bool = True) -> tuple[int, ...]:
    """Encode a plain prompt. With `specials` it may contain control tokens; `bos` adds BOS if the model uses one."""
    tokens = tokenizer.encode(text, specials=specials)
    return _with_bos(tokenizer, tokens) if bos else tuple(tokens)


def encode_document(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """Encode a text that never becomes control tokens. BOS is added if the model uses one."""
    return _with_bos(tokenizer, tokenizer.encode(text, specials=False))


def encode_chat(
    tokenizer: Tokenizer,
    template: ChatTemplate,
    messages: Sequence[Message],
    options: TemplateOptions | None = None,
    *,
    safe: bool = True,
) -> tuple[int, ...]:
    """Encode a conversation, rendered by the model's template.

    With `safe`, the text of messages never becomes control tokens.
    The prompt is encoded in one piece, as in training, unless a message contains the text of a control token.
    """
    options = options or TemplateOptions()
    if safe:
        _check_options(tokenizer, options)
    if safe and _contain_specials(tokenizer, messages):
        spans = template.render_spans(messages, options)
        tokens = [
            token for text, specials in _pieces(tokenizer, spans) for token in tokenizer.encode(text, specials=specials)
        ]
    else:
        tokens = tokenizer.encode(template.render(messages, options), specials=True)
    return _with_bos(tokenizer, tokens)


def encode_latest(
    encode: Callable[[Sequence[Message]], tuple[int, ...]], messages: Sequence[Message], limit: int
) -> tuple[int, ...]:
    """Encode a conversation in at most `limit` tokens, without its oldest turns if it is longer.

    A turn is a user message and the messages that follow it. System messages are dropped last, the oldest first.
    Raises ContextLengthExceeded if the last turn alone is too long.
    """
    cuts = _cuts(messages)
    first = bisect_left(cuts, True, key=lambda cut: len(encode(_kept(messages, *cut))) <= limit)
    prompt = encode(_kept(messages, *cuts[min(first, len(cuts) - 1)]))
    if len(prompt) > limit:
        raise ContextLengthExceeded(
            f"The prompt is too long: {len(prompt)} tokens in its last turn alone, and {limit} is the limit.",
            param="messages",
        )
    return prompt


def _cuts(messages: Sequence[Message]) -> list[tuple[int, int]]:
    """All cuts of a conversation, from none to its last turn alone.

    Each is the index of the first message that is kept, and that of the first system message.
    """
    users = [index for index, message in enumerate(messages) if message["role"] == "user"]
    systems = [index for index, message in enumerate(messages) if message["role"] == "system"]
    last = users[-1] if users else 0
    return [(0, 0), *((turn, 0) for turn in users[1:]), *((last, system + 1) for system in systems if system < last)]


def _kept(messages: Sequence[Message], begin: int, system_begin: int) -> list[Message]:
    return [
        message
        for index, message in enumerate(messages)
        if index >= begin or (index >= system_begin and message["role"] == "system")
    ]


def _with_bos(tokenizer: Tokenizer, tokens: list[int]) -> tuple[int, ...]:
    """The tokens with exactly one BOS if the model uses one: templates often write it themselves."""
    bos = tokenizer.bos_token_id
    return tuple(tokens) if bos is None or tokens[:1] == [bos] else (bos, *tokens)


def _check_options(tokenizer: Tokenizer, options: TemplateOptions) -> None:
    """Reject control tokens in options that templates may write anywhere: those cannot be encoded as plain text."""
    for given, name, instead in (
        (options.variables, "chat_template_kwargs", "It is for options: put text into messages"),
        (options.tools, "tools", "Describe the tools without it"),
    ):
        if given and tokenizer.has_specials(json.dumps(given, ensure_ascii=False)):
            raise InvalidRequest(
                f"{name} contains the text of a control token. {instead}, or send safe_tokenization: false.", param=name
            )


def _contain_specials(tokenizer: Tokenizer, messages: Sequence[Message]) -> bool:
    """Whether one string, or adjacent strings that a template may join, contain the text of a control token."""
    strings = user_strings(messages)
    return tokenizer.has_specials("\x00".join(strings)) or tokenizer.has_specials("".join(map(str.strip, strings)))


def _pieces(tokenizer: Tokenizer, spans: list[Span]) -> list[tuple[str, bool]]:
    """Join adjacent spans, unless one of them is markup with control tokens. Each is its text, and whether it has any.

    A tokenizer merges characters across a border, so fewer cuts are closer to how the model was trained.
    """
    pieces: list[tuple[str, bool]] = []
    for span in spans:
        specials = span.is_markup and tokenizer.has_specials(span.text)
        if pieces and not specials and not pieces[-1][1]:
            pieces[-1] = (pieces[-1][0] + span.text, False)
        else:
            pieces.append((span.text, specials))
    return pieces
