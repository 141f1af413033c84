"""Bursts of requests at a real scheduler, without a clock: a step takes the time that a rule gives it.

Everybody is let in, whatever the estimate says, so that each estimate can be held against the real wait.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

from crossette.engine import WaitEstimate
from crossette.engines.openvino.kv_cache import BlockPool, blocks_for
from crossette.engines.openvino.pace import StepPace
from crossette.engines.openvino.queue_snapshot import estimate_for
from crossette.engines.openvino.scheduler import Scheduler
from crossette.engines.openvino.sequence import Batch, SampledToken, Sequence
from crossette.engines.throughput import Throughput
from crossette.types import GenerationRequest, TokenOutput
from support.engine_calls import make_request

END, WORD = -1, 1


@dataclass
class Ask:
    """A request of a burst, and what became of it. Times are in seconds."""

    at: float
    prompt: tuple[int, ...]
    lengths: tuple[int, ...]
    """Of the answers, one for each choice; they end by themselves if that is less than `max_tokens`."""
    max_tokens: int
    tenant: str = ""
    priority: int = 0
    estimate: WaitEstimate | None = None
    """What it was told when it came."""
    begun: float | None = None
    """When the first step began that computed something for it."""
    found_slot: bool | None = None
    """Whether the next step had a place for it, though none had become free; None where one had."""

    @property
    def waited(self) -> float:
        assert self.begun is not None
        return self.begun - self.at

    @property
    def told(self) -> WaitEstimate:
        assert self.estimate is not None
        return self.estimate

    def request(self) -> GenerationRequest:
        return make_request(
            self.prompt,
            max_tokens=self.max_tokens,
            n=len(self.lengths),
            end_token_ids=frozenset({END}),
            ignore_eos=False,
            tenant=self.tenant,
            priority=self.priority,
        )


@dataclass
class Machine:
    """A scheduler, what learns from its steps as the engine's thread does, and how long steps take."""

    scheduler: Scheduler
    seconds: Callable[[int, float], float]
    """Of a step, by its number of tokens and the time at which it begins."""
    pace: StepPace = field(default_factory=lambda: StepPace(0.15))
    throughput: Throughput = field(default_factory=Throughput)
    now: float = 0.0

    def __post_init__(self) -> None:
        self._asks: dict[Sequence, Ask] = {}
        self._arriving: list[Sequence] = []
        self._arrivals = count()
        self._has_ended = False

    def play(self, asks: list[Ask]) -> None:
        """Serve all, each from the time at which it comes."""
        coming = sorted(asks, key=lambda ask: ask.at)
        while coming or self._arriving or not self.scheduler.idle:
            arrived, self._arriving = self._arriving, []
            for first in arrived:
                self.scheduler.add(first)
            if self.scheduler.idle:
                self.now = max(self.now, coming[0].at)
                self._receive(coming)
            else:
                self._step(coming, arrived)

    def _step(self, coming: list[Ask], arrived: list[Sequence]) -> None:
        """One step, during which others come; the last one did while these arrived."""
        budget = self.pace.budget(self.scheduler.max_step_tokens, num_decoding=self.scheduler.num_decoding)
        batch = self.scheduler.schedule(budget)
        for sequence in self.scheduler.begun:
            ask = self._asks[sequence]
            ask.begun = self.now if ask.begun is None else ask.begun
        for first in () if self._has_ended else arrived:
            self._asks[first].found_slot = first in self.scheduler.running
        num_tokens = sum(span.num_rows for span in batch.spans)
        seconds = self.seconds(num_tokens, self.now)
        self.now += seconds
        self._receive(coming)
        outputs = self.scheduler.update(batch, self._draw(batch))
        self._has_ended = any(output.finish_reason is not None for _, output in outputs)
        self._learn(batch, num_tokens >= budget - 1, outputs, seconds)

    def _receive(self, coming: list[Ask]) -> None:
        while coming and coming[0].at <= self.now:
            ask = coming.pop(0)
            request = ask.request()
            ask.estimate = estimate_for(request, self.scheduler, self._arriving, self.throughput)
            choices = [
                Sequence(request, index, arrival=next(self._arrivals), seed=0, max_output=ask.max_tokens)
                for index in range(request.n)
            ]
            self._asks.update(dict.fromkeys(choices, ask))
            choices[0].forks = choices[1:]
            self.scheduler.announce(choices[0])
            self._arriving.append(choices[0])

    def _draw(self, batch: Batch) -> Iterator[SampledToken]:
        for span in batch.spans:
            for one in (span.sequence, *span.forks) if span.samples else ():
                is_last = len(one.output) + 1 >= self._asks[one].lengths[one.index]
                yield SampledToken(one, (END if is_last else WORD,))

    def _learn(self, batch: Batch, is_full: bool, outputs: list[tuple[Sequence, TokenOutput]], seconds: float) -> None:
        self.pace.observe(sum(span.num_rows for span in batch.spans), seconds)
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
    seconds: Callable[[int, float], float], *, places: int = 8, blocks: int = 1000, step_tokens: int = 128
) -> Machine:
    return Machine(Scheduler(BlockPool(blocks), max_sequences=places, max_step_tokens=step_tokens), seconds)


