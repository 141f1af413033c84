"""Admission of requests: the limits of their key, and the queue of their engine."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from crossette.accounts.access import ANONYMOUS, Caller
from crossette.accounts.key_accounts import Hold, KeyAccounts, LocalAccounts
from crossette.api.dialect import Dialect
from crossette.api.exchange import Exchange
from crossette.api.guards.queue_wait import QueueSettings, RetrySchedule, check_queue
from crossette.api.guards.rate_limit_headers import limit_headers
from crossette.engine import Engine, VectorSource
from crossette.errors import BudgetSpent, RateLimited, RetryLater, ServingError
from crossette.types import GenerationRequest, Usage


class AdmissionController:
    """Creates the admission of each request. `now` is a monotonic clock, in seconds."""

    def __init__(
        self,
        accounts: KeyAccounts | None = None,
        queue: QueueSettings | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.accounts = accounts or LocalAccounts(now=now)
        self.queue = queue or QueueSettings()
        self.now = now
        self.retry_schedules: dict[str, RetrySchedule] = defaultdict(RetrySchedule)
        """By model name."""

    def admission(self, caller: Caller | None, dialect: Dialect) -> Admission:
        return Admission(self, caller or ANONYMOUS, dialect)

    def background_wait_s(self, caller: Caller) -> float:
        """Seconds until a request of a batch may begin, which leaves half of its key's limits to live requests."""
        return self.accounts.background_wait_s(caller)


class Admission:
    """The admission of one request: its limits, its queue wait and its charge."""

    def __init__(self, controller: AdmissionController, caller: Caller, dialect: Dialect) -> None:
        self.caller = caller
        self._controller = controller
        self._dialect = dialect
        self._hold: Hold | None = None
        self._is_refused = False

    async def enter(self) -> None:
        """Enter the concurrency limit, before the body is read. Raises RateLimited, BudgetSpent or Forbidden."""
        await self._noting_refusal(self._enter())

    def max_generated(self, prompt_tokens: int) -> int | None:
        """The tokens that remain in the budget for the answers to a prompt; None without a budget."""
        left = self._hold.remaining() if self._hold is not None else None
        return None if left is None else max(1, left - prompt_tokens)

    async def begin(self, engine: Engine, requests: Sequence[GenerationRequest], max_attempts: int = 1) -> None:
        """Charge the prompts. Raises RateLimited, BudgetSpent or Overloaded, and then charges nothing."""
        now = self._controller.now()
        prompt_tokens = sum([len(request.prompt) for request in requests])
        max_generated = max_attempts * sum([request.n * request.sampling.max_tokens for request in requests])
        with self._cancelling():
            wait = engine.estimate_wait(requests[0])
            if not wait.has_slot:
                check_queue(wait, self._controller.queue, self._controller.retry_schedules[engine.info.name], now)
            if self._hold is not None:
                await self._noting_refusal(self._admit(prompt_tokens, max_generated))

    async def begin_embedding(self, source: VectorSource, num_tokens: int) -> None:
        """Charge texts. Raises RateLimited, BudgetSpent or Overloaded, and then charges nothing."""
        now = self._controller.now()
        with self._cancelling():
            retries = self._controller.retry_schedules[source.info.name]
            check_queue(source.estimate_wait(), self._controller.queue, retries, now)
            await self._noting_refusal(self._admit(num_tokens, 0))

    async def begin_remote(self, prompt_tokens: int, max_generated: int) -> None:
        """Charge an estimate of the prompts that an upstream gets. Raises RateLimited or BudgetSpent."""
        with self._cancelling():
            await self._noting_refusal(self._admit(prompt_tokens, max_generated))

    def end(self, usage: Usage | None, error: ServingError | None = None) -> None:
        """Charge the answer. `usage` is None if no engine was called. A request that must be retried is not charged.

        May be called at any time, and more than once.
        """
        if self._hold is None:
            return
        if usage is None or not usage.total_tokens:  # it left the queue before its first step
            self._hold.cancel(took_request=not isinstance(error, RetryLater))
            return
        self._hold.end(
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            generated_tokens=usage.completion_tokens,
        )

    def settle(self) -> None:
        """Release what is reserved of a budget. The ledger entry must follow at once."""
        if self._hold is not None:
            self._hold.settle()

    def headers(self) -> dict[str, str]:
        """The rate limit headers, with the current state of the limits."""
        allowances = self._controller.accounts.allowances(self.caller)
        over = self._is_refused or 0 in [allowance.remaining for allowance in allowances]
        return limit_headers(allowances, self._dialect, over=over)

    async def _enter(self) -> None:
        self._hold = await self._controller.accounts.begin(self.caller)

    @contextmanager
    def _cancelling(self) -> Iterator[None]:
        """Charge nothing if the request is refused."""
        try:
            yield
        except (RetryLater, BudgetSpent):
            if self._hold is not None:
                self._hold.cancel(took_request=False)
            raise

    async def _admit(self, prompt_tokens: int, max_generated: int) -> None:
        if self._hold is not None:
            await self._hold.admit(prompt_tokens, max_generated)

    async def _noting_refusal(self, step: Awaitable[None]) -> None:
        try:
            await step
        except (RateLimited, BudgetSpent):
            self._is_refused = True
            raise


def end_admission(exchange: Exchange) -> None:
    """End the admission of a finished or failed request, and charge its answer.

    The ledger entry must be added before any other event.
    """
    if exchange.admission is not None:
        exchange.admission.end(exchange.answer.usage if exchange.answer is not None else None, exchange.error)
        exchange.admission.settle()


def admission_headers(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """The rate limit headers of a response; none if the request has no admission."""
    headers = exchange.admission.headers() if exchange.admission is not None else {}
    return [(name.encode(), value.encode()) for name, value in headers.items()]
