"""The wire types of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import msgspec

from crossette.accounts.files import StoredFile
from crossette.api.schema.table import REQUIRED, Field, Table
from crossette.errors import InvalidRequest, Unsupported, invalid_value, missing

PURPOSES = (
    *("assistants", "assistants_output", "batch", "batch_output", "fine-tune", "fine-tune-results"),
    *("vision", "user_data", "evals"),
)
"""OpenAI's purposes of files."""
MIN_EXPIRY_S, MAX_EXPIRY_S = 3600, 30 * 24 * 3600


class FileObject(msgspec.Struct, kw_only=True):
    id: str
    object: str = "file"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: str = "processed"
    status_details: None = None

    @classmethod
    def of(cls, file: StoredFile) -> FileObject:
        return cls(
            id=file.id,
            bytes=file.size,
            created_at=int(file.created_at.timestamp()),
            expires_at=int(file.expires_at.timestamp()),
            filename=file.filename,
            purpose=file.purpose,
        )


class FileList(msgspec.Struct, kw_only=True):
    object: str = "list"
    data: Sequence[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(msgspec.Struct, kw_only=True):
    id: str
    object: str = "file"
    deleted: bool = True


class ExpiresAfter(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How long a file is kept."""

    table: ClassVar[Table] = Table(
        {
            "anchor": Field("When the time begins.", default=REQUIRED),
            "seconds": Field("At most the time for which the server keeps files.", default=REQUIRED),
        }
    )

    anchor: Literal["created_at"]
    seconds: int

    def check(self, name: str, most_s: float) -> None:
        """Raise InvalidRequest for a time that is too short, or longer than the server keeps files."""
        most = int(min(MAX_EXPIRY_S, most_s))
        if not MIN_EXPIRY_S <= self.seconds <= most:
            raise InvalidRequest(
                f"{name}.seconds must be {MIN_EXPIRY_S} to {most} on this server, not {self.seconds}.",
                param=f"{name}.seconds",
                hint="--store-files is how long files are kept",
            )


def checked_purpose(purpose: str | None) -> str:
    """The purpose of an upload. Raises InvalidRequest for one that is unknown, Unsupported for one without a use."""
    if purpose is None:
        raise missing("purpose")
    if purpose == "batch":
        return purpose
    if purpose in PURPOSES:
        raise Unsupported(
            f"Nothing on this server uses files with the purpose '{purpose}'. Upload files for /batches, with the "
            "purpose 'batch'.",
            param="purpose",
        )
    raise invalid_value("purpose", PURPOSES, repr(purpose[:40]))


def expiry_of(fields: Mapping[str, str], most_s: float) -> float:
    """How long an uploaded file is kept, in seconds: `expires_after[seconds]` of the form, or `most_s`."""
    anchor, seconds = (fields.get(f"expires_after[{name}]") for name in ("anchor", "seconds"))
    if anchor is None and seconds is None:
        return most_s
    if anchor != "created_at":
        raise invalid_value("expires_after.anchor", ("created_at",), repr(anchor))
    if seconds is None:
        raise missing("expires_after.seconds")
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) < 16):
        raise InvalidRequest("expires_after.seconds must be an integer.", param="expires_after.seconds")
    after = ExpiresAfter(anchor="created_at", seconds=int(seconds))
    after.check("expires_after", most_s)
    return after.seconds
