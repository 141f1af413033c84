"""An engine without a model: the same interface, deterministic text, and steps under a test's control.

For tests, for documentation, and to measure the server alone. It computes nothing: a step gives each running sequence
its next token, one step per iteration of the event loop.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import struct
import threading
from array import array
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import chain, count, islice, repeat
from time import monotonic

import numpy as np

from crossette.engine import EngineStats, Generation, ModelInfo, Speeds, WaitEstimate
from crossette.engines import admission
from crossette.engines.grammar.compiler import GrammarCompiler, Matcher
from crossette.engines.meter import Meter
from crossette.engines.stream import OutputStream
from crossette.engines.throughput import AnswerLengths
from crossette.engines.wait import QueuedSequence, estimate_wait
from crossette.errors import ConstraintFailed, ServingError
from crossette.testing.fake_tokenizer import IM_END, FakeTokenizer
from crossette.types import Constraint, FinishReason, GenerationRequest, Logprob, TokenOutput

Script = Callable[[GenerationRequest, int], Iterable[int]]
"""Returns the tokens of choice `index` of a request; the choice ends with the iterable, or with an end token."""

BLOCK_SIZE = 32

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_TEXT = (
    "a quiet river carries small lanterns past the sleeping town while seven old sailors count bright stars and "
    "tell their children how fire was taught to dance in paper shells above warm summer rooftops"
)
_WORDS = _TEXT.split()


def say(*texts: str) -> Script:
    """A script: choice 0 gets the first text, choice 1 the second, and so on, cyclically."""
    return lambda request, index: texts[index % len(texts)].encode()


class FakeEngine:
    """An `Engine` that outputs what `script` returns, else sentences that depend on prompt and seed, as a model's do.

    Call `generate` in the event loop's thread; `pause`, `step` and `fail_next_step` also in the thread of a test whose
    server runs in another one.
    """

    warnings: tuple[str, ...] = ()

    def __init__(
        self,
        script: Script | None = None,
        *,
        name: str = "fake",
        context_length: int = 4096,
        max_sequences: int = 64,
        tokens_per_step: int = 1,
        tokenizer: FakeTokenizer | None = None,
        chat_template: str | None = CHAT_TEMPLATE,
        tool_format: str = "",
        speeds: Speeds | None = None,
    ) -> None:
        self.tokenizer = tokenizer or FakeTokenizer()
        self.info = ModelInfo(
            name=name,
            architecture="fake",
            quantization="none",
            context_length=context_length,
            vocab_size=256 + len(self.tokenizer.specials),
            end_token_ids=frozenset({IM_END}),
            chat_template=chat_template,
            tool_format=tool_format,
        )
        self.speeds = speeds or Speeds()
        """The rates that it reports: it does not measure any."""
        self._lengths = AnswerLengths()
        if self.speeds.mean_output_tokens:
            self._lengths.add(round(self.speeds.mean_output_tokens))
        self._script = script
        self._grammars = GrammarCompiler(self.tokenizer, self.info.vocab_size, self.info.end_token_ids)
        self._max_sequences = max_sequences
        self._tokens_per_step = tokens_per_step
        self._blocks_total = max_sequences * _blocks_for(context_length)
        self._waiting: list[_Sequence] = []
        self._running: list[_Sequence] = []
        self._loop: AbstractEventLoop | None = None
        self._is_scheduled = self._is_paused = self._is_closed = False
        self._error: Exception | None = None
        self._num_steps = self._num_prompt_tokens = self._num_completion_tokens = self._num_preemptions = 0
        self._meter = Meter()
        self._changed = threading.Condition()
        self._num_waiting = 0
        """The threads in `wait_for`."""

    # --- the Engine protocol ---

    def stats(self) -> EngineStats:
        return EngineStats(
            running=len(self._running),
            waiting=len(self._waiting),
            blocks_total=self._blocks_total,
            blocks_free=self._blocks_total - sum(sequence.num_blocks for sequence in tuple(self._running)),
            steps=self._num_steps,
            preemptions=self._num_preemptions,
            prompt_tokens=self._num_prompt_tokens,
            completion_tokens=self._num_completion_tokens,
            max_sequences=self._max_sequences,
            pending_prompt_tokens=sum(len(sequence.request.prompt) for sequence in tuple(self._waiting)),
            speeds=self.speeds,
            times=self._meter.snapshot(),
        )

    def estimate_wait(self, request: GenerationRequest) -> WaitEstimate:
        numbers = count()
        return estimate_wait(
            [sequence.queued(self._lengths, next(numbers)) for sequence in tuple(self._running)],
            [sequence.queued(self._lengths, next(numbers)) for sequence in tuple(self._waiting)],
            new_request=QueuedSequence(0, 0),
            slots=self._max_sequences,
            blocks=self._blocks_total,
            speeds=self.speeds,
        )

    def prepare(self, constraint: Constraint) -> None:
        self._grammars.matcher(constraint)

    def generate(self, request: GenerationRequest) -> Generation:
        if self._is_closed:
            raise admission.shutting_down()
        admission.check(request, self.info)
        stream = OutputStream(
            range(request.n),
            on_finish=lambda index: self._end(stream, index),
            on_close=lambda: self._cancel(stream),
        )
        self._follow(stream.loop)
        seed = secrets.randbits(64) if request.sampling.seed is None else request.sampling.seed
        room = min(request.sampling.max_tokens, self.info.context_length - len(request.prompt))
        for index in range(request.n):
            self._waiting.append(_Sequence(request, index, stream, self._text(request, index, seed), room))
        self._notify()
        self._schedule()
        return stream

    @property
    def details(self) -> Mapping[str, int | str]:
        return {}

    def close(self) -> None:
        self._is_closed = True
        self._in_loop(lambda: self._fail([*self._running, *self._waiting], admission.shutting_down()))

    # --- controls for tests ---

    def pause(self) -> None:
        """Run no steps until `resume`, except those that `step` runs."""
        self._is_paused = True

    def resume(self) -> None:
        self._is_paused = False
        self._in_loop(self._schedule)

    def step(self) -> None:
        """Run one step: at once in the event loop's thread, else in the loop's next iteration."""
        self._in_loop(self._step)

    def fail_next_step(self, error: Exception) -> None:
        """Make the next step fail with `error`, as a kernel might."""
        self._error = error

    def wait_for(self, condition: Callable[[EngineStats], bool], limit_s: float = 10) -> None:
        """Block a thread other than the loop's until `condition` holds. Raises TimeoutError after `limit_s` seconds."""
        with self._changed:
            self._num_waiting += 1
            try:
                if not self._changed.wait_for(lambda: condition(self.stats()), limit_s):
                    raise TimeoutError(f"the condition is not met after {limit_s} s: {self.stats()}")
            finally:
                self._num_waiting -= 1

    # --- steps ---

    def _text(self, request: GenerationRequest, index: int, seed: int) -> Iterator[int]:
        if request.constraint is not None:
            script = iter(()) if self._script is None else iter(self._script(request, index))
            rng = random.Random(seed + index if request.sampling.temperature > 0 else 0)
            return _constrained(self._grammars.matcher(request.constraint), script, rng)
        if self._script is None:
            return _sentences(request.prompt, seed + index if request.sampling.temperature > 0 else 0)
        script = iter(self._script(request, index))
        return chain(script, repeat(IM_END)) if request.sampling.ignore_eos else script

    def _follow(self, loop: AbstractEventLoop) -> None:
        """Serve this event loop; sequences of an earlier loop have no reader any more and are dropped."""
        if loop is not self._loop:
            self._loop, self._is_scheduled = loop, False
            self._running = [sequence for sequence in self._running if sequence.stream.loop is loop]
            self._waiting = [sequence for sequence in self._waiting if sequence.stream.loop is loop]

    def _in_loop(self, call: Callable[[], None]) -> None:
        if self._loop is None or self._loop.is_closed():
            return
        if _running_loop() is self._loop:
            call()
        else:
            self._loop.call_soon_threadsafe(call)

    def _schedule(self) -> None:
        if self._loop and not self._is_scheduled and not self._is_paused and (self._running or self._waiting):
            self._is_scheduled = True
            self._loop.call_soon(self._run_step)

    def _run_step(self) -> None:
        self._is_scheduled = False
        if not self._is_paused:
            self._step()
            self._schedule()

    def _step(self) -> None:
        self._admit()
        if not self._running:
            return
        error, self._error = self._error, None
        if error is not None:
            self._fail(list(self._running), admission.step_failed())
            return
        self._num_steps += 1
        begun, num_tokens, num_running = monotonic(), self._num_completion_tokens, len(self._running)
        for sequence in tuple(self._running):
            try:
                output = sequence.advance(self._tokens_per_step)
            except ConstraintFailed as failure:
                self._fail([sequence], failure)
                continue
            self._num_completion_tokens += len(output.token_ids)
            if output.finish_reason is not None:
                self._running.remove(sequence)
            if sequence.last_output_s and output.token_ids:
                self._meter.token_gap.observe(begun - sequence.last_output_s)
            sequence.last_output_s = begun
            sequence.stream.put(output)
        num_tokens = self._num_completion_tokens - num_tokens
        self._meter.observe_step(monotonic() - begun, num_tokens=num_tokens, num_sequences=num_running)
        self._notify()

    def _admit(self) -> None:
        """By priority and age. One below priority 0 leaves its place to those above it."""
        now = monotonic()
        while self._waiting:
            sequence = max(self._waiting, key=_priority)
            if len(self._running) >= self._max_sequences:
                last = min(reversed(self._running), key=_priority)
                if _priority(last) >= min(_priority(sequence), 0):
                    return
                self._running.remove(last)
                self._waiting.insert(0, last)
                self._num_preemptions += 1
            self._waiting.remove(sequence)
            if not sequence.has_begun:
                sequence.has_begun = True
                self._meter.observe_begin(sequence.stream, now)
                self._num_prompt_tokens += len(sequence.request.prompt)
            self._running.append(sequence)

    def _cancel(self, stream: OutputStream) -> None:
        begun, before = monotonic(), len(self._running) + len(self._waiting)
        self._end(stream)
        if len(self._running) + len(self._waiting) < before:
            self._meter.cancellation.observe(monotonic() - begun)

    def _end(self, stream: OutputStream, index: int | None = None) -> None:
        for queue in (self._running, self._waiting):
            queue[:] = [s for s in queue if s.stream is not stream or index not in (None, s.index)]
        self._notify()

    def _fail(self, sequences: list[_Sequence], error: ServingError) -> None:
        for stream in dict.fromkeys(sequence.stream for sequence in sequences):
            self._end(stream)
            stream.fail(error)

    def _notify(self) -> None:
        if not self._num_waiting:  # one that begins to wait looks first
            return
        with self._changed:
            self._changed.notify_all()


