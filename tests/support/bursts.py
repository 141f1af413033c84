"""Simulate bursts of requests on the real scheduler; a function gives the duration of each step.

All requests are admitted, whatever their estimate, so that each estimate can be compared with the actual wait.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

from crossette.engine import WaitEstimate
from crossette.engines.openvino.cache_manager import CacheManager
from crossette.engines.openvino.kv_cache import BlockPool, blocks_for
from crossette.engines.openvino.pace import StepPace
from crossette.engines.openvino.queue_snapshot import estimate_for
from crossette.engines.openvino.scheduler import Scheduler
from crossette.engines.openvino.sequence import Batch, SampledToken, Sequence
from crossette.engines.throughput import Throughput
from crossette.types import GenerationRequest, TokenOutput
from support.engine_calls import make_request

END_TOKEN, TOKEN = -1, 1


@dataclass
class SimulatedRequest:
    """A request of a burst, and its outcome. Times are in seconds."""

    at: float
    prompt: tuple[int, ...]
    lengths: tuple[int, ...]
    """Output length of each choice; a choice ends with an end token if that is less than `max_tokens`."""
    max_tokens: int
    tenant: str = ""
    priority: int = 0
    estimate_at_arrival: WaitEstimate | None = None
    begun: float | None = None
    """When the first step with one of its tokens began."""
    found_slot: bool | None = None
    """Whether the next step had a slot for it; None if slots became free in between."""

    @property
    def waited(self) -> float:
        assert self.begun is not None
        return self.begun - self.at

    @property
    def estimate(self) -> WaitEstimate:
        assert self.estimate_at_arrival is not None
        return self.estimate_at_arrival

    def request(self) -> GenerationRequest:
        return make_request(
            self.prompt,
            max_tokens=self.max_tokens,
            n=len(self.lengths),
            end_token_ids=frozenset({END_TOKEN}),
            ignore_eos=False,
            tenant=self.tenant,
            priority=self.priority,
        )


@dataclass
class Machine:
    """A scheduler with the measurements of the engine's thread, and a simulated clock."""

    scheduler: Scheduler
    seconds: Callable[[int, float], float]
    """Duration of a step, given its number of tokens and its start time."""
    pace: StepPace = field(default_factory=lambda: StepPace(0.15))
    throughput: Throughput = field(default_factory=Throughput)
    now: float = 0.0

    def __post_init__(self) -> None:
        self._requests: dict[Sequence, SimulatedRequest] = {}
        self._arriving: list[Sequence] = []
        self._arrivals = count()
        self._has_ended = False

    def run(self, requests: list[SimulatedRequest]) -> None:
        """Serve all requests, each from its arrival time on."""
        coming = sorted(requests, key=lambda request: request.at)
        while coming or self._arriving or not self.scheduler.idle:
            arrived, self._arriving = self._arriving, []
            for first in arrived:
                self.scheduler.add(first)
            if self.scheduler.idle:
                self.now = max(self.now, coming[0].at)
                self._receive(coming)
            else:
                self._step(coming, arrived)

    def _step(self, coming: list[SimulatedRequest], arrived: list[Sequence]) -> None:
        """Run one step, during which requests of `coming` arrive; those in `arrived` came during the last one."""
        budget = self.pace.budget(self.scheduler.max_step_tokens, num_decoding=self.scheduler.num_decoding)
        batch = self.scheduler.schedule(budget)
        for sequence in self.scheduler.begun:
            request = self._requests[sequence]
            request.begun = self.now if request.begun is None else request.begun
        for first in () if self._has_ended else arrived:
            self._requests[first].found_slot = first in self.scheduler.running
        num_tokens = sum(span.num_tokens for span in batch.spans)
        seconds = self.seconds(num_tokens, self.now)
        self.now += seconds
        self._receive(coming)
        outputs = self.scheduler.update(batch, self._sample(batch))
        self._has_ended = any(output.finish_reason is not None for _, output in outputs)
        self._observe(batch, num_tokens >= budget - 1, outputs, seconds)

    def _receive(self, coming: list[SimulatedRequest]) -> None:
        while coming and coming[0].at <= self.now:
            simulated = coming.pop(0)
            request = simulated.request()
            simulated.estimate_at_arrival = estimate_for(request, self.scheduler, self._arriving, self.throughput)
            choices = [
                Sequence(request, index, arrival=next(self._arrivals), seed=0, max_output=simulated.max_tokens)
                for index in range(request.n)
            ]
            self._requests.update(dict.fromkeys(choices, simulated))
            choices[0].forks = choices[1:]
            self.scheduler.announce(choices[0])
            self._arriving.append(choices[0])

    def _sample(self, batch: Batch) -> Iterator[SampledToken]:
        for span in batch.spans:
            for one in (span.sequence, *span.forks) if span.samples else ():
                is_last = len(one.output) + 1 >= self._requests[one].lengths[one.index]
                yield SampledToken(one, (END_TOKEN if is_last else TOKEN,))

    def _observe(
        self, batch: Batch, is_full: bool, outputs: list[tuple[Sequence, TokenOutput]], seconds: float
    ) -> None:
        self.pace.observe(sum(span.num_tokens for span in batch.spans), seconds)
        self.throughput.observe(
            prompt_tokens=sum(span.count for span in batch.spans if span.is_prompt),
            output_tokens=len(outputs),
            num_answers=len(outputs),
            seconds=seconds,
            is_full=is_full,
        )
        for sequence, output in outputs:
            if output.finish_reason is not None:
                self.throughput.lengths.add(len(sequence.output))


