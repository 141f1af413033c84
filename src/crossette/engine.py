"""The engine interface: tokens in, tokens or vectors out. The protocols that engines implement and the server calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from crossette.histogram import HistogramSnapshot
from crossette.types import Constraint, EmbeddingFacts, GenerationRequest, PromptImage, TokenOutput, WindowLimit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors: TypeAlias = npt.NDArray[np.float32]


class Tokenizer(Protocol):
    """Encode text to token ids and look up the bytes of one token. Thread-safe."""

    @property
    def bos_token_id(self) -> int | None:
        """The id that every prompt must begin with; None if the model uses no BOS token."""

    @property
    def bos_token(self) -> str: ...

    @property
    def eos_token(self) -> str: ...

    def encode(self, text: str, *, specials: bool) -> list[int]:
        """Tokens of `text`, without BOS. With `specials`, text such as `<|im_end|>` becomes a control token."""

    def has_specials(self, text: str) -> bool:
        """Whether `text` contains the text form of a control token."""

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token decodes to; b"" for a control token, which is never output text."""

    def token_text(self, token_id: int) -> bytes:
        """The bytes of a token; for a control token its text form, such as `<|im_end|>`."""


class Generation(Protocol):
    """The outputs of one request, as the engine generates them."""

    def __aiter__(self) -> AsyncIterator[TokenOutput]: ...

    async def __anext__(self) -> TokenOutput:
        """The next output of any choice; stops once every choice has ended.

        Raises ServingError if the engine failed or was stopped.
        """

    @property
    def queued_s(self) -> float | None:
        """Seconds from the call of `generate` to the first step that computed something for the request.

        With several choices, the longest wait so far; a choice that forks from another after its prompt does not
        count. None before the first step.
        """

    def finish(self, index: int) -> None:
        """End one choice: its blocks are free within one step, its later tokens are neither returned nor counted."""

    async def aclose(self) -> None:
        """End all choices that still run. May be called at any time, more than once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """A model on disk and the metadata of its files; engines load from this."""

    path: Path
    """The folder that holds the graph and the tokenizer."""
    cache: Path | None = None
    """Folder for the engine's calibration cache; None disables it."""
    add_bos: bool = False
    """Whether every prompt begins with the BOS token."""
    name: str
    architecture: str
    quantization: str
    context_length: int
    """The model's context length, in tokens; an engine may serve less."""
    end_token_ids: frozenset[int]
    chat_template: str | None = None
    tool_format: str = ""
    sampling_defaults: Mapping[str, float] = field(default_factory=dict)
    sees: bool = False
    """Whether the files include a vision graph of a supported family."""
    limits: tuple[WindowLimit, ...] = ()
    """Further limits of the context that the files declare; the graph may have more."""
    differences: tuple[str, ...] = ()
    """Warnings about what the graph is known to compute otherwise than the model."""
    embedding: EmbeddingFacts | None = None
    """None for a model that generates."""
    created: int = 0
    source: str = ""
    """For an engine that reads the weights itself: a folder, or ORG/NAME on the Hub."""
    revision: str | None = None
    """The revision on the Hub; None for the newest."""
    adapters: Mapping[str, Path] = field(default_factory=dict)
    """The folders of the LoRA adapters that are loaded with the model, by the names under which they are served."""

    def info(self, *, context_length: int, vocab_size: int) -> ModelInfo:
        """The `ModelInfo` of the loaded model, with the context length that is served and the vocabulary size."""
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
            embedding=self.embedding,
            created=self.created,
            sees=self.sees,
            adapters=tuple(self.adapters),
        )


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Properties of a loaded model. The engine derives them from the model's files."""

    name: str
    architecture: str
    quantization: str
    context_length: int
    """Tokens of prompt and output together that this server serves; all length checks use it."""
    vocab_size: int
    end_token_ids: frozenset[int]
    chat_template: str | None = None
    tool_format: str = ""
    """The model's tool-call format, by its name in `text/tool_calls`; "" to infer it from the chat template."""
    sampling_defaults: Mapping[str, float] = field(default_factory=dict)
    """temperature, top_k, top_p, min_p where the model's generation_config.json sets them."""
    embedding: EmbeddingFacts | None = None
    """What the vectors of an embedding model are; None for a model that generates."""
    created: int = 0
    """When the model entered the store, in seconds since the epoch."""
    sees: bool = False
    """Whether prompts may contain images: then the engine is a `SeeingEngine`."""
    adapters: tuple[str, ...] = ()
    """The adapters that requests may name."""


