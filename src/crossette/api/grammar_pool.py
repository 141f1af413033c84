"""Threads that compile the output constraints of requests, with a time limit and a bounded queue."""

from __future__ import annotations

from collections.abc import Callable

from crossette.api.worker_pool import WorkerPool
from crossette.engine import Engine
from crossette.errors import InvalidRequest
from crossette.machine import usable_cpus
from crossette.text.output_plan import OutputPlan
from crossette.text.schema.report import MAX_FAULTS
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
    """Raises InvalidRequest. If parts of the plan are at fault, it has the faults of all of them."""
    try:
        engine.prepare(constraint)
    except InvalidRequest:
        faults = [fault for part in plan.parts if (fault := _fault(part, engine)) is not None]
        if not faults:
            raise
        messages = [f"{fault.param}: {fault.message}" if len(faults) > 1 else fault.message for fault in faults]
        raise InvalidRequest(" ".join(messages[:MAX_FAULTS]), param=faults[0].param) from None


def _fault(constraint: Constraint, engine: Engine) -> InvalidRequest | None:
    try:
        engine.prepare(constraint)
    except InvalidRequest as error:
        return error
    return None
