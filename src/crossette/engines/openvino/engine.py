"""The embedded engine: one thread that steps, and one hand-over each way per step.

Requests and cancellations come in through an inbox that is read between steps; a step's outputs go out together,
one call into each event loop. Nothing else is shared between the threads, but what estimates are made of: they read
what the thread has, and prompts are announced to the scheduler before they come through the inbox.
"""

from __future__ import annotations

import logging
import secrets
import threading
from asyncio import AbstractEventLoop
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic

from crossette.engine import EngineStats, Generation, ModelInfo, WaitEstimate
from crossette.engines import admission
from crossette.engines.grammar import GrammarCompiler
from crossette.engines.meter import Meter
from crossette.engines.openvino.exactness import measure_width
from crossette.engines.openvino.kv_cache import BLOCK_SIZE, BlockPool, blocks_for
from crossette.engines.openvino.model import PagedModel, load_paged
from crossette.engines.openvino.notes import Notes
from crossette.engines.openvino.pace import StepPace
from crossette.engines.openvino.prefix_cache import Key
from crossette.engines.openvino.runner import FILLER_TOKENS, Runner
from crossette.engines.openvino.scheduler import Scheduler, fits
from crossette.engines.openvino.sequence import Batch, Sequence
from crossette.engines.openvino.step import draw
from crossette.engines.openvino.tokenizer import OpenVINOTokenizer
from crossette.engines.openvino.turns import estimate_for
from crossette.engines.stream import OutputStream
from crossette.engines.throughput import Throughput
from crossette.errors import ConfigError, InvalidRequest, ServingError
from crossette.machine import free_memory, parse_memory, show_memory, usable_cpus
from crossette.settings import Amount, Count, Interval, setting
from crossette.types import Constraint, GenerationRequest, TokenOutput, WindowLimit

log = logging.getLogger(__name__)

MIN_BLOCKS = 4

MIN_PROMPT_TOKENS = 16
"""What a step keeps free for prompts when the batch is full, so that decoding never shuts newcomers out."""


@dataclass(frozen=True, slots=True)
class OpenVINOSettings:
    """How much of the machine the engine takes, and how wide its steps are."""

    kv_cache: str = setting("30%", "Memory for keys and values: bytes (2GiB), or a share of what is free (30%).")
    max_model_len: Count | None = setting(None, "Serve a shorter context than the model's window, in tokens.")
    max_sequences: Count = setting(64, "Sequences in the running batch at most; further ones wait.")
    max_step_tokens: Count = setting(256, "Tokens in one step at most; narrowed to what is exact on this CPU.")
    step_time: Interval = setting(0.15, "Seconds a step may take while answers stream: the largest gap between tokens.")
    max_draft_rows: Amount = setting(8, "Rows up to which a narrow step is filled with guesses to check; 0 for none.")
    threads: Count | None = setting(None, "Threads of the kernels; as many as affinity and cgroup allow if not given.")


