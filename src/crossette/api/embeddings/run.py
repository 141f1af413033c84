"""A request to an embedding model, from its valid body to its vectors: load, encode, admit, compute."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

from crossette.api.dialect import Dialect
from crossette.api.embeddings.vectors import Vectors
from crossette.api.endpoint import encode_off_loop
from crossette.api.exchange import Exchange
from crossette.api.schema.answer import PerfMetrics
from crossette.api.schema.embeddings import EmbeddingUsage
from crossette.api.services import Services
from crossette.engine import Embedder, Embedding, ModelInfo
from crossette.errors import ContextLengthExceeded
from crossette.generation.answer import Timings
from crossette.types import Usage

Encode = Callable[[Embedder], Awaitable[list[list[int]]]]
"""The texts of a request as token ids. Raises InvalidRequest."""


@dataclass
class EmbeddingWork:
    """What an embedder does for a request: a `Work`."""

    embedding: Embedding
    timings: Timings
    choices: Sequence[object] = ()
    sampling: None = None

    @property
    def queued_s(self) -> float | None:
        return self.embedding.queued_s

    @property
    def usage(self) -> Usage:
        """The tokens of the texts that were computed."""
        return Usage(self.embedding.num_computed, 0)

    def usage_body(self) -> EmbeddingUsage:
        return EmbeddingUsage(self.usage.prompt_tokens, self.usage.total_tokens)


async def compute(
    exchange: Exchange, services: Services, encode: Encode, timings: Timings
) -> tuple[Vectors, EmbeddingWork]:
    """The vectors of the request's texts, as the model pools them. Cancelling it drops what is not computed yet."""
    assert exchange.admission is not None  # set before the body is read
    lease = await services.models.pool.acquire(exchange.model)
    try:
        rows = await encode(lease.embedder)
        exchange.admission.begin_embedding(lease.embedder, sum(map(len, rows)))
        work = EmbeddingWork(lease.embedder.embed(rows), timings)
        exchange.answer = work
        try:
            vectors = await work.embedding.vectors()
        finally:
            await work.embedding.aclose()
        timings.ended = perf_counter()
        return vectors, work
    finally:
        lease.release()


async def encode_texts(
    texts: Sequence[str], embedder: Embedder, *, specials: bool = True, max_tokens: int | None = None
) -> list[list[int]]:
    """Texts as token ids, in a worker thread if they are long."""
    size = sum(map(len, texts))
    return await encode_off_loop(size, embedder.encoder.encode, texts, specials=specials, max_tokens=max_tokens)


def check_length(num_tokens: int, info: ModelInfo, path: str, instead: str) -> None:
    """Raise ContextLengthExceeded for a text beyond the model's window. `instead` is the field that cuts it."""
    if num_tokens > info.context_length:
        raise ContextLengthExceeded(
            f"The prompt is too long: {num_tokens}, model maximum context length: {info.context_length}, field: "
            f"'{path}'. Send shorter texts, or {instead} to cut them.",
            param=path,
        )


def perf_metrics(work: EmbeddingWork) -> PerfMetrics:
    """The figures under Fireworks' names; times in seconds."""
    assert work.timings.ended is not None
    metrics: PerfMetrics = {"prompt-tokens": work.usage.prompt_tokens, "cached-prompt-tokens": 0}
    if work.queued_s is not None:
        metrics["prefill-queue-duration"] = round(work.queued_s, 3)
    metrics["server-processing-time"] = round(work.timings.ended - work.timings.begun, 3)
    return metrics


def metric_headers(work: EmbeddingWork, dialect: Dialect) -> dict[str, str]:
    """The figures as headers of the dialect."""
    metrics = perf_metrics(work)
    if dialect.metric_headers == "openai":
        return {"openai-processing-ms": str(round(1000 * metrics["server-processing-time"]))}
    return {f"fireworks-{name}": str(value) for name, value in metrics.items()}