# --- stories by chance ---


@dataclass(frozen=True)
class Story:
    machine: Machine
    asks: list[Ask]


def story(seed: int) -> Story:
    """A machine of some kind, and mixed bursts: their sizes, prompts, answers, choices and keys by chance."""
    rng = random.Random(seed)
    places = rng.choice((4, 8, 16))
    asks = list(_bursts(rng, places))
    largest = max(blocks_for(len(ask.prompt) + ask.max_tokens) for ask in asks)
    return Story(
        make_machine(
            _steps(rng),
            places=places,
            blocks=largest + places * rng.choice((5, 12, 40)),
            step_tokens=places + rng.choice((48, 112, 224)),
        ),
        asks,
    )


def _steps(rng: random.Random) -> Callable[[int, float], float]:
    """Steps get longer with their tokens, and everything is slow in some moments."""
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


def _bursts(rng: random.Random, places: int) -> Iterator[Ask]:
    fresh = (tuple(range(start, start + 3000)) for start in count(0, 3000))
    shared = [next(fresh)[: rng.choice((100, 400, 900))] for _ in range(3)]
    tenants = rng.choice(((("",)), ("a", "b", "c"), ("a",) * 8 + ("b",)))
    kinds = rng.choice((("short", "cached"), ("cached", "long"), ("short", "cached", "long")))
    begin = 0.0
    for _ in range(6):
        spread, mix = rng.choice((0, 0, 2, 8)), rng.choice((kinds, (rng.choice(kinds),)))
        for _ in range(rng.choice((1, places // 2, places, 2 * places, 4 * places))):
            at = begin + rng.uniform(0, spread)
            yield _ask(rng, at, rng.choice(mix), rng.choice(shared), next(fresh), rng.choice(tenants))
        begin += rng.choice((2, 10, 30))


def _ask(rng: random.Random, at: float, kind: str, shared: tuple[int, ...], fresh: tuple[int, ...], tenant: str) -> Ask:
    if kind == "long":
        prompt = fresh[: rng.randint(500, 1500)]
    else:
        prompt = (*(shared if kind == "cached" else ()), *fresh[: rng.randint(5, 60)])
    max_tokens = rng.choice((20, 70, 70, 300))
    mean = rng.choice((40, 120, 10_000))  # of the last, all go on to `max_tokens`
    lengths = tuple(
        max(1, min(max_tokens, round(rng.expovariate(1 / mean)))) for _ in range(rng.choice((1, 1, 1, 1, 1, 2, 3)))
    )
    return Ask(at, prompt, lengths, max_tokens, tenant, priority=rng.choice((0,) * 12 + (1,)))
