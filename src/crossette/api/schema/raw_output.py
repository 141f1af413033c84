"""The raw prompt and output of the model, before parsing: for programs that train on answers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from crossette.api.schema.logprobs import Logprobs, LogprobsOptions, logprobs_body
from crossette.engine import Tokenizer
from crossette.generation.accumulator import ChoiceResult


class RawOutput(msgspec.Struct):
    prompt_fragments: list[str | int]
    """The prompt: its text, and control tokens as ids."""
    prompt_token_ids: list[int]
    completion: str
    completion_token_ids: list[int]
    """The tokens of the text, with the echo; `completion_logprobs` has a record for each."""
    completion_logprobs: Logprobs | None
    images: None = None
    videos: None = None
    grammar: str | None = None


def raw_output(
    prompt: Sequence[int], result: ChoiceResult, tokenizer: Tokenizer, logprobs: LogprobsOptions | None
) -> RawOutput:
    """The raw output of one choice. Its logprobs are the content list, whichever format was requested."""
    listed = None if logprobs is None else LogprobsOptions("content", logprobs.num_top)
    return RawOutput(
        prompt_fragments=_fragments(prompt, tokenizer),
        prompt_token_ids=list(prompt),
        completion=result.text,
        completion_token_ids=[token.id for token in result.tokens],
        completion_logprobs=logprobs_body(listed, result.tokens, tokenizer.token_text, detailed=True),
    )


def _fragments(prompt: Sequence[int], tokenizer: Tokenizer) -> list[str | int]:
    fragments: list[str | int] = []
    text = b""
    for token_id in prompt:
        data = tokenizer.token_bytes(token_id)
        text += data
        if not data:
            fragments += [*_decoded(text), token_id]
            text = b""
    return fragments + _decoded(text)


def _decoded(text: bytes) -> list[str]:
    return [text.decode(errors="replace")] if text else []
