"""POST /embeddings: texts to vectors."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from crossette.api.dialect import Dialect
from crossette.api.embeddings.run import check_length, compute, encode_texts, metric_headers, perf_metrics
from crossette.api.embeddings.vectors import Vectors, as_base64, shortened, unit
from crossette.api.exchange import Exchange
from crossette.api.guards.admission import Admission
from crossette.api.http import cancel_on_disconnect, json_response
from crossette.api.models import local_model
from crossette.api.request_body import read_json
from crossette.api.schema.common import check_token_ids
from crossette.api.schema.embeddings import EmbeddingItem, EmbeddingList, EmbeddingRequest
from crossette.api.services import Services
from crossette.engine import VectorSource
from crossette.generation.answer import Timings
from crossette.types import EmbeddingFacts


async def create_embeddings(request: Request, services: Services, dialect: Dialect, admission: Admission) -> Response:
    """Answer one request. Vectors are in the order of the inputs."""
    exchange = Exchange.of(request.scope)
    exchange.body = body = await read_json(request, EmbeddingRequest, services.settings)
    timings = Timings()
    body.check(dialect)
    inputs = body.inputs()
    model = local_model(services.models.only(exchange.caller.models).find(body.model))
    facts = model.info.embedding
    body.check_dimensions(body.model, facts)
    exchange.model = model.name

    async def encode(source: VectorSource) -> list[list[int]]:
        return await _tokens(body, inputs, source)

    vectors, work = await cancel_on_disconnect(request.receive, compute(exchange, services, encode, timings, body))
    answer = EmbeddingList(data=_items(body, vectors, facts, dialect), model=body.model, usage=work.usage_body())
    if body.perf_metrics_in_response:
        answer.perf_metrics = perf_metrics(work)
    return json_response(answer, headers=metric_headers(work, dialect))


async def _tokens(body: EmbeddingRequest, inputs: list[str | list[int]], source: VectorSource) -> list[list[int]]:
    """The token ids of each input, cut if the request says so."""
    most = body.most_tokens(source.longest_text)
    if isinstance(inputs[0], str):
        texts = [text for text in inputs if isinstance(text, str)]
        specials = body.add_special_tokens is not False
        rows = await encode_texts(texts, source, specials=specials, max_tokens=most)
    else:
        rows = [list(ids)[:most] for ids in inputs if isinstance(ids, list)]
        for index, row in enumerate(rows):
            check_token_ids(body.path_of(index), row, source.info)
    for index, row in enumerate(rows):
        check_length(len(row), source.longest_text, body.path_of(index), "truncate_prompt_tokens")
    return rows


def _items(
    body: EmbeddingRequest, vectors: Vectors, facts: EmbeddingFacts | None, dialect: Dialect
) -> list[EmbeddingItem]:
    """The vectors as the request wants them."""
    vectors = shortened(vectors, body.dimensions)
    default = dialect.unit_vectors or (facts is not None and facts.normalized)
    if default if body.normalize is None else body.normalize:
        vectors = unit(vectors)
    if body.encoding_format == "base64":
        return [EmbeddingItem(index, as_base64(vector)) for index, vector in enumerate(vectors)]
    return [EmbeddingItem(index, vector.tolist()) for index, vector in enumerate(vectors)]