@dataclass(frozen=True, slots=True)
class Speeds:
    """Typical recent throughput of an engine; 0 where nothing was measured yet."""

    prompt_tokens_per_s: float = 0.0
    """Prefill rate, measured in steps whose token budget was full."""
    answer_tokens_per_s: float = 0.0
    """Decode rate of one sequence, with the others of its batch running."""
    mean_output_tokens: float = 0.0
    """Mean output length of recently finished choices."""


@dataclass(frozen=True, slots=True)
class WaitEstimate:
    """Estimated queueing of a request that arrives now."""

    waiting: int
    """Sequences that wait for a slot in the batch."""
    has_slot: bool
    """Whether a slot and enough blocks are free for it: then it waits only for steps already scheduled."""
    seconds: float = 0.0
    """Until it has a slot and the prompts before its own are computed. Unmeasured rates count as zero time."""
    slot_s: float = 0.0
    """Mean time between two slots becoming free."""


@dataclass(frozen=True, slots=True)
class EngineTimes:
    """Histograms of times and sizes since the engine started. Times are in seconds."""

    queue: HistogramSnapshot
    """From the call of `generate` to the first step that computes something for the request."""
    token_gap: HistogramSnapshot
    """Between two consecutive outputs of a sequence."""
    cancellation: HistogramSnapshot
    """From the call of `aclose` on a running generation until its blocks were free."""
    step: HistogramSnapshot
    step_tokens: HistogramSnapshot
    """Tokens that a step computed, draft tokens included."""
    step_sequences: HistogramSnapshot
    """Sequences in a step."""


@dataclass(frozen=True, slots=True)
class CacheLayers:
    """Layers of one kind of attention, and the memory that they take for each token in the KV cache."""

    num_layers: int
    token_bytes: int
    """Bytes of a token's keys and values in all these layers."""
    window: int | None = None
    """How many tokens they attend to, and keep of a sequence; None for all."""


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A snapshot of an engine's state, and counters since it started."""

    running: int
    """Sequences in the running batch."""
    waiting: int
    """Sequences that wait for blocks or for a slot in the batch."""
    blocks_total: int
    blocks_free: int
    steps: int
    preemptions: int
    prompt_tokens: int
    """Computed prompt tokens, recomputed ones included, prefix cache hits excluded."""
    completion_tokens: int
    cached_blocks: int = 0
    """Blocks in the prefix cache, including those that running sequences hold."""
    drafts: int = 0
    accepted_drafts: int = 0
    stalled: bool = False
    """Whether work is pending and no step makes progress."""
    max_sequences: int = 0
    """Most sequences in the running batch; 0 if unbounded."""
    pending_prompt_tokens: int = 0
    """Prompt tokens still to compute, over all running and waiting sequences; shared prefixes count once, cached
    tokens not at all."""
    speeds: Speeds = Speeds()
    alive: bool = True
    """False once the engine has died unexpectedly: the process must be restarted."""
    lookup_tokens: int = 0
    """Prompt tokens looked up in the prefix cache; prompts with prompt_logprobs are not looked up."""
    hit_tokens: int = 0
    """Of those, the tokens found there."""
    kv_bytes: int = 0
    """Size of the KV cache, in bytes."""
    kv_tokens: int = 0
    """How many tokens fit in the KV cache, of sequences of any length."""
    kv_layers: tuple[CacheLayers, ...] = ()
    times: EngineTimes | None = None
    """None for an engine without measurements."""