class _Sequence:
    """One choice: its remaining tokens, and how many blocks it would hold."""

    def __init__(
        self, request: GenerationRequest, index: int, stream: OutputStream, text: Iterator[int], max_output: int
    ) -> None:
        self.request = request
        self.index = index
        self.stream = stream
        self.last_output_s = 0.0
        self.has_begun = False
        self._text = text
        self._left = max_output
        self._num_tokens = len(request.prompt)

    @property
    def num_blocks(self) -> int:
        return _blocks_for(self._num_tokens)

    def queued(self, lengths: AnswerLengths, number: int) -> QueuedSequence:
        """The sequence for a wait estimate. Its first step computes the whole prompt."""
        num_output = self._num_tokens - len(self.request.prompt)
        most = num_output + self._left
        prompt_tokens = 0 if num_output else len(self.request.prompt)
        return QueuedSequence(prompt_tokens, lengths.left(num_output, most, number))

    def advance(self, num_tokens: int) -> TokenOutput:
        """The output of one step."""
        tokens: list[int] = []
        is_first = self._num_tokens == len(self.request.prompt)
        reason: FinishReason | None = None if self._left else FinishReason.LENGTH
        while reason is None and len(tokens) < num_tokens:
            token = next(self._text, None)
            if token is None:
                reason = FinishReason.STOP
                break
            tokens.append(token)
            self._left -= 1
            if token in self.request.end_token_ids and not self.request.sampling.ignore_eos:
                reason = FinishReason.STOP
            elif not self._left:
                reason = FinishReason.LENGTH
        self._num_tokens += len(tokens)
        wanted, scored = self.request.logprobs, self.request.prompt_logprobs and is_first
        return TokenOutput(
            self.index,
            tuple(tokens),
            reason,
            logprobs=None if wanted is None else tuple(_logprob(token, wanted) for token in tokens),
            prompt_logprobs=tuple(_logprob(t, wanted or 0) for t in self.request.prompt[1:]) if scored else None,
            hidden_state=_hidden_state(self.request.prompt) if self.request.hidden_state and is_first else None,
        )


