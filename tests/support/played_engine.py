"""An engine that replays scripted outputs: any tokens, in any steps, with choices in any order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from crossette.engine import EngineStats, Generation, ModelInfo, WaitEstimate
from crossette.engines.stream import OutputStream
from crossette.testing.fake_engine import CHAT_TEMPLATE
from crossette.types import Constraint, GenerationRequest, Logprob, TokenOutput


class TokenTable:
    """A vocabulary that grows on demand: all bytes, two control tokens, and the tokens added by `id_of`."""

    bos_token_id = None
    bos_token, eos_token = "<|begin|>", "<|end|>"

    def __init__(self) -> None:
        self._texts = [*(bytes((byte,)) for byte in range(256)), self.bos_token.encode(), self.eos_token.encode()]
        self._ids: dict[bytes, int] = {data: token_id for token_id, data in enumerate(self._texts[:256])}
        self._controls = {256, 257}
        self.end = 257

    def id_of(self, data: bytes) -> int:
        """The id of a token with these bytes, at least one; added if it is new."""
        if data not in self._ids:
            self._ids[data] = len(self._texts)
            self._texts.append(data)
        return self._ids[data]

    def encode(self, text: str, *, specials: bool) -> list[int]:
        return list(text.encode())

    def has_specials(self, text: str) -> bool:
        return False

    def token_bytes(self, token_id: int) -> bytes:
        return b"" if token_id in self._controls else self._texts[token_id]

    def token_text(self, token_id: int) -> bytes:
        return self._texts[token_id]


class PlayedEngine:
    """Replays one take per request, whatever the request is; a take is all outputs of a request, in order."""

    warnings: tuple[str, ...] = ()
    details: Mapping[str, int | str] = MappingProxyType({})

    def __init__(self, tokenizer: TokenTable) -> None:
        self.tokenizer = tokenizer
        self.info = ModelInfo("played", "none", "none", 10**6, 10**6, frozenset({tokenizer.end}), CHAT_TEMPLATE)
        self._takes: list[Sequence[TokenOutput]] = []

    def play(self, *takes: Sequence[TokenOutput]) -> None:
        """Set the takes of the next requests; each prompt of an API call is a request."""
        self._takes = list(takes)

    def prepare(self, constraint: Constraint) -> None:
        """Do nothing: constraints are not enforced."""

    def generate(self, request: GenerationRequest) -> Generation:
        first, *rest = self._takes.pop(0)
        if request.prompt_logprobs:
            first = msgspec.structs.replace(first, prompt_logprobs=records(request.prompt[1:], request.logprobs or 0))
        stream = OutputStream(range(request.n), on_finish=lambda index: None, on_close=lambda: None)
        stream.queued_s = 0.0
        num_tokens = [0] * request.n
        for output in (first, *rest):
            position = num_tokens[output.index]
            num_tokens[output.index] += len(output.token_ids)
            wanted = request.logprobs
            scores = None if wanted is None else records(output.token_ids, wanted, position)
            stream.put(msgspec.structs.replace(output, logprobs=scores))
        return stream

    def stats(self) -> EngineStats:
        return EngineStats(0, 0, 0, 0, 0, 0, 0, 0)

    def estimate_wait(self, request: GenerationRequest) -> WaitEstimate:
        return WaitEstimate(0, has_slot=True)

    def close(self) -> None:
        pass


def records(tokens: Sequence[int], num_top: int, position: int = 0) -> tuple[Logprob, ...]:
    """Logprobs that encode each token's position, from `position` on, so that all of an answer differ."""
    return tuple(
        Logprob(token, -at / 7, -at / 9, tuple((byte, -at / 7 - byte) for byte in range(num_top)))
        for at, token in enumerate(tokens, position + 1)
    )
