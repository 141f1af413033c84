"""Pulls models over HTTP, and serves them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from crossette.api.models import ServedModels
from crossette.api.puller import PullEvent
from crossette.errors import InvalidRequest, ModelError, Overloaded, PullFailed
from crossette.models.catalogue import CATALOGUE
from crossette.models.fetch import Progress
from crossette.models.reference import parse
from crossette.models.store import StoredModel
from crossette.pool.model import ModelSource

log = logging.getLogger(__name__)

INTERVAL_S = 0.5
"""Seconds between two events."""
_RETRY_S = 10.0


@dataclass
class _Pull:
    """A running pull. Its progress is set by other threads."""

    reference: str
    progress: PullEvent
    task: asyncio.Task[str] | None = field(default=None, init=False)

    def note(self, what: str, done: int, total: int | None) -> None:
        """A `Progress`."""
        self.progress = PullEvent(status="pulling", model=self.reference, step=what, completed=done, total=total)


class ModelPuller:
    """A `Puller` with one pull at a time."""

    def __init__(
        self,
        models: ServedModels,
        pull: Callable[[str, Progress], StoredModel],
        source: Callable[[StoredModel], ModelSource],
        remove: Callable[[str], None],
    ) -> None:
        """`pull` downloads a reference into the store, `source` makes the result loadable, `remove` deletes it."""
        self._models = models
        self._pull = pull
        self._source = source
        self._remove = remove
        self._running: _Pull | None = None

    async def pull(self, reference: str) -> AsyncGenerator[PullEvent, None]:
        check_reference(reference)
        running = self._running
        if running is not None and running.reference != reference:
            raise Overloaded(f"{running.reference} is being pulled. Retry later.", retry_after=_RETRY_S)
        running = running or self._begin(reference)
        assert running.task is not None
        while not running.task.done():
            yield running.progress
            await asyncio.wait({running.task}, timeout=INTERVAL_S)
        try:
            yield PullEvent(status="done", model=running.task.result())
        except ModelError as error:
            raise PullFailed(f"{reference} cannot be pulled: {error}") from error

    async def remove(self, stored: str) -> None:
        try:
            await asyncio.to_thread(self._remove, stored)
        except ModelError as error:
            raise PullFailed(f"{stored} cannot be removed: {error}") from error

    def _begin(self, reference: str) -> _Pull:
        running = _Pull(reference, PullEvent(status="pulling", model=reference))
        running.task = asyncio.create_task(self._run(running))
        running.task.add_done_callback(_log_failure)
        self._running = running
        return running

    async def _run(self, running: _Pull) -> str:
        """Pull and serve; returns the model's name."""
        try:
            stored = await asyncio.to_thread(self._pull, running.reference, running.note)
            self._models.add(self._source(stored))
            return stored.name
        finally:
            self._running = None


def check_reference(reference: str) -> None:
    """Raise InvalidRequest unless a caller may choose the reference: files and addresses are the operator's.

    Whether a file exists has no influence on the message.
    """
    if reference not in CATALOGUE and not reference.startswith("hf:"):
        raise InvalidRequest(
            "Over HTTP, models are pulled by their name in the catalogue, or as hf:ORG/REPO[:FILE.gguf]. "
            f"Names: {', '.join(CATALOGUE)}.",
            param="model",
        )
    try:
        parse(reference)
    except ModelError as error:
        raise InvalidRequest(str(error), param="model") from None


def _log_failure(task: asyncio.Task[str]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("A model was not pulled: %s", error)
