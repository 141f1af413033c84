"""A request that generates: begun once it is admitted, read as chunks or as one answer, and closed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Generic

from crossette.api.dialect import Dialect
from crossette.api.endpoint import BodyT, Endpoint, Reply, SentT
from crossette.api.exchange import Exchange
from crossette.api.guards.admission import Admission
from crossette.api.services import Services
from crossette.errors import ServingError
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
class Run(ABC, Generic[SentT, BodyT]):
    """A request with a valid body. `close` ends what `begin` began, and may be called more than once."""

    sent: SentT
    body: BodyT
    endpoint: Endpoint[SentT, BodyT]
    services: Services
    dialect: Dialect
    admission: Admission
    exchange: Exchange
    timings: Timings
    begun: Begun | None = None

    async def begin(self) -> Begun:
        """Prepare the request, apply the limits, and pass it on."""
        with self.endpoint.naming():
            self.begun = begun = await self._begin()
        self.exchange.finish_reasons = begun.reply.finish_reasons
        return begun

    @abstractmethod
    async def _begin(self) -> Begun: ...

    def chunks(self) -> AsyncGenerator[Any, None]:
        """The chunks of a stream."""
        return self._late_chunks() if self.begun is None else self.begun.reply.chunks(self.begun.answer)

    async def _late_chunks(self) -> AsyncGenerator[Any, None]:
        begun = await self.begin()
        async for chunk in begun.reply.chunks(begun.answer):
            yield chunk

    async def completion(self) -> Any:  # Any: the wire type of the endpoint
        """The complete answer."""
        begun = self.begun or await self.begin()
        return await begun.reply.completion(begun.answer)

    def failure(self, error: ServingError) -> Any:
        """The last event of a stream that `error` ended."""
        event = self.begun.reply.failure(error) if self.begun is not None else None
        wire = self.endpoint.wire
        return event or (wire.error_event or wire.error_body)(error, self.dialect, self.exchange.request_id)

    def headers(self) -> dict[str, str]:
        """The headers that depend on the answer so far; none before the request is admitted."""
        return self.begun.headers() if self.begun is not None else {}

    def is_ending(self) -> bool:
        """Whether the rest of a stream follows at once."""
        begun = self.begun
        return begun is not None and begun.reply.ends_at_once and not begun.answer.num_open

    async def close(self) -> None:
        if self.begun is not None:
            await self.begun.answer.aclose()
            usage = self.begun.answer.usage
            if usage.total_tokens:  # else the error decides whether the request counts, which is not known here
                self.admission.end(usage)
            self.begun.release()
