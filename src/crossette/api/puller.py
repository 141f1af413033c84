"""The interface of what downloads models while the server runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Literal, Protocol

import msgspec

from crossette.errors import Unsupported


class PullEvent(msgspec.Struct, kw_only=True):
    """The progress of a pull: the last event has the status `done`."""

    status: Literal["pulling", "done"]
    model: str
    """The name under which the model is served once the status is `done`; the reference until then."""
    step: str = ""
    """What is being done."""
    completed: int = 0
    """Bytes of this step that are done."""
    total: int | None = None
    """Bytes of this step; null if they are unknown."""


class Puller(Protocol):
    """Downloads models, adds them to those that are served, and deletes them."""

    def pull(self, reference: str) -> AsyncGenerator[PullEvent, None]:
        """Yield the progress. A pull goes on if the iterator is closed; the same reference then follows it.

        Raises InvalidRequest for a reference that may not be pulled over HTTP, Overloaded while another one is pulled,
        and PullFailed.
        """

    async def remove(self, stored: str) -> None:
        """Delete a model that is not served any more from the store, by its name there. Raises PullFailed."""


class NoPuller:
    """Of a server that cannot pull models."""

    async def pull(self, reference: str) -> AsyncGenerator[PullEvent, None]:
        raise Unsupported("This server cannot pull models.")
        yield

    async def remove(self, stored: str) -> None:
        raise Unsupported("This server cannot remove models.")
