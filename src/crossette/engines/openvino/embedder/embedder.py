"""The embedder: one thread runs the graph, and merges the texts of all requests into batches.

Requests and the ends of requests arrive through an inbox that is read between steps, as in the engine.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from time import monotonic

import numpy as np

from crossette.engine import Embedding, EngineStats, ModelFiles, ModelInfo, Speeds, WaitEstimate
from crossette.engines import admission
from crossette.engines.meter import Meter
from crossette.engines.openvino.embedder.batches import Batches, Text, Texts
from crossette.engines.openvino.embedder.model import EncoderModel
from crossette.engines.openvino.embedder.pending import PendingVectors
from crossette.engines.openvino.embedder.pooling import Vectors, pool
from crossette.engines.openvino.embedder.text import FastTextEncoder
from crossette.engines.openvino.embedder.width import measure_width
from crossette.engines.openvino.pace import StepPace
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.errors import ModelError
from crossette.machine import usable_cpus
from crossette.moving_average import MovingAverage

log = logging.getLogger(__name__)


class OpenVINOEmbedder:
    """An `Embedder` that runs a loaded model."""

    @classmethod
    def load(cls, files: ModelFiles, settings: OpenVINOSettings) -> OpenVINOEmbedder:
        """Load a model folder. Takes about a second; raises ModelError."""
        threads = settings.threads or usable_cpus()
        encoder = FastTextEncoder(files.path)
        model = EncoderModel(files.path, threads=threads)
        window = min(files.context_length, settings.max_model_len or files.context_length)
        info = files.info(context_length=window, vocab_size=encoder.vocab_size)
        width = measure_width(model, limit=settings.max_step_tokens, vocab_size=encoder.vocab_size)
        return cls(model, encoder, info, width=width, threads=threads)

    def __init__(
        self, model: EncoderModel, encoder: FastTextEncoder, info: ModelInfo, *, width: int, threads: int
    ) -> None:
        if info.embedding is None:
            raise ModelError(f"{info.name} is not an embedding model.")
        self.info, self.encoder = info, encoder
        self._facts, self._model, self._threads = info.embedding, model, threads
        self._batches: Batches[PendingVectors] = Batches(width)
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._inbox_lock = threading.Lock()  # nothing may enter the inbox after the None that ends it
        self._closed = False
        self._meter, self._pace, self._speed = Meter(), StepPace(0), MovingAverage()
        self._num_arrived = self._num_arrived_tokens = 0
        """Texts and tokens of all requests: those that are not gone from the queue wait."""
        self._num_running = self._num_steps = self._num_tokens = 0
        self._step_begun: float | None = None
        self._thread = threading.Thread(target=self._run, name="crossette-embedder", daemon=True)
        self._thread.start()

    @property
    def longest_text(self) -> int:
        return self.info.context_length

    @property
    def warnings(self) -> tuple[str, ...]:
        if self._facts.is_declared:
            return ()
        return (f"{self.info.name} does not declare how it pools (1_Pooling/config.json): the mean is used.",)

    @property
    def details(self) -> Mapping[str, int | str]:
        return {"threads": self._threads, "vectors": f"{self._facts.dimensions} dimensions, {self._facts.pooling}"}

    def stats(self) -> EngineStats:
        begun, alive = self._step_begun, self._closed or self._thread.is_alive()
        return EngineStats(
            running=self._num_running,
            waiting=self._num_waiting,
            blocks_total=0,
            blocks_free=0,
            steps=self._num_steps,
            preemptions=0,
            prompt_tokens=self._num_tokens,
            completion_tokens=0,
            stalled=not alive or (begun is not None and monotonic() - begun > self._pace.patience_s),
            pending_prompt_tokens=self._num_waiting_tokens,
            speeds=Speeds(prompt_tokens_per_s=self._speed.value),
            alive=alive,
            times=self._meter.snapshot(),
        )

    @property
    def _num_waiting(self) -> int:
        return self._num_arrived - self._batches.num_gone

    @property
    def _num_waiting_tokens(self) -> int:
        return self._num_arrived_tokens - self._batches.num_gone_tokens

    def estimate_wait(self) -> WaitEstimate:
        """A request takes turns with all others, so the wait for its last text is estimated, not for its first."""
        waiting, speed = self._num_waiting, self._speed.value
        seconds = self._num_waiting_tokens / speed if speed else 0.0
        return WaitEstimate(waiting=waiting, has_slot=not waiting, seconds=seconds, slot_s=seconds / max(1, waiting))

    def embed(self, texts: Sequence[Sequence[int]]) -> Embedding:
        admission.check_texts(texts, self.info)
        request = PendingVectors(len(texts), self._facts.dimensions, self._cancel)
        with self._inbox_lock:
            if self._closed:
                raise admission.shutting_down()
            self._num_arrived += len(texts)
            self._num_arrived_tokens += sum(map(len, texts))
            self._inbox.put(lambda: self._batches.add(Texts(request, texts)))
        return request

    def close(self) -> None:
        with self._inbox_lock:
            if not self._closed:
                self._closed = True
                self._inbox.put(None)
        self._thread.join()

    def _cancel(self, request: PendingVectors) -> None:
        cancelled_s = monotonic()

        def end() -> None:
            self._batches.remove(request)
            self._meter.cancellation.observe(monotonic() - cancelled_s)

        self._inbox.put(end)

    # --- the embedder's thread ---

    def _run(self) -> None:
        while self._drain_inbox():
            self._step()
        for request in self._batches.owners():
            request.fail_soon(admission.shutting_down())
        self._model.close()

    def _drain_inbox(self) -> bool:
        """Run what arrived since the last step, or wait for it if nothing else is to do. False once it is closed."""
        while True:
            try:
                task = self._inbox.get(block=self._batches.is_empty)
            except Empty:
                return True
            if task is None:
                return False
            task()

    def _step(self) -> None:
        """Compute one batch and deliver it. An exception fails the requests of this batch, and only those."""
        batch = self._batches.next()
        if not batch:  # the requests of an inbox have ended
            return
        self._step_begun = begun = monotonic()
        self._num_running = len(batch)
        requests = list(dict.fromkeys(text.owner for text in batch))
        for request in requests:
            if request.note_begun(begun):
                self._meter.queue.observe(begun - request.arrived_s)
        try:
            vectors = self._compute(batch, begun)
            for request in requests:
                self._deliver(request, batch, vectors)
        except Exception:
            log.exception("A step of %s failed, and with it %d requests", self.info.name, len(requests))
            for request in requests:
                self._batches.remove(request)
                request.fail_soon(admission.step_failed())

    def _compute(self, batch: Sequence[Text[PendingVectors]], begun: float) -> Vectors:
        """The vectors of a batch. The step is over, and counted, before a client sees them."""
        try:
            rows = np.array([text.tokens for text in batch], np.int64)
            vectors = pool(self._model.forward(rows), self._facts.pooling)
            self._count(rows.size, len(batch), monotonic() - begun)
            return vectors
        finally:
            self._step_begun, self._num_running = None, 0

    def _deliver(self, request: PendingVectors, batch: Sequence[Text[PendingVectors]], vectors: Vectors) -> None:
        places = [place for place, text in enumerate(batch) if text.owner is request]
        indices = [batch[place].index for place in places]
        if not request.put_soon(indices, vectors[places], len(places) * len(batch[0].tokens)):
            self._batches.remove(request)

    def _count(self, num_tokens: int, num_texts: int, seconds: float) -> None:
        self._pace.observe(num_tokens, seconds)
        self._meter.observe_step(seconds, num_tokens=num_tokens, num_sequences=num_texts)
        self._num_steps += 1
        self._num_tokens += num_tokens
        self._speed.add(num_tokens / max(seconds, 1e-9))
