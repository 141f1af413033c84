"""POST /tokenize, /detokenize and /apply-template: what the tokenizer and the template of a model do."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from crossette.api import chat
from crossette.api.chat_prompt import ChatOptions, chat_text
from crossette.api.dialect import Dialect
from crossette.api.endpoint import encode_off_loop
from crossette.api.engine_lease import with_engine
from crossette.api.guards.sizes import check_sizes
from crossette.api.http import json_response
from crossette.api.request_body import read_json
from crossette.api.schema.common import check_token_ids
from crossette.api.schema.tokenize import (
    AppliedTemplate,
    ApplyTemplateRequest,
    Detokenized,
    DetokenizeRequest,
    TokenizeRequest,
    TokenPiece,
    Tokens,
)
from crossette.api.services import Services
from crossette.engine import Engine
from crossette.generation.prompt import decode_tokens, encode_text


async def tokenize(request: Request, services: Services, dialect: Dialect) -> Response:
    """The tokens of a text, as /completions has them, or of a conversation, as /chat/completions has them."""
    sent = await read_json(request, TokenizeRequest, services.settings)
    sent.check()
    answer = await with_engine(request, services, dialect, sent.model, partial(_tokens, sent, services, dialect))
    return json_response(answer)


async def detokenize(request: Request, services: Services, dialect: Dialect) -> Response:
    """The text of tokens, control tokens included."""
    sent = await read_json(request, DetokenizeRequest, services.settings)
    answer = await with_engine(request, services, dialect, sent.model, partial(_text, sent))
    return json_response(answer)


async def apply_template(request: Request, services: Services, dialect: Dialect) -> Response:
    """The text of a conversation, as the model's template renders it."""
    sent = await read_json(request, ApplyTemplateRequest, services.settings)
    sent.check()
    answer = await with_engine(request, services, dialect, sent.model, partial(_rendered, sent, services, dialect))
    return json_response(answer)


async def _tokens(sent: TokenizeRequest, services: Services, dialect: Dialect, engine: Engine) -> Tokens:
    tokenizer = engine.tokenizer
    if sent.messages is not None:
        body = sent.chat(sent.messages, engine.info.name, dialect)
        check_sizes(body, services.settings)
        call = await services.images.placed(await chat.prepare(body, engine, dialect), body, engine)
        [tokens] = call.prompts
    else:
        text = sent.content if sent.prompt is None else sent.prompt
        specials = sent.parse_special is not False
        tokens = await encode_off_loop(
            len(text or ""), encode_text, tokenizer, text or "", specials=specials, bos=sent.adds_bos
        )
    texts = [tokenizer.token_text(token) for token in tokens] if sent.return_token_strs or sent.with_pieces else []
    answer = Tokens(len(tokens), engine.info.context_length, list(tokens))
    if sent.with_pieces:
        answer.tokens = [TokenPiece(token, _piece(text)) for token, text in zip(tokens, texts, strict=True)]
    if sent.return_token_strs:
        answer.token_strs = [text.decode(errors="replace") for text in texts]
    return answer


def _piece(text: bytes) -> str | list[int]:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return list(text)


async def _text(sent: DetokenizeRequest, engine: Engine) -> Detokenized:
    check_token_ids("tokens", sent.tokens, engine.info)
    text = await encode_off_loop(len(sent.tokens), decode_tokens, engine.tokenizer, sent.tokens)
    return Detokenized(text, text)


async def _rendered(
    sent: ApplyTemplateRequest, services: Services, dialect: Dialect, engine: Engine
) -> AppliedTemplate:
    body = sent.chat(sent.messages, engine.info.name, dialect)
    check_sizes(body, services.settings)
    return AppliedTemplate(chat_text(body, engine, ChatOptions.of(body, engine, dialect)))
