"""The endpoints of batches: create, list, retrieve and cancel."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from crossette.accounts.batches import NewBatch
from crossette.api.http import json_response
from crossette.api.page_query import page_query
from crossette.api.request_body import read_json
from crossette.api.schema.batches import BatchList, BatchObject, BatchRequest
from crossette.api.services import Services
from crossette.api.storage import Storage, owner_of, stored
from crossette.errors import InvalidRequest, NotFound, ShuttingDown

_DEFAULT_LISTED, _MAX_LISTED = 20, 100


async def create_batch(request: Request, services: Services, endpoints: Sequence[str]) -> Response:
    """Create a batch, which is validated in the background. `endpoints` are the paths that its requests may have."""
    storage = stored(services.storage)
    if services.is_draining():
        raise ShuttingDown("The server is shutting down. Retry in a moment.")
    body = await read_json(request, BatchRequest, services.settings)
    new = body.new_batch(
        owner_of(request), endpoints=endpoints, now=storage.clock(), most_s=storage.files.keep.total_seconds()
    )
    await _check_input(new, storage)
    await storage.check_room()
    batch = await storage.run(lambda: storage.batches.create(new))
    storage.changed.set()
    return json_response(BatchObject.of(batch))


async def list_batches(request: Request, services: Services) -> Response:
    storage = stored(services.storage)
    query = page_query(request, default_limit=_DEFAULT_LISTED, max_limit=_MAX_LISTED)
    page = await storage.run(lambda: storage.batches.list(owner_of(request), query))
    listed = [BatchObject.of(batch) for batch in page.records]
    first, last = (listed[0].id, listed[-1].id) if listed else (None, None)
    return json_response(BatchList(data=listed, first_id=first, last_id=last, has_more=page.has_more))


async def retrieve_batch(request: Request, services: Services) -> Response:
    storage, batch_id = stored(services.storage), request.path_params["batch_id"]
    return json_response(BatchObject.of(await storage.run(lambda: storage.batches.get(owner_of(request), batch_id))))


async def cancel_batch(request: Request, services: Services) -> Response:
    """Cancel a batch: requests that run are aborted. Raises BatchEnded if it has ended."""
    storage, batch_id = stored(services.storage), request.path_params["batch_id"]
    batch = await storage.run(lambda: storage.batches.cancel(owner_of(request), batch_id))
    storage.changed.set()
    return json_response(BatchObject.of(batch))


async def _check_input(new: NewBatch, storage: Storage) -> None:
    """Raise InvalidRequest unless the input file exists and was uploaded for a batch."""
    try:
        file = await storage.run(lambda: storage.files.get(new.key_id, new.input_file_id))
    except NotFound as error:
        raise InvalidRequest(error.message, param="input_file_id") from None
    if file.purpose != "batch":
        raise InvalidRequest(
            f"The file '{file.id}' has the purpose '{file.purpose}', and a batch reads one with the purpose 'batch'.",
            param="input_file_id",
        )
