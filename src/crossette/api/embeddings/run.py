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
from crossette.api.schema.common import ISOLATION_HEADER
from crossette.api.schema.embeddings import EmbeddingFields, EmbeddingUsage
from crossette.api.services import Services
from crossette.engine import Embedding, VectorSource
from crossette.errors import ContextLengthExceeded
from crossette.generation.answer import Timings
from crossette.generation.embeddings import EngineVectors
from crossette.pool.pool import Lease
from crossette.types import Usage

Encode = Callable[[VectorSource], Awaitable[list[list[int]]]]
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
        return Usage(self.embedding.num_computed, 0, cached_tokens=self.embedding.num_cached)

    def usage_body(self) -> EmbeddingUsage:
        return EmbeddingUsage(self.usage.prompt_tokens, self.usage.total_tokens)


async def compute(
    exchange: Exchange, services: Services, encode: Encode, timings: Timings, body: EmbeddingFields
) -> tuple[Vectors, EmbeddingWork]:
    """The vectors of the request's texts, as the model pools them. Cancelling it drops what is not computed yet."""
    assert exchange.admission is not None  # set before the body is read
    lease = await services.models.pool.acquire(exchange.model)
    try:
        source = _source(lease, exchange, body)
        rows = await encode(source)
        await exchange.admission.begin_embedding(source, sum(map(len, rows)))
        work = EmbeddingWork(source.embed(rows), timings)
        exchange.answer = work
        try:
            vectors = await work.embedding.vectors()
        finally:
            await work.embedding.aclose()
        timings.ended = perf_counter()
        return vectors, work
    finally:
        lease.release()


def _source(lease: Lease, exchange: Exchange, body: EmbeddingFields) -> VectorSource:
    """The embedder of an embedding model, or the engine of another one."""
    if lease.is_embedding:
        return lease.embedder
    isolation_key = body.prompt_cache_isolation_key or exchange.headers.get(ISOLATION_HEADER, "")
    return EngineVectors(lease.engine, exchange.answer_id, exchange.caller.id, isolation_key, lease.adapter)


async def encode_texts(
    texts: Sequence[str], source: VectorSource, *, specials: bool = True, max_tokens: int | None = None
) -> list[list[int]]:
    """Texts as token ids, in a worker thread if they are long."""
    size = sum(map(len, texts))
    return await encode_off_loop(size, source.encoder.encode, texts, specials=specials, max_tokens=max_tokens)


def check_length(num_tokens: int, window: int, path: str, instead: str) -> None:
    """Raise ContextLengthExceeded for a text beyond the model's window. `instead` is the field that cuts it."""
    if num_tokens > window:
        raise ContextLengthExceeded(
            f"The prompt is too long: {num_tokens}, model maximum context length: {window}, field: '{path}'. Send"
            f" shorter texts, or {instead} to cut them.",
            param=path,
        )


def perf_metrics(work: EmbeddingWork) -> PerfMetrics:
    """The figures under Fireworks' names; times in seconds."""
    assert work.timings.ended is not None
    metrics: PerfMetrics = {"prompt-tokens": work.usage.prompt_tokens, "cached-prompt-tokens": work.usage.cached_tokens}
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
