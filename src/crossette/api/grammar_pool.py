"""How long forms may take to understand, and how many may wait for it: in threads of their own, a few at a time."""

from __future__ import annotations

from collections.abc import Callable

from crossette.api.worker_pool import PATIENCE_S, WorkerPool
from crossette.engine import Engine
from crossette.errors import InvalidRequest
from crossette.machine import usable_cpus
from crossette.text.output_plan import OutputPlan
from crossette.types import Constraint

workshop = WorkerPool("form", usable_cpus(), max_waiting=64, waits_for="for the form of their answer to be understood")
"""Limits of a form's own end it far earlier than its patience: after five seconds at the worst measured."""


async def prepared(making: Callable[[], OutputPlan], engine: Engine) -> OutputPlan:
    """The plan, its constraint compiled: a large one takes a second.

    Raises InvalidRequest for a form that cannot be enforced, Overloaded where too many wait for theirs.
    """

    def prepare() -> OutputPlan:
        plan = making()
        if plan.constraint is not None:
            _compile(plan, plan.constraint, engine)
        return plan

    try:
        return await workshop.do(prepare)
    except TimeoutError:
        raise InvalidRequest(
            f"The form of the answer was not understood within {PATIENCE_S:.0f} s. Ask for a simpler one."
        ) from None


def _compile(plan: OutputPlan, constraint: Constraint, engine: Engine) -> None:
    """Raises InvalidRequest that names the tool, and the place in its schema, if it is one of these that fails."""
    try:
        engine.prepare(constraint)
    except InvalidRequest:
        for part in plan.parts:
            engine.prepare(part)
        raise
