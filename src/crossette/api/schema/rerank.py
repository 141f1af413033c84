"""Wire types of POST /rerank."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from crossette.api.dialect import Dialect
from crossette.api.schema import embedding_fields
from crossette.api.schema.answer import PerfMetrics
from crossette.api.schema.embeddings import EmbeddingFields, EmbeddingUsage
from crossette.api.schema.table import Refused, Table
from crossette.errors import InvalidRequest


class Document(msgspec.Struct, forbid_unknown_fields=True):
    text: str


class RerankRequest(EmbeddingFields, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = embedding_fields.RERANK

    model: str | None = None
    query: str
    documents: list[str | Document]
    top_n: int | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: int | None = None
    # refused
    task: Refused = None
    rank_fields: Refused = None
    max_chunks_per_doc: Refused = None

    def check(self, dialect: Dialect) -> None:
        super().check(dialect)
        if self.max_tokens_per_doc is not None and self.truncate_prompt_tokens is not None:
            raise InvalidRequest(
                "max_tokens_per_doc and truncate_prompt_tokens both cut documents: send one of them.",
                param="max_tokens_per_doc",
                code="invalid_parameter_combination",
            )
        for path, text in [("query", self.query), *((self.path_of(i), text) for i, text in enumerate(self.texts()))]:
            if not text:
                raise InvalidRequest(f"{path} is an empty text: nothing is similar to it.", param=path)

    def texts(self) -> list[str]:
        """The documents as texts."""
        return [document if isinstance(document, str) else document.text for document in self.documents]

    def path_of(self, index: int) -> str:
        """The path of one of `texts()`."""
        return f"documents[{index}]" if isinstance(self.documents[index], str) else f"documents[{index}].text"


class Ranked(msgspec.Struct):
    """A document of a ranking."""

    index: int
    """In the documents of the request."""
    relevance_score: float
    document: str | Document | UnsetType = UNSET
    """A text under /inference/v1, an object under /v1."""


class Ranking(msgspec.Struct, kw_only=True):
    """Documents, the most relevant first: as `results` under /v1, as `data` under /inference/v1."""

    id: str | UnsetType = UNSET
    object: str | UnsetType = UNSET
    model: str
    results: list[Ranked] | UnsetType = UNSET
    data: list[Ranked] | UnsetType = UNSET
    usage: EmbeddingUsage
    perf_metrics: PerfMetrics | UnsetType = UNSET
