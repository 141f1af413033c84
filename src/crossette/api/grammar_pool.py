"""Threads that compile the output constraints of requests, with a time limit and a bounded queue."""

from __future__ import annotations

from collections.abc import Callable

from crossette.api.worker_pool import WorkerPool
from crossette.engine import Engine
from crossette.errors import InvalidRequest
from crossette.machine import usable_cpus
from crossette.text.output_plan import OutputPlan
from crossette.types import Constraint


class GrammarPool:
    """Compiles output constraints. The compiler's own limits stop it after five seconds in the worst measured case."""

    def __init__(self, num_threads: int | None = None, *, max_waiting: int = 64, timeout_s: float = 60.0) -> None:
        self.workers = WorkerPool(
            "grammar",
            num_threads or usable_cpus(),
            max_waiting=max_waiting,
            waits_for="for their response format to be compiled",
            timeout_s=timeout_s,
        )

    async def plan(self, build: Callable[[], OutputPlan], engine: Engine) -> OutputPlan:
        """Build a plan and compile its constraint, which takes up to a second for a large one.

        Raises InvalidRequest for a constraint that cannot be enforced, Overloaded if the queue is full.
        """

        def compiled() -> OutputPlan:
            plan = build()
            if plan.constraint is not None:
                _compile(plan, plan.constraint, engine)
            return plan

        try:
            return await self.workers.run(compiled)
        except TimeoutError:
            raise InvalidRequest(
                f"Compiling the response format exceeded {self.workers.timeout_s:g} s. Simplify the schema or grammar."
            ) from None


def _compile(plan: OutputPlan, constraint: Constraint, engine: Engine) -> None:
    """Raises InvalidRequest, which names the tool and the path in its schema if a tool's schema is invalid."""
    try:
        engine.prepare(constraint)
    except InvalidRequest:
        for part in plan.parts:
            engine.prepare(part)
        raise
