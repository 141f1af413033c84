"""A model that upstreams run: the first of them that is available answers a request."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from crossette.errors import RetryLater, ServingError, ShuttingDown, UpstreamFailed, UpstreamTimeout
from crossette.pool.model import ModelState
from crossette.remote.chunks import Chunk

if TYPE_CHECKING:  # importing an HTTP client takes a tenth of a second, which only a server with such models needs
    from crossette.remote.upstream import Upstream


class RemoteModel:
    """`model` is its name at the upstreams, `fields` are the request fields that they know beyond OpenAI's.

    `image_urls` is whether the upstreams may get URLs of images to fetch.
    """

    def __init__(
        self,
        name: str,
        upstreams: Sequence[Upstream],
        *,
        model: str = "",
        fields: frozenset[str] = frozenset(),
        image_urls: bool = False,
        created: int = 0,
    ) -> None:
        self.name = name
        self.model = model or name
        self.upstreams = upstreams
        self.fields = fields
        self.image_urls = image_urls
        self.created = created

    @property
    def state(self) -> ModelState:
        """AWAKE while an upstream responds, FAILED otherwise."""
        return ModelState.AWAKE if any(upstream.is_up for upstream in self.upstreams) else ModelState.FAILED

    @property
    def error(self) -> str:
        """Why requests fail; "" if they do not."""
        return "" if self.state == ModelState.AWAKE else "None of its upstreams responds."

    async def chunks(self, path: str, body: dict[str, Any]) -> AsyncGenerator[Chunk, None]:
        """The chunks of an answer. If an upstream fails before its first output, the next upstream is tried.

        Raises ServingError.
        """
        failures: list[ServingError] = []
        for upstream in self._in_order():
            is_begun = False
            try:
                async with aclosing(upstream.chunks(path, body)) as chunks:
                    async for chunk in chunks:
                        is_begun = is_begun or chunk.has_output
                        yield chunk
                if is_begun:
                    return
                failures.append(UpstreamFailed("The upstream of this model sent no answer.", hint=upstream.name))
            except ServingError as failure:
                if is_begun or not _is_of_upstream(failure):
                    raise
                failures.append(failure)
        raise _most_useful(failures)

    def _in_order(self) -> list[Upstream]:
        """Those that are available; if there are none, all."""
        return [upstream for upstream in self.upstreams if upstream.is_available] or list(self.upstreams)

    def abort(self) -> None:
        """End all requests with ShuttingDown."""
        for upstream in self.upstreams:
            upstream.abort()

    async def aclose(self) -> None:
        """Close all connections."""
        for upstream in self.upstreams:
            await upstream.aclose()


def _is_of_upstream(failure: ServingError) -> bool:
    """Whether another upstream may answer."""
    is_own = isinstance(failure, ShuttingDown)
    return isinstance(failure, UpstreamFailed | UpstreamTimeout | RetryLater) and not is_own


def _most_useful(failures: Sequence[ServingError]) -> ServingError:
    """The one that says when to retry, and the soonest of these; else the first."""
    waits = [failure for failure in failures if isinstance(failure, RetryLater)]
    return min(waits, key=lambda failure: failure.retry_after) if waits else failures[0]
