"""Batches in the database: leases, results that count once, and how a batch ends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from crossette.accounts.batches import Batch, LeaseLost, LineResult, NewBatch
from crossette.accounts.database.batches import DatabaseBatches
from crossette.accounts.database.database import Database
from crossette.accounts.database.files import DatabaseFiles
from crossette.accounts.files import PageQuery
from crossette.errors import BatchEnded, NotFound
from crossette.types import Usage
from support.key_clock import Clock

KEEP = timedelta(days=7)
LEASE = timedelta(seconds=30)


@pytest.fixture
def files(database: Database, clock: Clock) -> DatabaseFiles:
    return DatabaseFiles(database, KEEP, clock)


@pytest.fixture
def batches(database: Database, clock: Clock) -> DatabaseBatches:
    return DatabaseBatches(database, KEEP, clock)


@pytest.fixture
def batch(batches: DatabaseBatches, clock: Clock) -> Batch:
    return create(batches, clock)


def create(batches: DatabaseBatches, clock: Clock, *, key: str = "key-a", output_keep_s: int | None = None) -> Batch:
    window = clock.now + timedelta(days=1)
    return batches.create(
        NewBatch(key, "/v1/completions", "file-1", "24h", window, {"project": "a"}, output_keep_s=output_keep_s)
    )


def result(number: int, *, ok: bool = True) -> LineResult:
    return LineResult(number, ok, b"%d\n" % number, Usage(10, 5, cached_tokens=4, reasoning_tokens=2))


def test_a_new_batch_is_validating_and_has_what_was_asked(batches: DatabaseBatches, batch: Batch) -> None:
    assert batch.status == "validating"
    assert (batch.endpoint, batch.metadata, batch.total) == ("/v1/completions", {"project": "a"}, 0)
    assert batches.get("key-a", batch.id) == batch


def test_another_key_finds_no_batch(batches: DatabaseBatches, batch: Batch) -> None:
    for find in (batches.get, batches.cancel):
        with pytest.raises(NotFound):
            find("key-b", batch.id)
    assert batches.list("key-b", PageQuery(10)).records == []
    assert batches.list("key-a", PageQuery(10)).records == [batch]


def test_a_batch_is_claimed_by_one_runner_until_its_lease_ends(
    batches: DatabaseBatches, batch: Batch, clock: Clock
) -> None:
    assert [claimed.id for claimed in batches.claim("one", LEASE, 5)] == [batch.id]
    assert batches.claim("two", LEASE, 5) == []

    clock.now += timedelta(seconds=20)
    assert len(batches.renew("one", LEASE, [batch.id])) == 1
    clock.now += timedelta(seconds=20)
    assert batches.claim("two", LEASE, 5) == []

    clock.now += timedelta(seconds=20)
    assert len(batches.claim("two", LEASE, 5)) == 1
    assert batches.renew("one", LEASE, [batch.id]) == []


def test_a_runner_that_lost_its_lease_changes_nothing(batches: DatabaseBatches, batch: Batch, clock: Clock) -> None:
    batches.claim("one", LEASE, 5)
    clock.now += 2 * LEASE
    batches.claim("two", LEASE, 5)

    for change in (
        lambda: batches.begin("one", batch.id, total=1, model=None),
        lambda: batches.fail("one", batch.id, []),
        lambda: batches.record("one", batch.id, [result(1)]),
        lambda: batches.finalize("one", batch.id),
        lambda: batches.end("one", batch.id, "completed"),
    ):
        with pytest.raises(LeaseLost):
            change()
    after = batches.get("key-a", batch.id)
    assert (after.status, batches.recorded(after)) == ("validating", frozenset())


def test_a_released_batch_is_claimed_at_once(batches: DatabaseBatches, batch: Batch) -> None:
    batches.claim("one", LEASE, 5)
    batches.release("one")

    assert len(batches.claim("two", LEASE, 5)) == 1


def test_the_oldest_batches_are_claimed_first(batches: DatabaseBatches, batch: Batch, clock: Clock) -> None:
    clock.now += timedelta(seconds=1)
    create(batches, clock)

    assert [claimed.id for claimed in batches.claim("one", LEASE, 1)] == [batch.id]


def test_results_are_counted_and_become_files_at_the_end(
    batches: DatabaseBatches, files: DatabaseFiles, batch: Batch
) -> None:
    batches.claim("one", LEASE, 5)
    batches.begin("one", batch.id, total=3, model="m")
    batches.record("one", batch.id, [result(3), result(2, ok=False)])
    batches.record("one", batch.id, [result(1)])
    during = batches.get("key-a", batch.id)
    assert (during.status, during.total, during.completed, during.failed) == ("in_progress", 3, 2, 1)
    assert (during.prompt_tokens, during.cached_tokens, during.completion_tokens) == (30, 12, 15)
    assert batches.recorded(during) == {1, 2, 3}
    assert files.stored_bytes() == 6
    with pytest.raises(NotFound):
        files.get("key-a", during.output_file_id)

    assert batches.finalize("one", batch.id)
    batches.end("one", batch.id, "completed")

    output, errors = (files.get("key-a", name) for name in (batch.output_file_id, batch.error_file_id))
    assert (b"".join(files.parts(output.id)), output.size) == (b"1\n3\n", 4)
    assert (b"".join(files.parts(errors.id)), errors.size) == (b"2\n", 2)
    ended = batches.get("key-a", batch.id)
    assert ended.has_ended
    assert ended.completed_at is not None
    assert files.stored_bytes() == 6


def test_a_line_is_recorded_once(batches: DatabaseBatches, batch: Batch) -> None:
    batches.claim("one", LEASE, 5)
    batches.begin("one", batch.id, total=2, model="m")
    batches.record("one", batch.id, [result(1)])

    with pytest.raises(Exception, match="Can't write"):
        batches.record("one", batch.id, [result(2), result(1)])

    after = batches.get("key-a", batch.id)
    assert (after.completed, batches.recorded(after)) == (1, frozenset({1}))


def test_a_batch_without_results_has_no_files(batches: DatabaseBatches, files: DatabaseFiles, batch: Batch) -> None:
    batches.claim("one", LEASE, 5)
    batches.end("one", batch.id, "expired")

    assert files.list("key-a", PageQuery(10)).records == []
    assert batches.get("key-a", batch.id).expired_at is not None


def test_result_files_expire_as_the_batch_asks(batches: DatabaseBatches, files: DatabaseFiles, clock: Clock) -> None:
    batch = create(batches, clock, output_keep_s=3600)
    batches.claim("one", LEASE, 5)
    batches.begin("one", batch.id, total=1, model="m")
    batches.record("one", batch.id, [result(1)])
    batches.end("one", batch.id, "completed")

    file = files.get("key-a", batch.output_file_id)
    assert file.expires_at - file.created_at == timedelta(hours=1)


def test_cancelling_survives_the_end_of_validation_and_of_the_lines(batches: DatabaseBatches, batch: Batch) -> None:
    batches.claim("one", LEASE, 5)
    assert batches.cancel("key-a", batch.id).status == "cancelling"
    first = batches.cancel("key-a", batch.id).cancelling_at

    batches.begin("one", batch.id, total=1, model="m")
    assert batches.get("key-a", batch.id).status == "cancelling"
    assert not batches.finalize("one", batch.id)
    assert batches.get("key-a", batch.id).cancelling_at == first

    batches.end("one", batch.id, "cancelled")
    with pytest.raises(BatchEnded, match="cancelled"):
        batches.cancel("key-a", batch.id)


def test_a_failed_batch_has_its_errors_and_no_lease(batches: DatabaseBatches, batch: Batch) -> None:
    batches.claim("one", LEASE, 5)
    batches.fail("one", batch.id, [{"code": "empty_file", "message": "m", "line": None, "param": None}])

    failed = batches.get("key-a", batch.id)
    assert (failed.status, failed.errors) == (
        "failed",
        [{"code": "empty_file", "message": "m", "line": None, "param": None}],
    )
    assert batches.claim("two", LEASE, 5) == []


def test_old_batches_are_deleted_and_active_ones_are_not(
    batches: DatabaseBatches, files: DatabaseFiles, batch: Batch, clock: Clock
) -> None:
    clock.now += KEEP
    files.purge()
    assert batches.get("key-a", batch.id)

    batches.claim("one", LEASE, 1)
    batches.end("one", batch.id, "expired")
    files.purge()
    with pytest.raises(NotFound):
        batches.get("key-a", batch.id)