class OpenVINOEngine:
    """An `Engine` over one model folder. Loading takes seconds; raises ModelError or ConfigError.

    What is measured at load is kept in the folder `notes`, and not measured again while nothing changes. `limits` are
    what the model's files say about the window; the graph may say more.
    """

    def __init__(
        self,
        directory: Path,
        info: ModelInfo,
        settings: OpenVINOSettings,
        *,
        add_bos: bool = False,
        notes: Path | None = None,
        limits: Iterable[WindowLimit] = (),
    ) -> None:
        self.threads = settings.threads or usable_cpus()
        with ThreadPoolExecutor(1) as beside:  # compiling takes one core for seconds, without Python's lock
            tokenizer = beside.submit(OpenVINOTokenizer, directory, add_bos=add_bos)
            asked = min(info.context_length, settings.max_model_len or info.context_length)
            model = load_paged(directory, threads=self.threads, window=asked, family=info.architecture)
        self.tokenizer = tokenizer.result()
        num_blocks = _num_blocks(model.block_bytes, info.context_length, settings)
        self.kv_bytes = num_blocks * model.block_bytes
        self._pool = BlockPool(num_blocks)
        self._runner = Runner(model, num_blocks, threads=self.threads)
        limit = _shortest(WindowLimit(asked, reason=""), limits, model)
        width = measure_width(
            self._runner,
            self._pool,
            limit=settings.max_step_tokens,
            window=limit.tokens,
            vocab_size=self.tokenizer.vocab_size,
            notes=Notes(notes, model.fingerprint) if notes else None,
        )
        # One block less than the pool has: a prompt needs a block for its output beside it.
        window = min(limit.tokens, (num_blocks - 1) * BLOCK_SIZE)
        self.warnings = (*_told(limit, window), *width.warnings)
        budget = max(min(settings.max_step_tokens, width.tokens) - FILLER_TOKENS, MIN_PROMPT_TOKENS + 1)
        self.scheduler = Scheduler(
            self._pool,
            max_sequences=min(settings.max_sequences, budget - MIN_PROMPT_TOKENS),
            max_step_tokens=budget,
            max_draft_rows=settings.max_draft_rows,
        )
        self.info = replace(info, context_length=window, vocab_size=self.tokenizer.vocab_size)
        self._grammars = GrammarCompiler(self.tokenizer, self.tokenizer.vocab_size, info.end_token_ids)
        self._inbox: SimpleQueue[tuple[OutputStream, Callable[[], object]] | None] = SimpleQueue()
        self._streams: dict[Sequence, OutputStream] = {}
        self._arriving: dict[OutputStream, Sequence] = {}
        """Those in the inbox, each by its first choice: a step may take seconds, and they wait already."""
        self._arrivals = count()
        self._closed = False
        self._gate = threading.Lock()  # nothing enters the inbox behind the None that ends it
        self._pace = StepPace(settings.step_time)
        self._throughput = Throughput()
        self._meter = Meter()
        self._step_begun: float | None = None
        """The heartbeat: when the step began that runs now, or the first of those in which nothing moves."""
        self._num_steps = self._num_prompt_tokens = self._num_completion_tokens = 0
        self._thread = threading.Thread(target=self._run, name="crossette-engine", daemon=True)
        self._thread.start()

    def stats(self) -> EngineStats:
        arriving = tuple(self._arriving.values())
        return EngineStats(
            running=len(self.scheduler.running),
            waiting=self.scheduler.num_waiting + sum(first.request.n for first in arriving),
            blocks_total=self._pool.num_blocks,
            blocks_free=self._pool.num_free,
            steps=self._num_steps,
            preemptions=self.scheduler.num_preemptions,
            prompt_tokens=self._num_prompt_tokens,
            completion_tokens=self._num_completion_tokens,
            cached_blocks=len(self.scheduler.cache),
            drafts=self.scheduler.num_drafts,
            accepted_drafts=self.scheduler.num_accepted,
            stalled=self._stalled,
            max_sequences=self.scheduler.max_sequences,
            pending_prompt_tokens=self.scheduler.num_pending_prompt_tokens
            + sum(first.num_pending_prompt for first in arriving),
            speeds=self._throughput.speeds,
            alive=self._closed or self._thread.is_alive(),
            lookup_tokens=self.scheduler.num_looked_up,
            hit_tokens=self.scheduler.num_hits,
            kv_bytes=self.kv_bytes,
            times=self._meter.look(),
        )

    @property
    def _stalled(self) -> bool:
        """Whether the step that runs takes so long that it hangs, or steps move nothing, or the thread is gone."""
        begun = self._step_begun
        late = begun is not None and monotonic() - begun > self._pace.patience_s
        return late or not (self._closed or self._thread.is_alive())

    def estimate_wait(self, request: GenerationRequest) -> WaitEstimate:
        return estimate_for(request, self.scheduler, tuple(self._arriving.values()), self._throughput)

    def prepare(self, constraint: Constraint) -> None:
        self._grammars.matcher(constraint)

    def generate(self, request: GenerationRequest) -> Generation:
        self._check(request)
        sequences = self._sequences(request)
        stream = OutputStream(
            range(request.n),
            on_finish=lambda index: self._inbox.put((stream, lambda: self._end(stream, index))),
            on_close=lambda: self._cancel(stream),
        )
        with self._gate:
            if self._closed:
                raise admission.shutting_down()
            self.scheduler.announce(sequences[0])
            self._arriving[stream] = sequences[0]
            self._inbox.put((stream, lambda: self._begin(sequences, stream)))
        return stream

    def _cancel(self, stream: OutputStream) -> None:
        """Ask the thread to end a request that nobody reads any more, and to note how long that took."""
        asked = monotonic()

        def end() -> None:
            if self._end(stream):
                self._meter.cancellation.observe(monotonic() - asked)

        self._inbox.put((stream, end))

    def close(self) -> None:
        """End what runs with ShuttingDown and stop the thread."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._inbox.put(None)
        self._thread.join()

    # --- before admission: the caller's thread ---

    def _check(self, request: GenerationRequest) -> None:
        if self._closed:
            raise admission.shutting_down()
        admission.check(request, self.info)
        if not fits(self._pool, len(request.prompt), request.n):
            raise InvalidRequest(
                f"A prompt of {len(request.prompt)} tokens with n={request.n} needs "
                f"{blocks_for(len(request.prompt)) + request.n} KV blocks, and the cache has "
                f"{self._pool.num_blocks}. Lower n or start the server with a larger --kv-cache.",
                param="n",
            )

    def _sequences(self, request: GenerationRequest) -> list[Sequence]:
        """A sequence for each choice. The first computes the prompt, and the others fork from it."""
        seed = secrets.randbits(64) if request.sampling.seed is None else request.sampling.seed
        room = self.info.context_length - len(request.prompt)
        constraint = request.constraint
        keys: tuple[Key, ...] | None = None
        sequences: list[Sequence] = []
        for index in range(request.n):
            sequence = Sequence(
                request,
                index,
                arrival=next(self._arrivals),
                seed=seed + index,
                max_output=min(request.sampling.max_tokens, room),
                keys=keys,
                matcher=self._grammars.matcher(constraint) if constraint else None,
            )
            keys = sequence.keys
            sequences.append(sequence)
        sequences[0].forks = sequences[1:]
        return sequences

    # --- the engine's thread ---

    def _run(self) -> None:
        while self._drain_inbox():
            if not self.scheduler.idle:
                self._step()
        self._fail(set(self._streams.values()), admission.shutting_down())
        self._runner.close()

    def _drain_inbox(self) -> bool:
        """Do what was asked since the last step, or wait for something to be asked. False: time to stop."""
        while True:
            try:
                if self.scheduler.idle:
                    self._step_begun = None
                task = self._inbox.get(block=self.scheduler.idle)
            except Empty:
                return True
            if task is None:
                return False
            stream, do = task
            self._arriving.pop(stream, None)
            with self._failing({stream}):
                do()
            if self._inbox.empty():
                return True

    def _step(self) -> None:
        """Schedule, run, draw, update, deliver. A failure ends the requests of this step, and only those."""
        begun = monotonic()
        self._step_begun = self._step_begun or begun
        batch = Batch(())
        with self._failing(concerned := set(self._streams.values())):
            budget = self._pace.budget(self.scheduler.max_step_tokens, num_decoding=self.scheduler.num_decoding)
            batch = self.scheduler.schedule(budget)
            self._note_begun(begun)
            concerned.intersection_update(self._streams[span.sequence] for span in batch.spans)
            logits = self._runner.run(batch)
            drawn = draw(batch, logits)
            outputs = self.scheduler.update(batch, [one for one in drawn if one.error is None])
            self._count(batch, budget, outputs, monotonic() - begun)  # before anybody hears of it
            self._deliver(outputs)
            for one in drawn:
                if one.error is not None and one.sequence in self._streams:
                    self._fail({self._streams[one.sequence]}, one.error)
        if batch.spans or self.scheduler.idle:
            self._step_begun = None

    @contextmanager
    def _failing(self, concerned: set[OutputStream]) -> Iterator[None]:
        """Let an exception end the streams that are in `concerned` when it comes, and never the thread."""
        try:
            yield
        except Exception:
            ids = {sequence.request.id for sequence, stream in self._streams.items() if stream in concerned}
            log.exception("A step of the engine failed; it ends: %s", ", ".join(sorted(ids)) or "nothing")
            self._fail(concerned, admission.step_failed())

    def _note_begun(self, now: float) -> None:
        for sequence in self.scheduler.begun:
            self._meter.note_begun(self._streams[sequence], now)

    def _count(self, batch: Batch, budget: int, outputs: list[tuple[Sequence, TokenOutput]], seconds: float) -> None:
        num_tokens = sum(span.num_rows for span in batch.spans)
        self._pace.observe(num_tokens, seconds)
        self._meter.note_step(seconds, num_tokens=num_tokens, num_sequences=len(batch.spans))
        self._num_steps += 1
        prompt_tokens = sum(span.count for span in batch.spans if span.is_prompt)
        output_tokens = sum(len(output.token_ids) for _, output in outputs)
        self._num_prompt_tokens += prompt_tokens
        self._num_completion_tokens += output_tokens
        self._throughput.observe(
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            num_answers=len(outputs),
            seconds=seconds,
            is_full=num_tokens >= budget - 1,  # no chunk is a single token
        )
        for sequence, output in outputs:
            if output.finish_reason is not None:
                self._throughput.lengths.note(len(sequence.output))

    def _begin(self, sequences: list[Sequence], stream: OutputStream) -> None:
        for sequence in sequences:
            self._streams[sequence] = stream
        self.scheduler.add(sequences[0])

    def _end(self, stream: OutputStream, index: int | None = None) -> bool:
        """Forget a request's sequences, or the one of a choice; their blocks are free before the next step.

        False if there were none: they have ended by themselves.
        """
        ended = [
            sequence for sequence, owner in self._streams.items() if owner is stream and index in (None, sequence.index)
        ]
        for sequence in ended:
            del self._streams[sequence]
            if sequence.output:
                self._throughput.lengths.note(len(sequence.output))
            self.scheduler.remove(sequence)
        return bool(ended)

    def _deliver(self, outputs: list[tuple[Sequence, TokenOutput]]) -> None:
        """Hand a step's outputs to their streams: one call into each event loop, not one for each token."""
        by_loop: dict[AbstractEventLoop, list[tuple[OutputStream, TokenOutput]]] = defaultdict(list)
        now = monotonic()
        for sequence, output in outputs:
            if sequence.spoke_s:
                self._meter.token_gap.observe(now - sequence.spoke_s)
            sequence.spoke_s = now
            stream = self._streams[sequence]
            if output.finish_reason is not None:
                del self._streams[sequence]
            by_loop[stream.loop].append((stream, output))
        for loop, items in by_loop.items():
            try:
                loop.call_soon_threadsafe(_put_all, items)
            except RuntimeError:  # the loop was closed under its requests: nobody is left to read
                for stream, _ in items:
                    self._end(stream)

    def _fail(self, streams: set[OutputStream], error: ServingError) -> None:
        for stream in streams:
            self._end(stream)
            with suppress(RuntimeError):  # a closed loop has no reader to tell
                stream.loop.call_soon_threadsafe(stream.fail, error)


