"""What a request says, as token ids."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Sequence

from crossette.engine import Tokenizer
from crossette.errors import ContextLengthExceeded, InvalidRequest
from crossette.text.template.chat_template import ChatTemplate, TemplateOptions
from crossette.text.template.messages import Message
from crossette.text.template.spans import Span, user_strings


def token_id(tokenizer: Tokenizer, spelling: str) -> int | None:
    """The one token that is spelled so; None where there is none."""
    ids = tokenizer.encode(spelling, specials=True)
    return ids[0] if len(ids) == 1 and tokenizer.spelling(ids[0]) == spelling.encode() else None


def decode_tokens(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """Tokens as text, control tokens as they are spelled."""
    return b"".join(map(tokenizer.spelling, tokens)).decode(errors="replace")


def encode_text(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """A plain prompt, as it is: control tokens may be spelled in it. BOS where the model wants one."""
    return _with_bos(tokenizer, tokenizer.encode(text, specials=True))


def encode_chat(
    tokenizer: Tokenizer,
    template: ChatTemplate,
    messages: Sequence[Message],
    options: TemplateOptions | None = None,
    *,
    safe: bool = True,
) -> tuple[int, ...]:
    """A conversation, rendered by the model's template. With `safe`, no message's words become control tokens.

    Whole prompts are encoded in one piece, as the model was trained, unless a message spells a control token.
    """
    options = options or TemplateOptions()
    if safe:
        _check_options(tokenizer, options)
    if safe and _spell_specials(tokenizer, messages):
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
    """The conversation in up to `limit` tokens: without its oldest turns where it is longer.

    A turn is a user's message and what follows it. System messages go last, the oldest first.
    Raises ContextLengthExceeded if the last turn alone is too long.
    """
    cuts = _cuts(messages)
    first = bisect_left(cuts, True, key=lambda cut: len(encode(_kept(messages, *cut))) <= limit)
    prompt = encode(_kept(messages, *cuts[min(first, len(cuts) - 1)]))
    if len(prompt) > limit:
        raise ContextLengthExceeded(
            f"The prompt is too long: {len(prompt)} tokens in its last turn alone, and {limit} are asked for.",
            param="messages",
        )
    return prompt


def _cuts(messages: Sequence[Message]) -> list[tuple[int, int]]:
    """From where a conversation can be kept, all of it to its last turn: which message, and which system message."""
    turns = [place for place, message in enumerate(messages) if message["role"] == "user"]
    systems = [place for place, message in enumerate(messages) if message["role"] == "system"]
    last = turns[-1] if turns else 0
    return [(0, 0), *((turn, 0) for turn in turns[1:]), *((last, system + 1) for system in systems if system < last)]


def _kept(messages: Sequence[Message], begin: int, system_begin: int) -> list[Message]:
    return [
        message
        for place, message in enumerate(messages)
        if place >= begin or (place >= system_begin and message["role"] == "system")
    ]


def _with_bos(tokenizer: Tokenizer, tokens: list[int]) -> tuple[int, ...]:
    """Exactly one BOS where the model wants one: templates often write it themselves."""
    bos = tokenizer.bos_token_id
    return tuple(tokens) if bos is None or tokens[:1] == [bos] else (bos, *tokens)


def _check_options(tokenizer: Tokenizer, options: TemplateOptions) -> None:
    """Templates write these where they like, so that they cannot be kept as plain text."""
    for given, name, instead in (
        (options.variables, "chat_template_kwargs", "It is for options: put text into messages"),
        (options.tools, "tools", "Describe them in other words"),
    ):
        if given and tokenizer.has_specials(json.dumps(given, ensure_ascii=False)):
            raise InvalidRequest(
                f"{name} spells a control token. {instead}, or send safe_tokenization: false.", param=name
            )


def _spell_specials(tokenizer: Tokenizer, messages: Sequence[Message]) -> bool:
    """Whether a control token is spelled in one string, or in neighbours, which a template may join."""
    words = user_strings(messages)
    return tokenizer.has_specials("\x00".join(words)) or tokenizer.has_specials("".join(map(str.strip, words)))


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
