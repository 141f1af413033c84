"""The messages of vLLM's `POST /inference/v1/generate`: decoding of answers and event streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from crossette.types import FinishReason, Logprob

PATH = "/inference/v1/generate"
END = b"[DONE]"
"""The last event of a stream."""


class Candidate(msgspec.Struct):
    """A token at one position, and its rank among all; 1 is the most likely."""

    token_id: int
    logprob: float
    rank: int | None = None


class Position(Candidate):
    """The sampled token, and the most likely ones."""

    top_logprobs: list[Candidate] = []


class ChoiceLogprobs(msgspec.Struct):
    content: list[Position] | None = None


class Choice(msgspec.Struct):
    token_ids: list[int] | None = None
    finish_reason: str | None = None
    logprobs: ChoiceLogprobs | None = None


class PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class TokenCounts(msgspec.Struct):
    prompt_tokens_details: PromptDetails | None = None


class Failure(msgspec.Struct):
    message: str = "no reason was given"
    code: int = 500
    """An HTTP status."""


class ScoredToken(msgspec.Struct):
    """An entry of `prompt_logprobs`; its key is the token id."""

    logprob: float
    rank: int | None = None


class Message(msgspec.Struct):
    """An event of a stream, a whole answer, or an error."""

    choices: list[Choice] = []
    usage: TokenCounts | None = None
    prompt_logprobs: list[Mapping[str, ScoredToken] | None] | None = None
    error: Failure | None = None

    @property
    def cached_tokens(self) -> int:
        details = self.usage.prompt_tokens_details if self.usage is not None else None
        return (details.cached_tokens or 0) if details is not None else 0


_decoder = msgspec.json.Decoder(Message)


def decode(data: bytes) -> Message:
    """Raises msgspec.DecodeError."""
    return _decoder.decode(data)


class EventReader:
    """Splits the bytes of an event stream into the data of its events, however they are cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


FINISH_REASONS: Mapping[str, FinishReason] = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
"""Others, such as "abort", mean that the request failed."""


def logprobs(choice: Choice, num_top: int) -> tuple[Logprob, ...]:
    """The logprobs of a choice's tokens, with `num_top` alternatives each."""
    content = choice.logprobs.content if choice.logprobs is not None else None
    return tuple(
        Logprob(position.token_id, position.logprob, None, _top(position.top_logprobs, num_top))
        for position in content or ()
    )


def prompt_logprobs(message: Message, prompt: Sequence[int], num_top: int) -> tuple[Logprob, ...]:
    """The logprobs of the prompt, from its second token on."""
    found = []
    for token, scored in zip(prompt[1:], (message.prompt_logprobs or [])[1:], strict=True):
        candidates = [Candidate(int(key), one.logprob, one.rank) for key, one in (scored or {}).items()]
        own = next(one for one in candidates if one.token_id == token)
        found.append(Logprob(token, own.logprob, None, _top(candidates, num_top)))
    return tuple(found)


def _top(candidates: Sequence[Candidate], num_top: int) -> tuple[tuple[int, float], ...]:
    """The most likely ones: vLLM adds the sampled token whatever its rank is."""
    ranked = sorted((one for one in candidates if one.rank is not None and one.rank <= num_top), key=_rank)
    return tuple((one.token_id, one.logprob) for one in ranked[:num_top])


def _rank(candidate: Candidate) -> int:
    return candidate.rank or 0
