"""An engine that refuses and breaks requests as their prompts say, for clients that retry and read errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

from crossette.engine import Generation
from crossette.errors import ServingError, ShuttingDown
from crossette.testing.fake_engine import FakeEngine
from crossette.types import GenerationRequest
from support.api_server import parrot

WINDOW = 4096


class TooManyRequests(ServingError):
    status = 429
    kind = "overloaded"


REFUSALS: dict[str, Callable[[str], ServingError]] = {
    "429": TooManyRequests,
    "503": partial(ShuttingDown, retry_after=0.1),
}


class MoodyEngine(FakeEngine):
    """A parrot that refuses every other request that says so, and breaks in the middle of one that says so."""

    def __init__(self) -> None:
        super().__init__(self._say, context_length=WINDOW)
        self._refused: set[str] = set()

    def generate(self, request: GenerationRequest) -> Generation:
        prompt = bytes(min(token, 255) for token in request.prompt).decode("latin-1")
        asked = re.search(r"refuse: (\d+)", prompt)
        if asked and prompt not in self._refused:
            self._refused.add(prompt)
            raise REFUSALS[asked[1]]("Not now. Retry in a moment.")
        self._refused.discard(prompt)
        return super().generate(request)

    def _say(self, request: GenerationRequest, index: int) -> Iterator[int]:
        if b"break: " not in bytes(min(token, 255) for token in request.prompt):
            yield from parrot(request, index)
            return
        yield from b"Hal"
        self.fail_next_step(RuntimeError("as the test asked"))
        yield from b"f an answer"
