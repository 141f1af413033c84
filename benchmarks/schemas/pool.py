"""Processes that measure cases. A case that takes too long, or crashes its process, ends nothing else."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection

from crossette.types import Constraint
from schemas.cases import Case
from schemas.serving import Answer, Outcome, Server, Way
from schemas.walks import Instances, Walked, compiles_alone

_SPAWN = multiprocessing.get_context("spawn")


@dataclass
class Measured:
    """What became of a case. If a step ended its process, the later ones have no result."""

    case: Case
    answers: dict[Way, Answer] = field(default_factory=dict)
    walks: list[Walked] | None = None
    llguidance: str | None = None
    """The error of llguidance alone; "" if it compiles the schema."""


class _Worker:
    """A process that measures one case at a time, with a limit for each of its steps."""

    def __init__(self, limit_s: int, seed: int) -> None:
        self._arguments = (limit_s, seed)
        self._start()

    def measure(self, case: Case) -> Measured:
        measured = Measured(case)
        self._pipe.send(case)
        try:
            for way in ways_of(case):
                measured.answers[way] = self._pipe.recv()
            measured.walks = self._pipe.recv()
            measured.llguidance = self._pipe.recv()
        except EOFError:
            self._process.join()
            for way in ways_of(case)[len(measured.answers) :][:1]:
                measured.answers[way] = Answer(Outcome.HANG, _end(self._process.exitcode))
            self._start()
        return measured

    def close(self) -> None:
        self._pipe.close()
        self._process.join()

    def _start(self) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_work, args=(theirs, *self._arguments), daemon=True)
        self._process.start()
        theirs.close()


def measure(cases: Sequence[Case], *, num_workers: int, limit_s: int, seed: int) -> Iterator[Measured]:
    """Measure cases in order, on so many processes, each with `limit_s` seconds for a step of a case."""
    local = threading.local()
    workers: list[_Worker] = []

    def start() -> None:
        local.worker = _Worker(limit_s, seed)
        workers.append(local.worker)

    with ThreadPoolExecutor(num_workers, initializer=start) as threads:
        yield from threads.map(lambda case: local.worker.measure(case), cases)
        for worker in workers:
            worker.close()


def ways_of(case: Case) -> list[Way]:
    """The ways in which a schema can be sent."""
    return [way for way in Way if way != Way.TOOL or case.is_object]


def _end(status: int | None) -> str:
    return "it took too long" if status == -signal.SIGALRM else f"its process ended with status {status}"


def _work(pipe: Connection, limit_s: int, seed: int) -> None:
    """The main function of a worker process: the results of each case, one message a step."""
    logging.disable(logging.CRITICAL)  # of every answer that validation rejects
    server, instances = Server(seed), Instances()
    while True:
        try:
            case = pipe.recv()
        except EOFError:
            return
        for step in _steps(case, server, instances):
            # Its default action ends the process, whatever library is at work.
            signal.alarm(limit_s)
            result = step()
            signal.alarm(0)
            pipe.send(result)


def _steps(case: Case, server: Server, instances: Instances) -> Iterator[Callable[[], object]]:
    """The steps of a case, each to be called before the next one is taken."""
    served: list[Constraint | None] = []

    def ask(way: Way) -> Answer:
        answer, constraint = server.ask(case, way)
        served.append(constraint)
        return answer

    for way in ways_of(case):
        yield partial(ask, way)
    yield partial(instances.walked, case, served[0])
    yield partial(compiles_alone, case)
