"""Uploads as multipart forms: one file and a few fields, within limits of size and time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from crossette.accounts.files import PART_BYTES
from crossette.api.http import ClientDisconnected
from crossette.api.request_body import BoundedReceive
from crossette.errors import InvalidRequest, RequestTooLarge, UnknownField, UnsupportedCoding, missing

_FORM_BYTES = 64 * 1024
"""What the fields and boundaries of a form may take beside its file."""
_MAX_FIELDS = 8
_MAX_NAME = 255


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in a form, and the fields beside it."""

    filename: str
    size: int
    file: BinaryIO
    fields: dict[str, str]

    def parts(self) -> Iterator[bytes]:
        """The contents. Blocks on the disk: call it in a thread."""
        self.file.seek(0)
        while part := self.file.read(PART_BYTES):
            yield part


@asynccontextmanager
async def uploaded(request: Request, known: Collection[str], max_bytes: int) -> AsyncIterator[Upload]:
    """The upload in a request, whose file is gone afterwards.

    `known` are the fields of the form beside `file`. Raises an error with status 400, 408, 413 or 415.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedCoding("An upload cannot have a content-encoding. Leave it out.")
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InvalidRequest("An upload is a form: send it as multipart/form-data, with a file and its purpose.")

    def too_large(size: int) -> RequestTooLarge:
        return RequestTooLarge(
            f"The file has more than {max_bytes} bytes, the limit. Split it.", hint="--max-file-bytes is the limit"
        )

    bounded = BoundedReceive(request.receive, max_bytes + _FORM_BYTES, too_large)
    bounded.check_declared(request.headers)
    try:
        form = Request(request.scope, bounded).form(max_files=1, max_fields=_MAX_FIELDS, max_part_size=_FORM_BYTES)
        async with form as sent:
            upload = _checked(list(sent.multi_items()), known)
            if upload.size > max_bytes:
                raise too_large(upload.size)
            yield upload
    except HTTPException as error:  # starlette's error of an invalid form
        raise InvalidRequest(f"The form is invalid: {error.detail}") from error
    except ClientDisconnect:
        raise ClientDisconnected from None


def _checked(items: list[tuple[str, str | UploadFile]], known: Collection[str]) -> Upload:
    """Raises InvalidRequest for a form with other fields, or with one of them twice."""
    files = [value for name, value in items if name == "file" and isinstance(value, UploadFile)]
    fields = {name: value for name, value in items if isinstance(value, str)}
    for name, value in items:
        if name not in known and name != "file":
            raise UnknownField(f"Unknown field: {name[:40]!r}. Known: file, {', '.join(known)}.", param=name[:40])
        if isinstance(value, UploadFile) != (name == "file"):
            kind = "a file, with a filename" if name == "file" else "a text, without a filename"
            raise InvalidRequest(f"The part '{name}' of the form must be {kind}.", param=name)
    if not files:
        raise missing("file")
    if len(items) > len(fields) + len(files):
        raise InvalidRequest("A field of the form is sent twice. Send each once.")
    (file,) = files
    return Upload(_clean_name(file.filename or ""), file.size or 0, file.file, fields)


def _clean_name(name: str) -> str:
    """A file's name without its folders and without control characters."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter if letter.isprintable() else "_" for letter in last)[:_MAX_NAME] or "file"
