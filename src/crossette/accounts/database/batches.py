"""Batches in the database: a row for each, and the results of their lines as parts of their result files."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Update, insert, or_, select, update

from crossette.accounts.batches import ACTIVE, Batch, Ended, LeaseLost, LineResult, NewBatch
from crossette.accounts.database.database import Database
from crossette.accounts.database.files import insert_file, new_file_id
from crossette.accounts.database.pages import read_page
from crossette.accounts.database.tables import batches, file_parts
from crossette.accounts.files import Page, PageQuery, StoredFile
from crossette.errors import BatchEnded, NotFound

_COLUMNS = [batches.c[field.name] for field in fields(Batch)]
_COUNTS = ("total", "completed", "failed", "output_bytes", "error_bytes")
_USAGE = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")


class DatabaseBatches:
    """Implements `BatchStore`. `keep` is how long result files are kept, unless a batch asks for less."""

    def __init__(
        self, database: Database, keep: timedelta, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._keep = keep
        self._clock = clock

    # --- for clients ---

    def create(self, new: NewBatch) -> Batch:
        values = {field.name: getattr(new, field.name) for field in fields(NewBatch)}
        batch_id = "batch_" + uuid.uuid4().hex
        values |= {"id": batch_id, "status": "validating", "created_at": self._clock()}
        values |= {"output_file_id": new_file_id(), "error_file_id": new_file_id()}
        values |= dict.fromkeys((*_COUNTS, *_USAGE), 0)
        with self._database.write() as connection:
            connection.execute(insert(batches).values(values))
            return _read(connection, new.key_id, batch_id)

    def get(self, key_id: str, batch_id: str) -> Batch:
        with self._database.read() as connection:
            return _read(connection, key_id, batch_id)

    def list(self, key_id: str, query: PageQuery) -> Page[Batch]:
        with self._database.read() as connection:
            page = read_page(connection, batches, key_id, query)
            return Page([_batch(row) for row in page.records], page.has_more)

    def cancel(self, key_id: str, batch_id: str) -> Batch:
        cancelled = _changed(batch_id, status="cancelling", cancelling_at=self._clock())
        with self._database.write() as connection:
            before = _read(connection, key_id, batch_id)
            if before.has_ended or before.status == "finalizing":
                raise BatchEnded(f"A batch with the status '{before.status}' cannot be cancelled.")
            connection.execute(cancelled.where(batches.c.status.in_(("validating", "in_progress"))))
            return _read(connection, key_id, batch_id)

    # --- leases ---

    def claim(self, runner: str, lease: timedelta, limit: int) -> Sequence[Batch]:
        now = self._clock()
        is_free = or_(batches.c.lease_until.is_(None), batches.c.lease_until < now)
        free = select(batches.c.id).where(batches.c.status.in_(ACTIVE), is_free)
        with self._database.write_exclusively() as connection:
            ids = connection.scalars(free.order_by(batches.c.created_at, batches.c.id).limit(limit)).all()
            if not ids:
                return []
            leased = update(batches).where(batches.c.id.in_(ids))
            connection.execute(leased.values(runner=runner, lease_until=now + lease))
            rows = connection.execute(select(*_COLUMNS).where(batches.c.id.in_(ids)).order_by(batches.c.created_at))
            return [_batch(row) for row in rows.mappings()]

    def renew(self, runner: str, lease: timedelta, batch_ids: Collection[str]) -> Sequence[Batch]:
        held = (batches.c.id.in_(batch_ids), batches.c.runner == runner, batches.c.status.in_(ACTIVE))
        with self._database.write() as connection:
            connection.execute(update(batches).where(*held).values(lease_until=self._clock() + lease))
            return [_batch(row) for row in connection.execute(select(*_COLUMNS).where(*held)).mappings()]

    def release(self, runner: str) -> None:
        with self._database.write() as connection:
            released = update(batches).where(batches.c.runner == runner)
            connection.execute(released.values(runner=None, lease_until=None))

    # --- for the runner that holds the lease ---

    def begin(self, runner: str, batch_id: str, *, total: int, model: str | None) -> None:
        now = self._clock()
        with self._database.write() as connection:
            _apply(connection, runner, _changed(batch_id, total=total, model=model))
            begun = _changed(batch_id, status="in_progress", in_progress_at=now)
            connection.execute(begun.where(batches.c.status == "validating"))

    def fail(self, runner: str, batch_id: str, errors: Sequence[Mapping[str, str | int | None]]) -> None:
        failed = _changed(batch_id, status="failed", failed_at=self._clock(), errors=list(errors))
        with self._database.write() as connection:
            _apply(connection, runner, failed.values(runner=None, lease_until=None))

    def recorded(self, batch: Batch) -> frozenset[int]:
        ids = (batch.output_file_id, batch.error_file_id)
        with self._database.read() as connection:
            return frozenset(connection.scalars(select(file_parts.c.number).where(file_parts.c.file_id.in_(ids))))

    def record(self, runner: str, batch_id: str, results: Sequence[LineResult]) -> None:
        completed = [result for result in results if result.is_completed]
        failed = [result for result in results if not result.is_completed]
        added = {
            "completed": len(completed),
            "failed": len(failed),
            "output_bytes": sum(len(result.data) for result in completed),
            "error_bytes": sum(len(result.data) for result in failed),
            **{name: sum(getattr(result.usage, name) for result in results) for name in _USAGE},
        }
        counted = _changed(batch_id, **{name: batches.c[name] + number for name, number in added.items()})
        with self._database.write() as connection:
            _apply(connection, runner, counted)
            ids = connection.execute(
                select(batches.c.output_file_id, batches.c.error_file_id).where(batches.c.id == batch_id)
            ).one()
            connection.execute(
                insert(file_parts),
                [
                    {"file_id": ids[not result.is_completed], "number": result.number, "data": result.data}
                    for result in results
                ],
            )

    def finalize(self, runner: str, batch_id: str) -> bool:
        finalizing = _changed(batch_id, status="finalizing", finalizing_at=self._clock())
        with self._database.write() as connection:
            _apply(connection, runner, _changed(batch_id, lease_until=batches.c.lease_until))
            connection.execute(finalizing.where(batches.c.status == "in_progress"))
            status = connection.scalar(select(batches.c.status).where(batches.c.id == batch_id))
            return status == "finalizing"

    def end(self, runner: str, batch_id: str, status: Ended) -> None:
        now = self._clock()
        with self._database.write() as connection:
            ended = _changed(batch_id, **{"status": status, f"{status}_at": now})
            _apply(connection, runner, ended.values(runner=None, lease_until=None))
            row = connection.execute(select(*_COLUMNS).where(batches.c.id == batch_id)).mappings().one()
            for file in _results(_batch(row), now, self._keep):
                insert_file(connection, file)


def _results(batch: Batch, now: datetime, keep: timedelta) -> list[StoredFile]:
    """The result files that have contents."""
    if batch.output_keep_s is not None:
        keep = min(keep, timedelta(seconds=batch.output_keep_s))
    found = ((batch.output_file_id, "output", batch.output_bytes), (batch.error_file_id, "error", batch.error_bytes))
    return [
        StoredFile(file_id, batch.key_id, "batch_output", f"{batch.id}_{kind}.jsonl", size, now, now + keep)
        for file_id, kind, size in found
        if size
    ]


def _changed(batch_id: str, **values: Any) -> Update:  # Any: values of columns
    return update(batches).where(batches.c.id == batch_id).values(values)


def _apply(connection: Connection, runner: str, change: Update) -> None:
    """Change a batch that the runner holds. Raises LeaseLost."""
    if not connection.execute(change.where(batches.c.runner == runner, batches.c.status.in_(ACTIVE))).rowcount:
        raise LeaseLost


def _read(connection: Connection, key_id: str, batch_id: str) -> Batch:
    """Raises NotFound."""
    owned = (batches.c.id == batch_id, batches.c.key_id == key_id)
    row = connection.execute(select(*_COLUMNS).where(*owned)).mappings().first()
    if row is None:
        raise NotFound(f"No such batch: '{batch_id}'.", param="batch_id")
    return _batch(row)


def _batch(row: Mapping[Any, Any]) -> Batch:
    return Batch(**{column.name: row[column.name] for column in _COLUMNS})