def _hidden_state(prompt: tuple[int, ...]) -> bytes:
    """Eight numbers that depend on the prompt: how often tokens have each remainder."""
    return struct.pack("<8f", *(sum(token % 8 == remainder for token in prompt) for remainder in range(8)))


def _priority(sequence: _Sequence) -> int:
    return sequence.request.priority


def _logprob(token: int, num_top: int) -> Logprob:
    """Made-up logprobs that depend on the token only: it is the most likely, followed by the next bytes."""
    logprob = -(token % 8) / 8
    top = tuple(((token + i) % 256, logprob - i) for i in range(num_top))
    return Logprob(token, logprob, logprob / 2, top)


def _sentences(prompt: tuple[int, ...], seed: int) -> Iterator[int]:
    """A few sentences and an end token, repeatedly; a function of the prompt and the low 64 bits of the seed."""
    text, key = array("q", prompt), (seed % 2**64).to_bytes(8, "little")
    for paragraph in count():
        numbers = iter(blake2b(text, key=key, salt=paragraph.to_bytes(8, "little")).digest())
        sentences = []
        for _ in range(2 + next(numbers) % 3):
            words = [_WORDS[number % len(_WORDS)] for number in islice(numbers, 5 + next(numbers) % 8)]
            sentences.append(" ".join(words).capitalize() + ".")
        yield from ((" " if paragraph else "") + " ".join(sentences)).encode()
        yield IM_END


def _constrained(matcher: Matcher, script: Iterator[int], rng: random.Random) -> Iterator[int]:
    """The script's tokens where the grammar allows them, else random allowed tokens."""
    while not matcher.is_over:
        allowed = matcher.allowed()
        token = next(script, IM_END)
        if not allowed[token]:
            token = int(rng.choice(np.flatnonzero(allowed)))
        yield token
        if token == IM_END:
            return
        matcher.accept_token(token)


def _blocks_for(num_tokens: int) -> int:
    return -(-num_tokens // BLOCK_SIZE)


def _running_loop() -> AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
