"""A request that generates: begun once it is admitted, read as chunks or as one answer, and closed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Generic

from crossette.api.dialect import Dialect
from crossette.api.endpoint import BodyT, Endpoint, Reply
from crossette.api.exchange import Exchange
from crossette.api.guards.admission import Admission
from crossette.api.services import Services
from crossette.generation.answer import DeltaSource, Timings


@dataclass(frozen=True, slots=True)
class Begun:
    """What a request has once it is admitted."""

    answer: DeltaSource
    reply: Reply
    headers: Callable[[], dict[str, str]]
    """The headers that depend on the answer so far."""
    release: Callable[[], None] = lambda: None
    """Releases the model."""


@dataclass(slots=True)
class Run(ABC, Generic[BodyT]):
    """A request with a valid body. `close` ends what `begin` began, and may be called more than once."""

    body: BodyT
    endpoint: Endpoint[BodyT]
    services: Services
    dialect: Dialect
    admission: Admission
    exchange: Exchange
    timings: Timings
    begun: Begun | None = None

    async def begin(self) -> Begun:
        """Prepare the request, apply the limits, and pass it on."""
        self.begun = await self._begin()
        return self.begun

    @abstractmethod
    async def _begin(self) -> Begun: ...

    async def chunks(self) -> AsyncGenerator[Any, None]:
        """The chunks of a stream."""
        begun = self.begun or await self.begin()
        async for chunk in begun.reply.chunks(begun.answer):
            self.exchange.note_finish_reasons(chunk)
            yield chunk

    async def completion(self) -> Any:  # Any: the wire type of the endpoint
        """The complete answer."""
        begun = self.begun or await self.begin()
        completion = await begun.reply.completion(begun.answer)
        self.exchange.note_finish_reasons(completion)
        return completion

    def headers(self) -> dict[str, str]:
        """The headers that depend on the answer so far; none before the request is admitted."""
        return self.begun.headers() if self.begun is not None else {}

    async def close(self) -> None:
        if self.begun is not None:
            await self.begun.answer.aclose()
            usage = self.begun.answer.usage
            if usage.total_tokens:  # else the error decides whether the request counts, which is not known here
                self.admission.end(usage)
            self.begun.release()