def make_machine(
    seconds: Callable[[int, float], float], *, slots: int = 8, blocks: int = 1000, step_tokens: int = 128
) -> Machine:
    return Machine(
        Scheduler(CacheManager(BlockPool(blocks)), max_sequences=slots, max_step_tokens=step_tokens), seconds
    )


# --- random scenarios ---


@dataclass(frozen=True)
class Scenario:
    machine: Machine
    requests: list[SimulatedRequest]


def make_scenario(seed: int) -> Scenario:
    """A random machine, and bursts of random sizes, prompts, output lengths, choices and tenants."""
    rng = random.Random(seed)
    slots = rng.choice((4, 8, 16))
    requests = list(_bursts(rng, slots))
    largest = max(blocks_for(len(request.prompt) + request.max_tokens) for request in requests)
    return Scenario(
        make_machine(
            _steps(rng),
            slots=slots,
            blocks=largest + slots * rng.choice((5, 12, 40)),
            step_tokens=slots + rng.choice((48, 112, 224)),
        ),
        requests,
    )


def _steps(rng: random.Random) -> Callable[[int, float], float]:
    """Durations grow with the tokens of a step, and are longer in some periods."""
    base, per_token = rng.uniform(0.005, 0.04), rng.uniform(0.0005, 0.0025)
    slow = [(begin, begin + rng.choice((0.3, 1.0, 2.0)), rng.choice((3, 10, 40))) for begin in _times(rng, 40)]

    def seconds(num_tokens: int, now: float) -> float:
        factor = max((factor for begin, end, factor in slow if begin <= now < end), default=1)
        return factor * (base + per_token * num_tokens)

    return seconds


def _times(rng: random.Random, gap_s: float) -> Iterator[float]:
    now = 0.0
    for _ in range(20):
        now += rng.uniform(0, 2 * gap_s)
        yield now


def _bursts(rng: random.Random, slots: int) -> Iterator[SimulatedRequest]:
    fresh = (tuple(range(start, start + 3000)) for start in count(0, 3000))
    shared = [next(fresh)[: rng.choice((100, 400, 900))] for _ in range(3)]
    tenants = rng.choice(((("",)), ("a", "b", "c"), ("a",) * 8 + ("b",)))
    kinds = rng.choice((("short", "cached"), ("cached", "long"), ("short", "cached", "long")))
    begin = 0.0
    for _ in range(6):
        spread, mix = rng.choice((0, 0, 2, 8)), rng.choice((kinds, (rng.choice(kinds),)))
        for _ in range(rng.choice((1, slots // 2, slots, 2 * slots, 4 * slots))):
            at = begin + rng.uniform(0, spread)
            yield _request(rng, at, rng.choice(mix), rng.choice(shared), next(fresh), rng.choice(tenants))
        begin += rng.choice((2, 10, 30))


def _request(
    rng: random.Random, at: float, kind: str, shared: tuple[int, ...], fresh: tuple[int, ...], tenant: str
) -> SimulatedRequest:
    if kind == "long":
        prompt = fresh[: rng.randint(500, 1500)]
    else:
        prompt = (*(shared if kind == "cached" else ()), *fresh[: rng.randint(5, 60)])
    max_tokens = rng.choice((20, 70, 70, 300))
    mean = rng.choice((40, 120, 10_000))  # with the last, nearly all reach `max_tokens`
    lengths = tuple(
        max(1, min(max_tokens, round(rng.expovariate(1 / mean)))) for _ in range(rng.choice((1, 1, 1, 1, 1, 2, 3)))
    )
    return SimulatedRequest(at, prompt, lengths, max_tokens, tenant, priority=rng.choice((0,) * 12 + (1,)))