class Engine(Protocol):
    """A loaded model that generates tokens. `generate` must be called from a running event loop."""

    @property
    def info(self) -> ModelInfo: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for the startup log and `/health/ready`; () if there are none."""

    @property
    def details(self) -> Mapping[str, int | str]:
        """Engine details that the startup banner and `/health/ready` show, by name: `threads`."""

    def stats(self) -> EngineStats: ...

    def estimate_wait(self, request: GenerationRequest) -> WaitEstimate:
        """Estimate how long the request's first choice would wait if it arrived now. Reads without a lock."""

    def prepare(self, constraint: Constraint) -> None:
        """Compile a constraint ahead of `generate`. May take a second: do not call it in the event loop's thread.

        Raises InvalidRequest for a constraint that cannot be enforced.
        """

    def generate(self, request: GenerationRequest) -> Generation:
        """Queue a request. Not a coroutine: raises InvalidRequest, ContextLengthExceeded or ShuttingDown at once."""

    def close(self) -> None:
        """Fail all running requests and free the model. Returns once the engine has stopped."""


@runtime_checkable
class SeeingEngine(Protocol):
    """What an engine has besides, whose model sees."""

    @property
    def image_token_id(self) -> int:
        """The token that a chat template writes for an image, and that an image's tokens replace."""

    def see(self, image: bytes, *, low_detail: bool = False) -> PromptImage:
        """The tokens and embeddings of an image file. May take seconds: do not call it in the event loop's thread.

        With `low_detail` it takes as few tokens as the model can spend on an image.

        Raises InvalidRequest for data that is no image, or an image beyond the limits.
        """


class TextEncoder(Protocol):
    """Encode texts to token ids as an embedding model was trained. Thread-safe."""

    def encode(self, texts: Sequence[str], *, specials: bool = True, max_tokens: int | None = None) -> list[list[int]]:
        """The tokens of each text. Text such as `[SEP]` never becomes a control token.

        With `specials`, they begin and end as the model's texts do. Of a longer text, the first `max_tokens` are kept,
        those that `specials` adds included; None keeps all.
        """


class Embedding(Protocol):
    """The vectors of one request, as an embedder computes them."""

    @property
    def queued_s(self) -> float | None:
        """Seconds from the call of `embed` to the first step that computed a text of it; None before."""

    @property
    def num_computed(self) -> int:
        """The tokens of the texts that were computed so far."""

    @property
    def num_cached(self) -> int:
        """Of those, the tokens from a prefix cache."""

    async def vectors(self) -> Vectors:
        """The vectors `[texts, dimensions]`, in order and not normalised.

        Raises ServingError if the embedder failed or was stopped.
        """

    async def aclose(self) -> None:
        """End the request: texts that are not computed yet never are. May be called at any time, more than once."""


class VectorSource(Protocol):
    """Computes vectors of texts. `embed` must be called from a running event loop."""

    @property
    def info(self) -> ModelInfo: ...

    @property
    def encoder(self) -> TextEncoder: ...

    @property
    def longest_text(self) -> int:
        """The most tokens of a text."""

    def estimate_wait(self) -> WaitEstimate:
        """Estimate how long a text would wait if it arrived now."""

    def embed(self, texts: Sequence[Sequence[int]]) -> Embedding:
        """Queue texts, as token ids. Not a coroutine.

        Raises InvalidRequest, ContextLengthExceeded or ShuttingDown at once.
        """


@runtime_checkable
class Embedder(VectorSource, Protocol):
    """A loaded embedding model: `embedding` of its info is set."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """As those of an engine."""

    @property
    def details(self) -> Mapping[str, int | str]: ...

    def stats(self) -> EngineStats:
        """Texts count as sequences and their tokens as prompt tokens; there are no blocks."""

    def close(self) -> None:
        """Fail all running requests and free the model. Returns once the embedder has stopped."""


AnyEngine: TypeAlias = Engine | Embedder
"""What runs a loaded model."""
