"""The engine interface on a vLLM server: a queue, then a request to vLLM for each choice."""

from __future__ import annotations

import asyncio
import logging
import secrets
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from itertools import count
from pathlib import PurePath
from threading import Event
from time import monotonic

from crossette.engine import EngineStats, Generation, ModelFiles, ModelInfo, Speeds, WaitEstimate
from crossette.engines import admission
from crossette.engines.grammar.compiler import GrammarCompiler
from crossette.engines.hf_tokenizer import HFTokenizer
from crossette.engines.median import Median
from crossette.engines.meter import Meter
from crossette.engines.stream import OutputStream
from crossette.engines.throughput import AnswerLengths
from crossette.engines.vllm import params, wire
from crossette.engines.vllm.client import RequestFailed, messages
from crossette.engines.vllm.connection import ConnectionFailed
from crossette.engines.vllm.process import VllmProcess
from crossette.engines.vllm.server import ServerFacts, VllmServer
from crossette.engines.vllm.settings import VllmSettings
from crossette.engines.vllm.waiting import VllmChoice, next_choice
from crossette.engines.vllm.wire import Message
from crossette.engines.wait import QueuedSequence, estimate_wait
from crossette.errors import InvalidRequest, ModelUnavailable, ServingError
from crossette.types import Constraint, GenerationRequest, TokenOutput

log = logging.getLogger(__name__)

_RETRY_AFTER_S = 10.0
_NUM_MEASURED = 63
"""Choices in the medians of speeds."""
_MIN_MEASURED_PROMPT = 64
"""Shorter prompts take as long as one token."""

NOT_INVARIANT = (
    "vLLM is not in its batch-invariant mode: the same request can have another text beside other requests. Turn it on"
    " with --vllm-batch-invariant, where the GPU supports it."
)


