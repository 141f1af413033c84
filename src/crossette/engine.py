"""The waist: tokens in, tokens out. What every engine offers and everything above it relies on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from crossette.histogram import Counts
from crossette.types import Constraint, GenerationRequest, TokenOutput, WindowLimit


class Tokenizer(Protocol):
    """Text to token ids and one token's bytes back. Safe to call from several threads."""

    @property
    def bos_token_id(self) -> int | None:
        """The id that every prompt must begin with; None where the model wants none."""

    @property
    def bos_token(self) -> str: ...

    @property
    def eos_token(self) -> str: ...

    def encode(self, text: str, *, specials: bool) -> list[int]:
        """Tokens of `text`, no BOS added. With `specials`, `<|im_end|>` and its like become control tokens."""

    def has_specials(self, text: str) -> bool:
        """Whether `text` contains the spelling of a control token."""

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; b"" for a control token, which is never text."""

    def token_text(self, token_id: int) -> bytes:
        """The bytes of a token, or how a control token is spelled."""


class Generation(Protocol):
    """The answer to one request in the making."""

    def __aiter__(self) -> AsyncIterator[TokenOutput]: ...

    async def __anext__(self) -> TokenOutput:
        """The next output of any choice; stops after every choice has ended.

        Raises ServingError if the engine failed or was stopped.
        """

    @property
    def queued_s(self) -> float | None:
        """Seconds from the call of `generate` to the first step that computed something for the request.

        Of several choices it is the longest wait so far; one that begins where another has computed the prompt has
        not waited by itself. None before the first step.
        """

    def finish(self, index: int) -> None:
        """End one choice: its blocks are free within one step, its later tokens neither given nor counted."""

    async def aclose(self) -> None:
        """End all choices that still run. May be called at any time, and twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """A model on disk, and what its files say: what an engine is loaded from."""

    path: Path
    """The folder with its graph and tokenizer."""
    cache: Path | None = None
    """Where an engine may keep what it measured, for its next start; None for nowhere."""
    add_bos: bool = False
    """Whether every prompt begins with the BOS token."""
    name: str
    architecture: str
    quantization: str
    context_length: int
    """Tokens of the model's window; an engine may serve fewer."""
    end_token_ids: frozenset[int]
    chat_template: str | None = None
    tool_format: str = ""
    sampling_defaults: Mapping[str, float] = field(default_factory=dict)
    limits: tuple[WindowLimit, ...] = ()
    """What the files say about the window beside its length; a graph may say more."""
    created: int = 0

    def info(self, *, context_length: int, vocab_size: int) -> ModelInfo:
        """What is known once the model is loaded: the window that is served, and the vocabulary."""
        return ModelInfo(
            name=self.name,
            architecture=self.architecture,
            quantization=self.quantization,
            context_length=context_length,
            vocab_size=vocab_size,
            end_token_ids=self.end_token_ids,
            chat_template=self.chat_template,
            tool_format=self.tool_format,
            sampling_defaults=self.sampling_defaults,
            created=self.created,
        )


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of a model before its first token. An engine makes it of the model's files."""

    name: str
    architecture: str
    quantization: str
    context_length: int
    """Tokens of prompt and output together that this server serves: every length rule uses it."""
    vocab_size: int
    end_token_ids: frozenset[int]
    chat_template: str | None = None
    tool_format: str = ""
    """How the model calls tools, by its name in `text/tool_calls`; "" for what its chat template shows."""
    sampling_defaults: Mapping[str, float] = field(default_factory=dict)
    """temperature, top_k, top_p, min_p where the model's generation_config.json gives them."""
    created: int = 0
    """Seconds since the epoch at which the model entered the store."""


@dataclass(frozen=True, slots=True)
class Speeds:
    """What an engine usually does in a second of work; 0 for what is not known yet."""

    prompt_tokens_per_s: float = 0.0
    """While more of them wait than a step has room for."""
    answer_tokens_per_s: float = 0.0
    """Of one answer, beside the others in its steps."""
    mean_output_tokens: float = 0.0
    """How long the choices were that ended of late."""


@dataclass(frozen=True, slots=True)
class WaitEstimate:
    """What a request that comes now has before it."""

    waiting: int
    """Sequences that wait for a place in the batch."""
    has_place: bool
    """Whether there is a place for it too, and blocks: then it waits for nothing but the steps before its own."""
    seconds: float = 0.0
    """Until it has a place, and the prompts before its own are computed. What was never measured counts nothing."""
    place_s: float = 0.0
    """Between one place that becomes free and the next."""


@dataclass(frozen=True, slots=True)
class EngineTimes:
    """How long and how large: histograms since the engine started. Times are in seconds."""

    queue: Counts
    """From the call of `generate` to the first step that computes something for the request."""
    token_gap: Counts
    """Between one output of a sequence and its next."""
    cancellation: Counts
    """From the call of `aclose` on a generation that still ran until its blocks were free."""
    step: Counts
    step_tokens: Counts
    """Tokens that a step computed, guesses included."""
    step_sequences: Counts
    """Sequences that a step computed something for."""


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A look at an engine at one moment, and counts since it started."""

    running: int
    """Sequences in the running batch."""
    waiting: int
    """Sequences that wait for blocks or for a place in the batch."""
    blocks_total: int
    blocks_free: int
    steps: int
    preemptions: int
    prompt_tokens: int
    """Computed, also those computed again; not those found in the prefix cache."""
    completion_tokens: int
    cached_blocks: int = 0
    """Blocks that the prefix cache knows, also those that running sequences hold."""
    drafts: int = 0
    accepted_drafts: int = 0
    stalled: bool = False
    """Whether work waits and nothing moves."""
    max_sequences: int = 0
    """Places in the running batch; 0 if there is no such bound."""
    pending_prompt_tokens: int = 0
    """Tokens of prompts that are still to be computed, of all sequences that run or wait: each once where several have
    it, and none that the prefix cache has."""
    speeds: Speeds = Speeds()
    alive: bool = True
    """False once the engine has ended without being asked to: only a new process helps."""
    lookup_tokens: int = 0
    """Tokens of admitted prompts that may come from the prefix cache: all but those of prompts to be scored."""
    hit_tokens: int = 0
    """Of those, the ones that did."""
    kv_bytes: int = 0
    """Memory of the KV cache."""
    times: EngineTimes | None = None
    """None for an engine that measures nothing."""


class Engine(Protocol):
    """A model that generates. `generate` must be called from a running event loop."""

    @property
    def info(self) -> ModelInfo: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the server should say about this engine at start and in `/health/ready`; () if all is well."""

    @property
    def details(self) -> Mapping[str, int | str]:
        """What the banner tells of this engine beside its model, by name: `threads`."""

    def stats(self) -> EngineStats: ...

    def estimate_wait(self, request: GenerationRequest) -> WaitEstimate:
        """What the request's first choice would wait for if it came now. A look, without a lock: an estimate."""

    def prepare(self, constraint: Constraint) -> None:
        """Compile a constraint, so that `generate` need not: it may take a second, so not in the event loop's thread.

        Raises InvalidRequest for one that cannot be enforced.
        """

    def generate(self, request: GenerationRequest) -> Generation:
        """Admit a request. A plain call: raises InvalidRequest, ContextLengthExceeded or ShuttingDown at once."""

    def close(self) -> None:
        """End what runs with an error and free the model. Returns when the engine has stopped."""
