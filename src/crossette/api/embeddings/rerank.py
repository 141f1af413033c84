"""POST /rerank: documents in the order of their similarity to a query."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from crossette.api.dialect import Dialect
from crossette.api.embeddings.run import (
    EmbeddingWork,
    check_length,
    compute,
    encode_texts,
    metric_headers,
    perf_metrics,
)
from crossette.api.embeddings.vectors import similarities
from crossette.api.exchange import Exchange
from crossette.api.guards.admission import Admission
from crossette.api.http import cancel_on_disconnect, json_response
from crossette.api.models import LocalModel, ServedModels, ranking_model
from crossette.api.request_body import read_json
from crossette.api.schema.rerank import Document, Ranked, Ranking, RerankRequest
from crossette.api.services import Services
from crossette.engine import VectorSource
from crossette.errors import InvalidRequest
from crossette.generation.answer import Timings
from crossette.pool.model import PooledModel


async def create_ranking(request: Request, services: Services, dialect: Dialect, admission: Admission) -> Response:
    """Answer one request: the cosine similarity of each document's vector to the query's, the highest first."""
    exchange = Exchange.of(request.scope)
    exchange.body = body = await read_json(request, RerankRequest, services.settings)
    timings = Timings()
    body.check(dialect)
    model = _model(body, services.models.only(exchange.caller.models))
    exchange.model = model.name

    async def encode(source: VectorSource) -> list[list[int]]:
        return await _tokens(body, source)

    vectors, work = await cancel_on_disconnect(request.receive, compute(exchange, services, encode, timings, body))
    scores = similarities(vectors[0], vectors[1:])
    order = sorted(range(len(scores)), key=lambda index: -scores[index])[: body.top_n]
    ranked = [_ranked(body, index, scores[index], dialect) for index in order]
    answer = _answer(exchange.answer_id, body.model or model.name, ranked, work, dialect)
    if body.perf_metrics_in_response:
        answer.perf_metrics = perf_metrics(work)
    return json_response(answer, headers=metric_headers(work, dialect))


def _model(body: RerankRequest, models: ServedModels) -> LocalModel:
    """The model of a request: the only embedding model if it names none."""
    if body.model is not None:
        return ranking_model(models.find(body.model))
    pooled = [model for name in models.names() if isinstance(model := models.find(name), PooledModel)]
    embedding = list(dict.fromkeys(model for model in pooled if model.info.embedding is not None))
    if len(embedding) == 1:
        return embedding[0]
    names = ", ".join(model.name for model in embedding) or "none"
    raise InvalidRequest(
        f"Field required, field: 'model'. It may be left out if one embedding model is served. Here: {names}.",
        param="model",
        code="missing_required_parameter",
    )


async def _tokens(body: RerankRequest, source: VectorSource) -> list[list[int]]:
    """The token ids of the query and of each document."""
    window = source.longest_text
    most = body.most_tokens(window)
    most_of_document = most if body.max_tokens_per_doc is None else min(body.max_tokens_per_doc, window)
    (query,) = await encode_texts([body.query], source, max_tokens=most)
    check_length(len(query), window, "query", "truncate_prompt_tokens")
    documents = await encode_texts(body.texts(), source, max_tokens=most_of_document)
    for index, document in enumerate(documents):
        check_length(len(document), window, body.path_of(index), "max_tokens_per_doc")
    return [query, *documents]


def _ranked(body: RerankRequest, index: int, score: float, dialect: Dialect) -> Ranked:
    ranked = Ranked(index, score)
    if body.return_documents is not False:
        text = body.texts()[index]
        ranked.document = Document(text) if dialect.ranking == "results" else text
    return ranked


def _answer(answer_id: str, model: str, ranked: list[Ranked], work: EmbeddingWork, dialect: Dialect) -> Ranking:
    usage = work.usage_body()
    if dialect.ranking == "results":
        return Ranking(id=answer_id, model=model, results=ranked, usage=usage)
    return Ranking(object="list", model=model, data=ranked, usage=usage)