def _put_all(items: list[tuple[OutputStream, TokenOutput]]) -> None:
    for stream, output in items:
        stream.put(output)


def _shortest(asked: WindowLimit, told: Iterable[WindowLimit], model: PagedModel) -> WindowLimit:
    """The limit that is served: of what was asked for, what the model's files tell, and what its graph does."""
    limits = [asked, *(limit for limit in told if not (limit.unless_sliding and model.slides))]
    if model.limit is not None:
        limits.append(model.limit)
    return min(limits, key=lambda limit: limit.tokens)


def _told(limit: WindowLimit, window: int) -> tuple[str, ...]:
    """The warning that a limit needs: none where there is no reason but the user's, or no memory for more."""
    if not limit.reason or limit.tokens > window:
        return ()
    return (f"Only {limit.tokens} tokens of context are served: {limit.reason}.",)


def _num_blocks(block_bytes: int, window: int, settings: OpenVINOSettings) -> int:
    """How many KV blocks to hold: what the setting allows, and no more than a full batch of full windows needs."""
    free = free_memory()
    budget = parse_memory(settings.kv_cache, free)
    num_blocks = min(budget // block_bytes, settings.max_sequences * (blocks_for(window) + 1))
    if budget > free or num_blocks < MIN_BLOCKS:
        raise ConfigError(
            f"--kv-cache {settings.kv_cache} is {show_memory(budget)}. This model needs at least "
            f"{show_memory(MIN_BLOCKS * block_bytes)}, and {show_memory(free)} are free."
        )
    return num_blocks
