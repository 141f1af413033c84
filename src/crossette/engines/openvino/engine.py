"""The embedded engine: one thread runs the step loop, with one message exchange in each direction per step.

Requests and cancellations arrive through an inbox that is read between steps; a step's outputs are delivered together,
one call into each event loop. The only other state shared between threads is that of wait estimates: they read the
scheduler's lists, and prompts are announced to the scheduler before they pass the inbox.
"""

from __future__ import annotations

import logging
import secrets
import threading
from asyncio import AbstractEventLoop
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from queue import Empty, SimpleQueue
from time import monotonic

from crossette.engine import EngineStats, Generation, ModelFiles, WaitEstimate
from crossette.engines import admission
from crossette.engines.grammar.compiler import GrammarCompiler
from crossette.engines.meter import Meter
from crossette.engines.openvino.cache_manager import fits
from crossette.engines.openvino.kv_cache import BLOCK_SIZE, blocks_for
from crossette.engines.openvino.load import LoadedModel, load
from crossette.engines.openvino.pace import StepPace
from crossette.engines.openvino.prefix_cache import Key
from crossette.engines.openvino.queue_snapshot import estimate_for
from crossette.engines.openvino.sequence import Batch, Sequence
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.engines.openvino.step import keep_hidden_states, sample
from crossette.engines.stream import OutputStream
from crossette.engines.throughput import Throughput
from crossette.errors import InvalidRequest, ServingError
from crossette.types import Constraint, GenerationRequest, PromptImage, TokenOutput

log = logging.getLogger(__name__)


