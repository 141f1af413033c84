"""Files in the database: per key, in parts, until they expire."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from crossette.accounts.batches import NewBatch
from crossette.accounts.database.batches import DatabaseBatches
from crossette.accounts.database.database import Database
from crossette.accounts.database.files import DatabaseFiles
from crossette.accounts.database.tables import file_parts
from crossette.accounts.files import PageQuery, StoredFile
from crossette.errors import FileInUse, NotFound
from support.key_clock import Clock
from support.postgres import Cluster

KEEP = timedelta(days=7)


@pytest.fixture
def files(database: Database, clock: Clock) -> DatabaseFiles:
    return DatabaseFiles(database, KEEP, clock)


def put(
    files: DatabaseFiles, *parts: bytes, key: str = "", keep: timedelta = KEEP, purpose: str = "batch"
) -> StoredFile:
    return files.create(key, purpose=purpose, filename="in.jsonl", parts=parts, keep=keep)


def num_parts(database: Database) -> int:
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(file_parts)).scalar_one()


def test_a_file_is_read_back_as_it_was_written(files: DatabaseFiles) -> None:
    stored = put(files, b"\x00one", b"", b"two")

    assert b"".join(files.parts(stored.id)) == b"\x00onetwo"
    assert (stored.size, files.get("", stored.id)) == (7, stored)


def test_another_key_does_not_find_it(files: DatabaseFiles) -> None:
    stored = put(files, b"x", key="key-a")

    with pytest.raises(NotFound):
        files.get("key-b", stored.id)
    with pytest.raises(NotFound):
        files.delete("key-b", stored.id)
    with pytest.raises(NotFound):
        files.list("key-b", PageQuery(1, after=stored.id))
    assert files.list("key-b", PageQuery(10)).records == []


def test_an_upload_that_fails_leaves_nothing(files: DatabaseFiles, database: Database) -> None:
    def failing() -> Iterator[bytes]:
        yield b"x"
        raise OSError("disconnected")

    with pytest.raises(OSError, match="disconnected"):
        files.create("", purpose="batch", filename="f", parts=failing(), keep=KEEP)

    assert (num_parts(database), files.list("", PageQuery(10)).records) == (0, [])


def test_a_file_is_invisible_until_it_is_complete(files: DatabaseFiles) -> None:
    def looking() -> Iterator[bytes]:
        yield b"x"
        assert files.list("", PageQuery(10)).records == []
        yield b"y"

    stored = files.create("", purpose="batch", filename="f", parts=looking(), keep=KEEP)

    assert files.list("", PageQuery(10)).records == [stored]


def test_what_a_killed_upload_left_is_deleted_after_an_hour(
    files: DatabaseFiles, database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed() -> Iterator[bytes]:
        yield b"x"
        monkeypatch.setattr(database, "write", None)  # no cleanup either
        yield b"y"

    with pytest.raises(TypeError):
        files.create("", purpose="batch", filename="f", parts=killed(), keep=KEEP)
    monkeypatch.undo()
    assert num_parts(database) == 1

    clock.now += timedelta(hours=2)
    files.purge()

    assert num_parts(database) == 0


def test_an_expired_file_is_gone_at_once_and_its_contents_with_the_next_purge(
    files: DatabaseFiles, database: Database, clock: Clock
) -> None:
    stored = put(files, b"x", keep=timedelta(hours=2))
    kept = put(files, b"y")
    clock.now += timedelta(hours=2)

    with pytest.raises(NotFound):
        files.get("", stored.id)
    files.purge()

    assert num_parts(database) == 1
    assert b"".join(files.parts(kept.id)) == b"y"


def test_no_file_is_kept_longer_than_the_server_keeps_files(files: DatabaseFiles) -> None:
    stored = put(files, b"x", keep=timedelta(days=300))

    assert stored.expires_at - stored.created_at == KEEP


def test_pages_cover_all_files_once_in_both_orders(files: DatabaseFiles, clock: Clock) -> None:
    ids = []
    for index in range(7):
        clock.now += timedelta(seconds=index % 2)  # some have the same time
        ids.append(put(files, b"x").id)

    for newest_first in (True, False):
        found: list[str] = []
        has_more = True
        while has_more:
            page = files.list("", PageQuery(2, found[-1] if found else None, newest_first=newest_first))
            found += [file.id for file in page.records]
            has_more = page.has_more
        assert sorted(found) == sorted(ids)
        times = [files.get("", file_id).created_at for file_id in found]
        assert times == sorted(times, reverse=newest_first)


def test_a_purpose_selects_files(files: DatabaseFiles) -> None:
    wanted = put(files, b"x", purpose="batch_output")
    put(files, b"y")

    assert files.list("", PageQuery(9), "batch_output").records == [wanted]


def test_a_file_that_a_batch_reads_is_neither_deleted_nor_purged(
    files: DatabaseFiles, database: Database, clock: Clock
) -> None:
    stored = put(files, b"x", keep=timedelta(hours=1))
    batches = DatabaseBatches(database, KEEP, clock)
    batch = batches.create(NewBatch("", "/v1/completions", stored.id, "24h", clock.now + timedelta(days=1)))

    with pytest.raises(FileInUse, match=batch.id):
        files.delete("", stored.id)
    clock.now += timedelta(hours=2)
    files.purge()
    assert b"".join(files.parts(stored.id)) == b"x"

    batches.claim("me", timedelta(minutes=1), 1)
    batches.end("me", batch.id, "cancelled")
    files.purge()
    assert b"".join(files.parts(stored.id)) == b""


def test_the_sum_of_all_files_counts_results_of_running_batches(files: DatabaseFiles) -> None:
    assert files.stored_bytes() == 0
    put(files, b"xyz", key="key-a")
    put(files, b"ab", key="key-b")
    assert files.stored_bytes() == 5


def test_times_have_a_zone(files: DatabaseFiles, clock: Clock) -> None:
    assert put(files, b"").created_at == clock.now
    assert isinstance(clock.now, datetime)
    assert clock.now.tzinfo is UTC


@pytest.mark.all
def test_one_server_at_a_time_deletes_expired_files_and_old_batches(postgres: Cluster, clock: Clock) -> None:
    first, second = Database(postgres.migrated()), Database(postgres.url)
    try:
        files, batches = DatabaseFiles(second, KEEP, clock), DatabaseBatches(second, KEEP, clock)
        stored = put(files, b"x", keep=timedelta(hours=1))
        batch = batches.create(NewBatch("", "/v1/completions", stored.id, "24h", clock.now + timedelta(days=1)))
        batches.claim("me", timedelta(minutes=1), 1)
        batches.end("me", batch.id, "cancelled")
        clock.now += KEEP + timedelta(hours=1)

        with first.sweep():
            files.purge()
            assert (num_parts(second), batches.get("", batch.id).id) == (1, batch.id)
        files.purge()

        assert num_parts(second) == 0
        with pytest.raises(NotFound):
            batches.get("", batch.id)
    finally:
        first.close()
        second.close()
