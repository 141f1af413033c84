"""An engine that plays what a test wrote down: any tokens, cut into any steps, its choices in any order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from crossette.engine import EngineStats, Generation, ModelInfo, WaitEstimate
from crossette.engines.stream import OutputStream
from crossette.testing.fake_engine import CHAT_TEMPLATE
from crossette.types import Constraint, GenerationRequest, Logprob, TokenOutput


class TokenTable:
    """A vocabulary that grows as tests need it: all bytes, two control tokens, and whatever `id_of` is asked for."""

    bos_token_id = None
    bos_token, eos_token = "<|begin|>", "<|end|>"

    def __init__(self) -> None:
        self._spellings = [*(bytes((byte,)) for byte in range(256)), self.bos_token.encode(), self.eos_token.encode()]
        self._ids: dict[bytes, int] = {data: token_id for token_id, data in enumerate(self._spellings[:256])}
        self._controls = {256, 257}
        self.end = 257

    def id_of(self, data: bytes) -> int:
        """The id of some bytes, at least one."""
        if data not in self._ids:
            self._ids[data] = len(self._spellings)
            self._spellings.append(data)
        return self._ids[data]

    def encode(self, text: str, *, specials: bool) -> list[int]:
        return list(text.encode())

    def has_specials(self, text: str) -> bool:
        return False

    def token_bytes(self, token_id: int) -> bytes:
        return b"" if token_id in self._controls else self._spellings[token_id]

    def token_text(self, token_id: int) -> bytes:
        return self._spellings[token_id]


class PlayedEngine:
    """Plays one take for each request, whatever is asked; a take is all outputs of a request, in order."""

    warnings: tuple[str, ...] = ()
    details: Mapping[str, int | str] = MappingProxyType({})

    def __init__(self, tokenizer: TokenTable) -> None:
        self.tokenizer = tokenizer
        self.info = ModelInfo("played", "none", "none", 10**6, 0, frozenset({tokenizer.end}), CHAT_TEMPLATE)
        self._takes: list[Sequence[TokenOutput]] = []

    def play(self, *takes: Sequence[TokenOutput]) -> None:
        """What the next requests get: the prompts of one call are its requests."""
        self._takes = list(takes)

    def prepare(self, constraint: Constraint) -> None:
        """Whatever is played is played."""

    def generate(self, request: GenerationRequest) -> Generation:
        first, *rest = self._takes.pop(0)
        if request.prompt_logprobs:
            first = replace(first, prompt_logprobs=records(request.prompt[1:], request.logprobs or 0))
        stream = OutputStream(range(request.n), on_finish=lambda index: None, on_close=lambda: None)
        stream.queued_s = 0.0
        spoken = [0] * request.n
        for output in (first, *rest):
            place = spoken[output.index]
            spoken[output.index] += len(output.token_ids)
            wanted = request.logprobs
            scores = None if wanted is None else records(output.token_ids, wanted, place)
            stream.put(replace(output, logprobs=scores))
        return stream

    def stats(self) -> EngineStats:
        return EngineStats(0, 0, 0, 0, 0, 0, 0, 0)

    def estimate_wait(self, request: GenerationRequest) -> WaitEstimate:
        return WaitEstimate(0, has_slot=True)

    def close(self) -> None:
        pass


def records(tokens: Sequence[int], num_top: int, place: int = 0) -> tuple[Logprob, ...]:
    """Scores that tell a token's place, `place` being the first one's: no two of an answer are alike."""
    return tuple(
        Logprob(token, -at / 7, -at / 9, tuple((byte, -at / 7 - byte) for byte in range(num_top)))
        for at, token in enumerate(tokens, place + 1)
    )
