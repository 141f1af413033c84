"""The endpoints of files: upload, list, retrieve, download and delete."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from crossette.accounts.files import StoredFile
from crossette.api.http import json_response
from crossette.api.page_query import page_query
from crossette.api.schema.files import PURPOSES, FileDeleted, FileList, FileObject, checked_purpose, expiry_of
from crossette.api.services import Services
from crossette.api.storage import Storage, owner_of, stored
from crossette.api.upload import uploaded
from crossette.errors import invalid_value

_FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
MAX_LISTED = 10_000


async def upload_file(request: Request, services: Services) -> Response:
    """Store a file. Raises an error with status 400, 408, 413 or 415 for an invalid upload."""
    storage = stored(services.storage)
    await storage.check_room()
    async with uploaded(request, _FIELDS, storage.settings.max_file_bytes) as upload:
        purpose = checked_purpose(upload.fields.get("purpose"))
        keep = timedelta(seconds=expiry_of(upload.fields, storage.files.keep.total_seconds()))
        await storage.check_room(upload.size)
        file = await storage.run(
            lambda: storage.files.create(
                owner_of(request), purpose=purpose, filename=upload.filename, parts=upload.parts(), keep=keep
            )
        )
    return json_response(FileObject.of(file))


async def list_files(request: Request, services: Services) -> Response:
    storage = stored(services.storage)
    query = page_query(request, default_limit=MAX_LISTED, max_limit=MAX_LISTED, others=("purpose",), can_order=True)
    purpose = request.query_params.get("purpose")
    if purpose is not None and purpose not in PURPOSES:
        raise invalid_value("purpose", PURPOSES, repr(purpose[:40]))
    page = await storage.run(lambda: storage.files.list(owner_of(request), query, purpose))
    listed = [FileObject.of(file) for file in page.records]
    first, last = (listed[0].id, listed[-1].id) if listed else (None, None)
    return json_response(FileList(data=listed, first_id=first, last_id=last, has_more=page.has_more))


async def retrieve_file(request: Request, services: Services) -> Response:
    return json_response(FileObject.of(await _named(request, stored(services.storage))))


async def download_file(request: Request, services: Services) -> Response:
    """The contents of a file, as they were uploaded."""
    storage = stored(services.storage)
    file = await _named(request, storage)
    headers = {
        "content-length": str(file.size),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(file.filename)}",
    }
    return StreamingResponse(_parts(storage, file.id), media_type="application/octet-stream", headers=headers)


async def delete_file(request: Request, services: Services) -> Response:
    """Delete a file. Raises FileInUse while a batch reads it."""
    storage, file_id = stored(services.storage), request.path_params["file_id"]
    await storage.run(lambda: storage.files.delete(owner_of(request), file_id))
    return json_response(FileDeleted(id=file_id))


async def _named(request: Request, storage: Storage) -> StoredFile:
    """The file that the path names. Raises NotFound."""
    return await storage.run(lambda: storage.files.get(owner_of(request), request.path_params["file_id"]))


async def _parts(storage: Storage, file_id: str) -> AsyncIterator[bytes]:
    parts = storage.files.parts(file_id)
    while (part := await storage.run(lambda: next(parts, None))) is not None:
        yield part
