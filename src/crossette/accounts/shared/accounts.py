"""What keys have used of their limits, in a PostgreSQL that all replicas share.

A decision is one statement, by the clock of the database; the row of the key's account is the order of decisions. What
a request holds is a lease: it counts while the replica that gave it lives.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crossette.accounts.access import UNLIMITED, Caller, Limits
from crossette.accounts.key_accounts import Hold
from crossette.accounts.shared.connections import Connections, DatabaseAway, Row
from crossette.accounts.shared.decisions import Decisions
from crossette.accounts.shared.ends import End, Ends
from crossette.accounts.shared.heartbeat import Heartbeat
from crossette.accounts.shared.outage import OutageAccounts, unreadable
from crossette.accounts.standing import RATES, Allowance, Rate, Standing, per_minute
from crossette.errors import BudgetSpent, RateLimited

_MAX_KNOWN = 10_000
"""The keys whose last state is kept in memory."""
_GRACE_S = 0.05
"""A request that finds no place asks once more after this time: another replica may be about to give one back."""


class SharedAccounts:
    """Implements `KeyAccounts`."""

    def __init__(self, connections: Connections, heartbeat: Heartbeat, ends: Ends) -> None:
        self._connections = connections
        self._decisions = Decisions(connections)
        self.heartbeat = heartbeat
        self.ends = ends
        self._known: OrderedDict[str, tuple[Standing, float]] = OrderedDict()
        self._outage: OutageAccounts | None = None

    async def begin(self, caller: Caller) -> Hold | None:
        if caller.limits == UNLIMITED:
            return None
        if caller.limits.concurrent_requests is not None or caller.limits.total_tokens is not None:
            await self.ends.written(caller.id)  # they give places and reserved tokens back
        hold = SharedHold(self, caller)
        await hold.begin()
        return hold

    def allowances(self, caller: Caller) -> Sequence[Allowance]:
        if self.outage is not None:
            return self.outage.allowances(caller)
        known = self.known(caller)
        return known.allowances() if known is not None else []

    def background_wait_s(self, caller: Caller) -> float:
        known = self.known(caller)
        return known.background_wait_s() if known is not None else 0.0

    @property
    def outage(self) -> OutageAccounts | None:
        """The accounts to use while the database is away."""
        if not self._connections.is_away:
            self._outage = None
        elif self._outage is None:
            self._outage = OutageAccounts(self.heartbeat.num_replicas)
        return self._outage

    def known(self, caller: Caller) -> Standing | None:
        """The state that the last decision on the key left, with what its limits have gained since."""
        if caller.id not in self._known:
            return None
        standing, at = self._known[caller.id]
        gained = {rate: (per_minute(standing.limits, rate) or 0) * (time.monotonic() - at) / 60 for rate in RATES}
        levels = {
            rate: min(float(per_minute(standing.limits, rate) or 0), level + gained[rate])
            for rate, level in standing.levels.items()
        }
        return dataclasses.replace(standing, levels=levels)

    async def decide(
        self, caller: Caller, lease: str, prompt: tuple[int, int] | None, on_unknown: Callable[[], None]
    ) -> Row:
        """Begin a request, or admit its `prompt`: its tokens, and the most that it can generate.

        Raises DatabaseAway; `on_unknown` is called where it is unknown whether a request has begun.
        """
        known = self._known.get(caller.id)
        row = await self._decisions.ask(
            {
                "lease": lease,
                "key": caller.id,
                "replica": self.heartbeat.id,
                "prompt": prompt[0] if prompt else None,
                "most": prompt[1] if prompt else None,
                "sizes": sizes(caller.limits),
                "concurrent": caller.limits.concurrent_requests,
                "budget": caller.limits.total_tokens,
                # A key that had no budget before has usage that was not counted here.
                "reads_ledger": known is None or known[0].limits.total_tokens != caller.limits.total_tokens,
            },
            on_unknown,
        )
        self._known[caller.id] = standing_of(row, caller.limits), time.monotonic()
        self._known.move_to_end(caller.id)
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        return row


class SharedHold:
    """Implements `Hold`."""

    def __init__(self, accounts: SharedAccounts, caller: Caller) -> None:
        self._accounts = accounts
        self._caller = caller
        self._lease: str | None = secrets.token_hex(12)
        self._standing: Standing | None = None
        self._deposits: Mapping[Rate, float] = {}
        self._local: Hold | None = None
        """What it holds of this replica's part, if the database was away."""
        self._admitted = 0
        self._is_ended = False

    async def begin(self) -> None:
        """Raises RateLimited, BudgetSpent or Forbidden."""
        try:
            row = await self._decide_begin()
        except DatabaseAway:
            self._lease = None
            await self._begin_locally()
            return
        self._standing = standing_of(row, self._caller.limits)
        if not row["admitted"]:
            self._standing.check_begin()
            raise _changed()
        self._deposits = {"cached_tokens": row["cached_deposit"], "generated_tokens": row["generated_deposit"]}

    async def admit(self, prompt_tokens: int, most_generated: int) -> None:
        if self._local is None and self._lease is not None:
            try:
                row = await self._accounts.decide(
                    self._caller, self._lease, (prompt_tokens, most_generated), lambda: None
                )
            except DatabaseAway:
                await self._begin_locally()
            else:
                if not row["admitted"]:
                    standing = standing_of(row, self._caller.limits)
                    standing.check_prompt(prompt_tokens, most_generated, self._deposits)
                    raise _changed()
        if self._local is not None:
            await self._admit_locally(prompt_tokens, most_generated)
        self._admitted = prompt_tokens

    def remaining(self) -> int | None:
        if self._local is not None:
            return self._local.remaining()
        return self._standing.remaining if self._standing is not None else None

    def end(self, *, cached_tokens: int, generated_tokens: int, prompt_tokens: int | None = None) -> None:
        prompt = self._admitted if prompt_tokens is None else prompt_tokens
        if self._local is not None:
            self._local.end(cached_tokens=cached_tokens, generated_tokens=generated_tokens, prompt_tokens=prompt)
        self._end(
            requests=1 if self._lease is None else 0,
            prompt_tokens=prompt,
            cached_tokens=cached_tokens,
            generated_tokens=generated_tokens,
            is_usage=True,
        )

    def cancel(self, *, took_request: bool = True) -> None:
        if self._local is not None:
            self._local.cancel(took_request=took_request)
        self._end(requests=int(took_request) - int(self._lease is not None), prompt_tokens=0)

    def settle(self) -> None:
        if self._local is not None:
            self._local.settle()

    async def _decide_begin(self) -> Row:
        row = await self._ask_to_begin()
        most = self._caller.limits.concurrent_requests
        if not row["admitted"] and most and row["num_open"] >= most:
            await asyncio.sleep(_GRACE_S)
            row = await self._ask_to_begin()
        return row

    async def _ask_to_begin(self) -> Row:
        """The decision. If it stays unknown, what was taken is given back later."""
        lease = self._lease
        assert lease is not None
        given_back = End(self._caller.id, lease, sizes(self._caller.limits), requests=-1, prompt_tokens=0)
        return await self._accounts.decide(self._caller, lease, None, lambda: self._accounts.ends.add(given_back))

    async def _admit_locally(self, prompt_tokens: int, most_generated: int) -> None:
        assert self._local is not None
        try:
            await self._local.admit(prompt_tokens, most_generated)
        except BudgetSpent as error:  # of this replica's part
            raise unreadable() from error

    async def _begin_locally(self) -> None:
        outage = self._accounts.outage or OutageAccounts(self._accounts.heartbeat.num_replicas)
        self._local = await outage.begin(self._caller, self._accounts.known(self._caller))

    def _end(self, **taken: Any) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        end = End(self._caller.id, self._lease, sizes(self._caller.limits), **taken)
        if outage := self._accounts.outage:
            outage.note(end.key_id, (end.prompt_tokens or 0) + end.generated_tokens)
        self._accounts.ends.add(end)


def sizes(limits: Limits) -> list[int | None]:
    """The limits per minute, in the order of `RATES`."""
    return [per_minute(limits, rate) for rate in RATES]


def standing_of(row: Row, limits: Limits) -> Standing:
    """The state that a decision returned: before it, if it refused the request."""
    fills = zip(RATES, row["fills"], strict=True)
    return Standing(
        limits,
        {rate: fill * most for rate, fill in fills if (most := per_minute(limits, rate)) is not None},
        row["used"],
        row["reserved"],
        row["num_open"],
        row["next_end_s"],
        row["has_estimates"],
    )


def _changed() -> RateLimited:
    """The error where the state allows the request that was refused: another took its place, or rounding did."""
    return RateLimited("The limits of this key are used up by other requests. Retry in a second.", retry_after=1.0)