class VllmEngine:
    """An `Engine` on a vLLM server. All state belongs to the event loop's thread; others read snapshots."""

    def __init__(
        self,
        server: VllmServer,
        facts: ServerFacts,
        tokenizer: HFTokenizer,
        info: ModelInfo,
        settings: VllmSettings,
        source: str,
    ) -> None:
        self.tokenizer = tokenizer
        self.info = info
        self.warnings = tuple(_warnings(facts, settings, source))
        self._server = server
        self._facts = facts
        self._max_sequences = settings.vllm_max_sequences
        self._grammars = GrammarCompiler(tokenizer, info.vocab_size, info.end_token_ids)
        self._waiting: list[VllmChoice] = []
        self._running: list[VllmChoice] = []
        self._loop: AbstractEventLoop | None = None
        self._is_closed = False
        self._num_prompt_tokens = self._num_completion_tokens = 0
        self._num_looked_up = self._num_hits = 0
        self._meter = Meter()
        self._lengths = AnswerLengths()
        self._prompts_per_s, self._answer_per_s = Median(_NUM_MEASURED), Median(_NUM_MEASURED)

    @classmethod
    def load(cls, files: ModelFiles, settings: VllmSettings, cancelled: Event | None = None) -> VllmEngine:
        """Start vLLM, or connect to the one that runs, and load the tokenizer. Ends early once `cancelled` is set.

        Raises ModelError or ConfigError.
        """
        tokenizer = HFTokenizer(files.path, add_bos=files.add_bos)

        def begin() -> VllmProcess:
            return VllmProcess(files, settings)

        url = settings.vllm_url
        server = VllmServer(url, None if url else begin, start_timeout_s=settings.vllm_start_timeout)
        facts = server.start(cancelled or Event())
        info = files.info(context_length=facts.context_length, vocab_size=tokenizer.vocab_size)
        return cls(server, facts, tokenizer, info, settings, files.source)

    # --- the Engine protocol ---

    @property
    def details(self) -> Mapping[str, int | str]:
        return {"vllm": f"{self._facts.version} at {self._server.url}"}

    def stats(self) -> EngineStats:
        running, waiting = tuple(self._running), tuple(self._waiting)
        num_used = sum(self._num_blocks(choice) for choice in running)
        return EngineStats(
            running=len(running),
            waiting=len(waiting),
            blocks_total=self._facts.num_blocks,
            blocks_free=max(0, self._facts.num_blocks - num_used),
            steps=0,  # vLLM does not report them, nor preemptions of requests
            preemptions=0,
            prompt_tokens=self._num_prompt_tokens,
            completion_tokens=self._num_completion_tokens,
            stalled=not self._server.is_up,
            max_sequences=self._max_sequences,
            pending_prompt_tokens=sum(len(c.request.prompt) for c in (*running, *waiting) if not c.first_s),
            speeds=self._speeds(),
            lookup_tokens=self._num_looked_up,
            hit_tokens=self._num_hits,
            kv_bytes=self._facts.kv_bytes,
            times=self._meter.snapshot(),
        )

    def estimate_wait(self, request: GenerationRequest) -> WaitEstimate:
        numbers = count()
        return estimate_wait(
            [choice.queued(self._lengths, next(numbers)) for choice in tuple(self._running)],
            [choice.queued(self._lengths, next(numbers)) for choice in tuple(self._waiting)],
            new_request=QueuedSequence(0, 0, tenant=request.tenant, priority=request.priority),
            slots=self._max_sequences,
            blocks=self._max_sequences,  # vLLM manages its blocks; here slots alone count
            speeds=self._speeds(),
        )

    def prepare(self, constraint: Constraint) -> None:
        self._grammars.matcher(constraint)

    def generate(self, request: GenerationRequest) -> Generation:
        if self._is_closed:
            raise admission.shutting_down()
        admission.check(request, self.info)
        if request.constraint is not None:
            self.prepare(request.constraint)
        room = min(request.sampling.max_tokens, self.info.context_length - len(request.prompt))
        seed = secrets.randbits(63) if request.sampling.seed is None else request.sampling.seed
        end = self.tokenizer.eos_token_id
        given = [params.sampling_params(request, i, seed=seed, max_tokens=room, eos_id=end) for i in range(request.n)]
        if not self._server.is_up:
            raise self._unavailable()
        stream = OutputStream(
            range(request.n),
            on_finish=lambda index: self._end(stream, index),
            on_close=lambda: self._end(stream),
        )
        self._follow(stream.loop)
        self._waiting += (VllmChoice(request, i, stream, one, room) for i, one in enumerate(given))
        self._send()
        return stream

    def close(self) -> None:
        self._is_closed = True
        self._in_loop(lambda: self._fail([*self._running, *self._waiting], admission.shutting_down()))
        self._server.close()

    # --- the queue ---

    def _follow(self, loop: AbstractEventLoop) -> None:
        """Serve this event loop; choices of an earlier loop have no reader any more and are dropped."""
        if loop is not self._loop:
            self._loop = loop
            self._running = [choice for choice in self._running if choice.stream.loop is loop]
            self._waiting = [choice for choice in self._waiting if choice.stream.loop is loop]

    def _in_loop(self, call: Callable[[], None]) -> None:
        if self._loop is None or self._loop.is_closed():
            return
        if _running_loop() is self._loop:
            call()
        else:
            self._loop.call_soon_threadsafe(call)

    def _send(self) -> None:
        """Send waiting choices to vLLM while there are free slots."""
        while self._waiting and len(self._running) < self._max_sequences:
            choice = next_choice(self._waiting, self._running)
            self._waiting.remove(choice)
            self._running.append(choice)
            choice.sent_s = monotonic()
            choice.stop = choice.stream.loop.create_task(self._run(choice)).cancel

    def _end(self, stream: OutputStream, index: int | None = None) -> None:
        """End one choice of a stream, or all of them."""
        self._drop([c for c in (*self._running, *self._waiting) if c.stream is stream and index in (None, c.index)])

    def _drop(self, choices: Iterable[VllmChoice]) -> None:
        for choice in choices:
            for queue in (self._running, self._waiting):
                if choice in queue:
                    queue.remove(choice)
            choice.stop()
        if not self._is_closed:
            self._send()

    def _fail(self, choices: Iterable[VllmChoice], error: ServingError) -> None:
        for stream in dict.fromkeys(choice.stream for choice in choices):
            self._end(stream)
            stream.fail(error)

    # --- one choice ---

    async def _run(self, choice: VllmChoice) -> None:
        try:
            await self._read(choice)
        except ConnectionFailed as error:
            log.error("The connection to vLLM failed: %s", error)
            self._server.report_failure()
            self._fail([choice], self._connection_failure(choice))
        except RequestFailed as error:
            if error.status >= 500:  # also if a process of its engine has ended: then vLLM ends too, but not at once
                self._server.check_soon()
            self._fail([choice], _as_serving_error(error))
        except Exception:
            log.exception("A request to vLLM failed")
            self._fail([choice], admission.step_failed())

    async def _read(self, choice: VllmChoice) -> None:
        """Deliver the outputs of a choice. The last one waits for the count of cached tokens, which follows it."""
        body = params.body(choice.request, choice.index, choice.params)
        last: TokenOutput | None = None
        async with aclosing(messages(self._server.url, self._server.headers, body)) as received:
            async for message in received:
                if message.choices:
                    output = self._output(choice, message)
                    if output.finish_reason is None:
                        choice.stream.put(output)
                    else:
                        last = output
                if last is not None and message.usage is not None:
                    self._finish(choice, last, message.cached_tokens)
                    return
        raise RequestFailed(500, "its stream ended early")

    def _output(self, choice: VllmChoice, message: Message) -> TokenOutput:
        """Raises RequestFailed if vLLM gave up on the request."""
        (given,) = message.choices
        if given.finish_reason is not None and given.finish_reason not in wire.FINISH_REASONS:
            raise RequestFailed(500, f"it ended with {given.finish_reason!r}")
        request, tokens = choice.request, tuple(given.token_ids or ())
        if not choice.max_tokens:
            tokens = ()  # vLLM generates at least one
        self._note_output(choice, len(tokens))
        prompt_logprobs = None
        if params.scores_prompt(request, choice.index):
            prompt_logprobs = wire.prompt_logprobs(message, request.prompt, request.logprobs or 0)
        return TokenOutput(
            choice.index,
            tokens,
            wire.FINISH_REASONS[given.finish_reason] if given.finish_reason is not None else None,
            logprobs=None if request.logprobs is None else wire.logprobs(given, request.logprobs)[: len(tokens)],
            prompt_logprobs=prompt_logprobs,
        )

    def _note_output(self, choice: VllmChoice, num_tokens: int) -> None:
        now = monotonic()
        if choice.first_s:
            self._meter.token_gap.observe(now - choice.last_s)
        else:
            choice.first_s = now
            self._meter.observe_begin(choice.stream, now)
        choice.last_s = now
        choice.num_tokens += num_tokens
        self._num_completion_tokens += num_tokens

    def _finish(self, choice: VllmChoice, last: TokenOutput, num_cached: int) -> None:
        """Deliver the last output of a choice, and free its slot."""
        self._note_end(choice, num_cached)
        self._running.remove(choice)
        choice.stream.put(_with_cached(last, num_cached if choice.index == 0 else 0))
        self._send()

    def _note_end(self, choice: VllmChoice, num_cached: int) -> None:
        num_computed = len(choice.request.prompt) - num_cached
        self._num_prompt_tokens += num_computed
        self._num_hits += num_cached
        if not params.scores_prompt(choice.request, choice.index):
            self._num_looked_up += len(choice.request.prompt)
        self._lengths.add(choice.num_tokens)
        if num_computed >= _MIN_MEASURED_PROMPT and choice.first_s > choice.sent_s:
            self._prompts_per_s.add(num_computed / (choice.first_s - choice.sent_s))
        if choice.num_tokens > 1 and choice.last_s > choice.first_s:
            self._answer_per_s.add((choice.num_tokens - 1) / (choice.last_s - choice.first_s))

    def _num_blocks(self, choice: VllmChoice) -> int:
        """An estimate: blocks that choices share count for each."""
        size = self._facts.block_size
        return -(-(len(choice.request.prompt) + choice.num_tokens) // size) if size else 0

    def _speeds(self) -> Speeds:
        return Speeds(self._prompts_per_s.value, self._answer_per_s.value, self._lengths.mean)

    def _connection_failure(self, choice: VllmChoice) -> ServingError:
        """What a request is answered; it can be retried if nothing of it has been computed."""
        return self._unavailable() if choice.stream.queued_s is None else admission.step_failed()

    def _unavailable(self) -> ModelUnavailable:
        return ModelUnavailable(
            f"The model '{self.info.name}' is unavailable: vLLM, which runs it, has ended or does not respond.",
            retry_after=_RETRY_AFTER_S,
        )


def _warnings(facts: ServerFacts, settings: VllmSettings, source: str) -> Iterator[str]:
    if not settings.vllm_batch_invariant:
        yield NOT_INVARIANT
    if PurePath(facts.model).name != PurePath(source).name:  # it may be a folder here, and on the Hub there
        yield f"vLLM serves the model {facts.model}, but the tokenizer is that of {source}. Correct ref or vllm_url."


def _with_cached(output: TokenOutput, num_cached: int) -> TokenOutput:
    return TokenOutput(
        output.index,
        output.token_ids,
        output.finish_reason,
        cached_tokens=num_cached,
        logprobs=output.logprobs,
        prompt_logprobs=output.prompt_logprobs,
    )


def _as_serving_error(error: RequestFailed) -> ServingError:
    """What vLLM refuses is the client's fault, everything else a failure whose cause goes to the log only."""
    if 400 <= error.status < 500 and error.status not in (401, 403, 404, 429):
        return InvalidRequest(f"vLLM, which runs this model, refuses the request: {error}")
    log.error("vLLM failed a request with %s: %s", error.status, error)
    return admission.step_failed()


def _running_loop() -> AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