class OpenVINOEngine:
    """An `Engine` that runs a loaded model."""

    @classmethod
    def load(cls, files: ModelFiles, settings: OpenVINOSettings) -> OpenVINOEngine:
        """Load a model folder. Takes seconds; raises ModelError or ConfigError."""
        return cls(load(files, settings), step_time_s=settings.step_time)

    def __init__(self, model: LoadedModel, *, step_time_s: float) -> None:
        self.info, self.tokenizer, self.warnings = model.info, model.tokenizer, model.warnings
        self.threads, self.kv_bytes = model.threads, model.kv_bytes
        self._own_products = model.own_products
        self.scheduler, self._pool, self._runner = model.scheduler, model.pool, model.runner
        self._kv_layers = model.kv_layers
        self._vision = model.vision
        self._grammars = GrammarCompiler(self.tokenizer, self.info.vocab_size, self.info.end_token_ids)
        self._inbox: SimpleQueue[tuple[OutputStream, Callable[[], object]] | None] = SimpleQueue()
        self._streams: dict[Sequence, OutputStream] = {}
        self._arriving: dict[OutputStream, Sequence] = {}
        """Requests in the inbox, each by its first choice: they count as waiting while a long step runs."""
        self._arrivals = count()
        self._closed = False
        self._inbox_lock = threading.Lock()  # nothing may enter the inbox after the None that ends it
        self._pace = StepPace(step_time_s)
        self._throughput = Throughput()
        self._meter = Meter()
        self._step_begun: float | None = None
        """Heartbeat: when the current step began, or the first of consecutive steps without progress."""
        self._num_steps = self._num_prompt_tokens = self._num_completion_tokens = 0
        self._thread = threading.Thread(target=self._run, name="crossette-engine", daemon=True)
        self._thread.start()

    @property
    def details(self) -> Mapping[str, int | str]:
        return {"threads": self.threads, "kernels": "crossette" if self._own_products else "openvino"}

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
            cached_blocks=len(self.scheduler.caches.prefixes),
            drafts=self.scheduler.num_drafts,
            accepted_drafts=self.scheduler.num_accepted,
            stalled=self._stalled,
            max_sequences=self.scheduler.max_sequences,
            pending_prompt_tokens=self.scheduler.num_pending_prompt_tokens
            + sum(first.num_pending_prompt for first in arriving),
            speeds=self._throughput.speeds,
            alive=self._closed or self._thread.is_alive(),
            lookup_tokens=self.scheduler.caches.num_looked_up,
            hit_tokens=self.scheduler.caches.num_hits,
            kv_bytes=self.kv_bytes,
            kv_tokens=self._pool.num_blocks * BLOCK_SIZE,
            kv_layers=self._kv_layers,
            times=self._meter.snapshot(),
        )

    @property
    def _stalled(self) -> bool:
        """Whether the current step hangs, or steps make no progress, or the thread has died."""
        begun = self._step_begun
        late = begun is not None and monotonic() - begun > self._pace.patience_s
        return late or not (self._closed or self._thread.is_alive())

    def estimate_wait(self, request: GenerationRequest) -> WaitEstimate:
        return estimate_for(request, self.scheduler, tuple(self._arriving.values()), self._throughput)

    def prepare(self, constraint: Constraint) -> None:
        self._grammars.matcher(constraint)

    @property
    def image_token_id(self) -> int:
        return self._vision.image_token_id if self._vision is not None else -1

    def see(self, image: bytes, *, low_detail: bool = False) -> PromptImage:
        if self._vision is None:
            raise admission.sees_nothing()
        return self._vision.see(image, low_detail=low_detail)

    def generate(self, request: GenerationRequest) -> Generation:
        self._check(request)
        sequences = self._sequences(request)
        stream = OutputStream(
            range(request.n),
            on_finish=lambda index: self._inbox.put((stream, lambda: self._end(stream, index))),
            on_close=lambda: self._cancel(stream),
        )
        with self._inbox_lock:
            if self._closed:
                raise admission.shutting_down()
            self.scheduler.announce(sequences[0])
            self._arriving[stream] = sequences[0]
            self._inbox.put((stream, lambda: self._begin(sequences, stream)))
        return stream

    def _cancel(self, stream: OutputStream) -> None:
        """Ask the engine's thread to end a request that has no reader any more, and to record how long that took."""
        cancelled_s = monotonic()

        def end() -> None:
            if self._end(stream):
                self._meter.cancellation.observe(monotonic() - cancelled_s)

        self._inbox.put((stream, end))

    def close(self) -> None:
        """Fail all requests with ShuttingDown and stop the thread."""
        with self._inbox_lock:
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
                f"{self._pool.num_blocks}. Lower n, or shorten the prompt.",
                param="n",
                hint="--kv-cache is the size of the cache",
            )

    def _sequences(self, request: GenerationRequest) -> list[Sequence]:
        """One sequence per choice. The first computes the prompt, and the others fork from it."""
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
                scores_apart=request.prompt_logprobs and self._runner.scores_apart(request.logprobs or 0),
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
        if self._vision is not None:
            self._vision.close()

    def _drain_inbox(self) -> bool:
        """Run the tasks that arrived since the last step, or wait for one if idle. False if the engine is closed."""
        while True:
            try:
                if self.scheduler.idle:
                    self._step_begun = None
                task = self._inbox.get(block=self.scheduler.idle)
            except Empty:
                return True
            if task is None:
                return False
            stream, run = task
            self._arriving.pop(stream, None)
            with self._failing({stream}):
                run()
            if self._inbox.empty():
                return True

    def _step(self) -> None:
        """Schedule, run, sample, update, deliver. An exception fails the requests of this step, and only those."""
        begun = monotonic()
        self._step_begun = self._step_begun or begun
        batch = Batch(())
        with self._failing(affected := set(self._streams.values())):
            budget = self._pace.budget(self.scheduler.max_step_tokens, num_decoding=self.scheduler.num_decoding)
            batch = self.scheduler.schedule(budget)
            self._observe_begun(begun)
            affected.intersection_update(self._streams[span.sequence] for span in batch.spans)
            logits = self._runner.run(batch)
            if any(span.sequence.request.hidden_state for span in batch.spans):
                keep_hidden_states(batch, self._runner.hidden_states)
            sampled = sample(batch, logits, self._runner.score(batch), threads=self.threads)
            outputs = self.scheduler.update(batch, [one for one in sampled if one.error is None])
            self._count(batch, budget, outputs, monotonic() - begun)  # before a client sees the outputs
            self._deliver(outputs)
            for one in sampled:
                if one.error is not None and one.sequence in self._streams:
                    self._fail({self._streams[one.sequence]}, one.error)
        if batch.spans or self.scheduler.idle:
            self._step_begun = None

    @contextmanager
    def _failing(self, affected: set[OutputStream]) -> Iterator[None]:
        """Fail the streams in `affected`, as it is when an exception is raised; the thread goes on."""
        try:
            yield
        except Exception:
            ids = {sequence.request.id for sequence, stream in self._streams.items() if stream in affected}
            log.exception("An engine step failed, and with it the requests: %s", ", ".join(sorted(ids)) or "none")
            self._fail(affected, admission.step_failed())

    def _observe_begun(self, now: float) -> None:
        for sequence in self.scheduler.begun:
            self._meter.observe_begin(self._streams[sequence], now)

    def _count(self, batch: Batch, budget: int, outputs: list[tuple[Sequence, TokenOutput]], seconds: float) -> None:
        num_tokens = sum(span.num_tokens for span in batch.spans)
        self._pace.observe(num_tokens, seconds)
        self._meter.observe_step(seconds, num_tokens=num_tokens, num_sequences=len(batch.spans))
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
                self._throughput.lengths.add(len(sequence.output))

    def _begin(self, sequences: list[Sequence], stream: OutputStream) -> None:
        for sequence in sequences:
            self._streams[sequence] = stream
        self.scheduler.add(sequences[0])

    def _end(self, stream: OutputStream, index: int | None = None) -> bool:
        """Remove a request's sequences, or that of one choice; their blocks are free before the next step.

        False if there were none left to remove.
        """
        ended = [
            sequence for sequence, owner in self._streams.items() if owner is stream and index in (None, sequence.index)
        ]
        for sequence in ended:
            del self._streams[sequence]
            if sequence.output:
                self._throughput.lengths.add(len(sequence.output))
            self.scheduler.remove(sequence)
        return bool(ended)

    def _deliver(self, outputs: list[tuple[Sequence, TokenOutput]]) -> None:
        """Pass a step's outputs to their streams, with one call into each event loop."""
        by_loop: dict[AbstractEventLoop, list[tuple[OutputStream, TokenOutput]]] = defaultdict(list)
        now = monotonic()
        for sequence, output in outputs:
            if sequence.last_output_s:
                self._meter.token_gap.observe(now - sequence.last_output_s)
            sequence.last_output_s = now
            stream = self._streams[sequence]
            if output.finish_reason is not None:
                del self._streams[sequence]
            by_loop[stream.loop].append((stream, output))
        for loop, items in by_loop.items():
            try:
                loop.call_soon_threadsafe(_put_all, items)
            except RuntimeError:  # the loop was closed while its requests ran: they have no reader
                for stream, _ in items:
                    self._end(stream)

    def _fail(self, streams: set[OutputStream], error: ServingError) -> None:
        for stream in streams:
            self._end(stream)
            with suppress(RuntimeError):  # a closed loop has no reader
                stream.loop.call_soon_threadsafe(stream.fail, error)


def _put_all(items: list[tuple[OutputStream, TokenOutput]]) -> None:
    for stream, output in items:
        stream.put(output)
