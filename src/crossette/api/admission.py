"""Whether a request may begin: the limits of its key, and the queue of its engine."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crossette.access import ANONYMOUS, Caller
from crossette.api.dialect import Dialect
from crossette.api.limit_headers import limit_headers
from crossette.api.queue import QueueSettings, Returns, check_queue
from crossette.engine import Engine
from crossette.errors import BudgetSpent, RateLimited
from crossette.limits import Lease, Limiter
from crossette.types import GenerationRequest, Usage


class Gate:
    """What all requests pass. `now` is a clock that never goes back, in seconds."""

    def __init__(
        self,
        limiter: Limiter | None = None,
        queue: QueueSettings | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limiter = limiter or Limiter()
        self.queue = queue or QueueSettings()
        self.now = now
        self.returns: dict[str, Returns] = defaultdict(Returns)
        """By the name of the model."""

    def visit(self, caller: Caller | None, dialect: Dialect) -> Visit:
        return Visit(self, caller or ANONYMOUS, dialect)


class Visit:
    """One request at the gate."""

    def __init__(self, gate: Gate, caller: Caller, dialect: Dialect) -> None:
        self.caller = caller
        self._gate = gate
        self._dialect = dialect
        self._lease: Lease | None = None
        self._is_refused = False

    def check(self) -> None:
        """Raise RateLimited, BudgetSpent or Forbidden for a caller that need not send its body at all."""
        self._limited(lambda: self._gate.limiter.check(self.caller, self._gate.now()))

    def begin(self, engine: Engine, requests: Sequence[GenerationRequest]) -> None:
        """Take what the prompts cost, or raise what `check` raises, or Overloaded. Nothing is taken then."""
        check_queue(engine.stats(), self._gate.queue, self._gate.returns[engine.info.name], self._gate.now())
        prompt_tokens = sum(len(request.prompt) for request in requests)
        self._limited(lambda: self._take(prompt_tokens))

    def end(self, usage: Usage | None) -> None:
        """Take what the answer cost; None where the engine never began. May be called at any time, and twice."""
        if self._lease is None:
            return
        if usage is None:
            self._lease.cancel(self._gate.now())
            return
        self._lease.end(
            cached_tokens=usage.cached_tokens, generated_tokens=usage.completion_tokens, now=self._gate.now()
        )

    def headers(self) -> dict[str, str]:
        """What the client is told of its limits, as they stand now."""
        now = self._gate.now()
        account = self._gate.limiter.account(self.caller, now)
        allowances = account.allowances(now) if account else []
        over = self._is_refused or any(one.left == 0 for one in allowances)
        return limit_headers(allowances, self._dialect, over=over)

    def _take(self, prompt_tokens: int) -> None:
        self._lease = self._gate.limiter.begin(self.caller, self._gate.now(), prompt_tokens=prompt_tokens)

    def _limited(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (RateLimited, BudgetSpent):
            self._is_refused = True
            raise


def end_visit(state: Mapping[str, Any]) -> None:
    """End the visit of a request, however it went, with what its answer cost. For `scope["state"]`."""
    if "visit" in state:
        state["visit"].end(state["answer"].usage if "answer" in state else None)


def visit_headers(state: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """What a request's answer says of limits; nothing where there was no visit."""
    told: Mapping[str, str] = state["visit"].headers() if "visit" in state else {}
    return [(name.encode(), value.encode()) for name, value in told.items()]
