"""The runner of batches: leases them, works on several at once, and hands them back."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from crossette.accounts.batches import Batch, LeaseLost
from crossette.api.batches.in_process import InProcess
from crossette.api.batches.job import Job, Workplace
from crossette.api.batches.slots import Slots
from crossette.api.storage import Storage
from crossette.api.worker_pool import WorkerPool
from crossette.errors import Overloaded
from crossette.observability.metrics import Metrics

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)
"""After this another server takes over the batches of one that was killed."""
_MAX_JOBS = 16
"""Batches at once. They share the engines line by line; the others wait."""
_PURGE_S = 3600.0


class BatchRunner:
    """Works on batches in the background from `start` to `stop`, in the event loop's thread.

    `max_body_bytes` is the limit of a request's body; `wait_s` returns how long the limits of a key make a batch wait.
    """

    def __init__(
        self,
        storage: Storage,
        in_process: InProcess,
        slots: Slots,
        *,
        max_body_bytes: int,
        wait_s: Callable[[str], float],
        lease: timedelta | None = None,
    ) -> None:
        # Its own threads: clients that wait for the database must not make it wait.
        workers = WorkerPool("batches", 4, max_waiting=10_000, waits_for="for the database", timeout_s=600)
        self._storage = replace(storage, workers=workers)
        self._id = uuid.uuid4().hex
        self._place = Workplace(self._id, self._storage, in_process, slots, max_body_bytes, wait_s)
        self._lease = lease or LEASE
        self._jobs: dict[str, Job] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._loop_task: asyncio.Task[None] | None = None
        self._is_draining = False
        self._next_purge = 0.0

    # --- for metrics ---

    @property
    def num_batches(self) -> int:
        return len(self._jobs)

    @property
    def num_running(self) -> int:
        """Lines that run."""
        return sum(job.num_running for job in self._jobs.values())

    @property
    def num_pending(self) -> int:
        """Lines without a result, running ones included."""
        return sum(job.total - job.num_recorded for job in self._jobs.values())

    # --- its life ---

    def start(self) -> None:
        self._loop_task = asyncio.create_task(self._run())

    def drain(self) -> None:
        """Begin no more lines."""
        self._is_draining = True
        for job in self._jobs.values():
            job.drain()

    async def stop(self) -> None:
        """Abort the lines that run, which run again later, and hand all batches back."""
        tasks = [*self._tasks.values(), *([self._loop_task] if self._loop_task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._loop_task is not None:
            with suppress(Overloaded):  # then another server waits until the leases end
                await self._storage.run(lambda: self._storage.batches.release(self._id))

    async def _run(self) -> None:
        while True:
            self._storage.changed.clear()
            try:
                await self._look()
            except Overloaded:  # the storage has logged why
                log.warning("Batches wait until the database can be read and written again")
            except Exception:
                log.exception("The batches cannot be read")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._storage.changed.wait(), self._lease.total_seconds() / 3)

    async def _look(self) -> None:
        """Renew the leases, see what has changed, and lease further batches."""
        await self._look_at_held()
        if not self._is_draining and len(self._jobs) < _MAX_JOBS:
            room = _MAX_JOBS - len(self._jobs)
            for batch in await self._storage.run(lambda: self._storage.batches.claim(self._id, self._lease, room)):
                self._begin(batch)
        now = asyncio.get_running_loop().time()
        if now >= self._next_purge:
            self._next_purge = now + _PURGE_S
            await self._storage.run(self._storage.files.purge)

    async def _look_at_held(self) -> None:
        ids = tuple(self._jobs)
        if not ids:
            return
        batches = await self._storage.run(lambda: self._storage.batches.renew(self._id, self._lease, ids))
        held = {batch.id: batch for batch in batches}
        for batch_id in ids:
            job, batch = self._jobs.get(batch_id), held.get(batch_id)
            if job is None:  # it has ended meanwhile
                continue
            if batch is None:
                self._tasks[batch_id].cancel()
            elif batch.status == "cancelling":
                job.stop("cancelled")
            elif batch.expires_at <= self._storage.clock():
                job.stop("expired")

    def _begin(self, batch: Batch) -> None:
        job = self._jobs[batch.id] = Job(batch, self._place)
        if batch.expires_at <= self._storage.clock():
            job.stop("expired")
        self._tasks[batch.id] = asyncio.create_task(self._work(job))

    async def _work(self, job: Job) -> None:
        """Work on a batch. After a failure its lease ends, and then it is taken up again."""
        batch_id = job.batch.id
        try:
            await job.run()
        except* LeaseLost:
            log.warning("The batch %s is worked on by another server", batch_id)
        except* Overloaded:
            log.warning("The batch %s waits until the database can be read and written again", batch_id)
        except* Exception:
            log.exception("The batch %s failed, and is taken up again in %s", batch_id, self._lease)
        finally:
            del self._jobs[batch_id], self._tasks[batch_id]
            self._storage.changed.set()


def add_batch_metrics(metrics: Metrics, runner: BatchRunner | None) -> None:
    """Register the metrics of a runner; all are 0 for a server without one."""

    def gauge(name: str, help: str, read: Callable[[BatchRunner], int]) -> None:
        metrics.gauge(name, help, lambda: read(runner) if runner is not None else 0)

    gauge("batches", "Batches that this server works on.", lambda runner: runner.num_batches)
    gauge(
        "batch_lines_pending",
        "Lines of these batches without a result, those that run included.",
        lambda runner: runner.num_pending,
    )
    gauge("batch_lines_running", "Lines of batches that run.", lambda runner: runner.num_running)
