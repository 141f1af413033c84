"""POST /rerank over a real socket."""

from __future__ import annotations

from typing import Any

import pytest

from crossette.api.embeddings.vectors import similarities
from crossette.pool.pool import ModelPool
from support.api_server import ApiServer, serving
from support.embedders import Embedders, error_of
from support.embedding_calls import vectors_of

QUERY, DOCUMENTS = "the cat sat", ["j", "a b c", "the cats", "the cat sat"]


def ranking(api: ApiServer, prefix: str, **fields: object) -> Any:
    answer = api.post(f"{prefix}/rerank", {"model": "tiny", "query": QUERY, "documents": DOCUMENTS, **fields})
    answer.raise_for_status()
    return answer.json()


def ranked(raw: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = raw["results"] if "results" in raw else raw["data"]
    return found


def test_the_shape_of_each_dialect(server: ApiServer, embedders: Embedders) -> None:
    encoder = embedders.tiny.encoder
    num_tokens = sum(map(len, encoder.encode([QUERY, *DOCUMENTS])))
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}

    cohere, fireworks = ranking(server, "/v1"), ranking(server, "/inference/v1")

    assert cohere.pop("id").startswith("rerank-")
    assert cohere.keys() == {"model", "results", "usage"}
    assert fireworks.keys() == {"object", "model", "data", "usage"}
    assert (cohere["usage"], fireworks["usage"], fireworks["object"]) == (usage, usage, "list")
    assert [entry["document"] for entry in cohere["results"]] == [
        {"text": entry["document"]} for entry in fireworks["data"]
    ]


def test_scores_are_cosines_of_the_vectors(server: ApiServer, embedders: Embedders, prefix: str) -> None:
    vectors = vectors_of(embedders.tiny, embedders.tiny.encoder.encode([QUERY, *DOCUMENTS]))
    expected = similarities(vectors[0], vectors[1:])

    found = ranked(ranking(server, prefix))

    assert {entry["index"]: entry["relevance_score"] for entry in found} == dict(enumerate(expected))
    assert [entry["relevance_score"] for entry in found] == sorted(expected, reverse=True)
    assert (found[0]["index"], round(found[0]["relevance_score"], 6)) == (3, 1.0)


def test_top_n_and_documents(server: ApiServer, prefix: str) -> None:
    whole = ranked(ranking(server, prefix))

    assert ranked(ranking(server, prefix, top_n=2)) == whole[:2]
    assert ranked(ranking(server, prefix, top_n=99)) == whole
    bare = ranked(ranking(server, prefix, return_documents=False))
    assert bare == [{key: entry[key] for key in ("index", "relevance_score")} for entry in whole]


def test_documents_may_be_objects(server: ApiServer, prefix: str) -> None:
    objects = ranked(ranking(server, prefix, documents=[{"text": text} for text in DOCUMENTS]))

    assert objects == ranked(ranking(server, prefix))


def test_equal_scores_keep_the_order_of_the_documents(server: ApiServer, prefix: str) -> None:
    found = ranked(ranking(server, prefix, documents=["a", "a", "a"]))

    assert [entry["index"] for entry in found] == [0, 1, 2]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": "a " * 50}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": ["a", ""]}, "documents[1]"),
        ({"documents": ["a", {"text": ""}]}, "documents[1].text"),
        ({"documents": ["a", {"title": "b"}]}, "documents[1].title"),
        ({"documents": ["a", "a " * 50]}, "documents[1]"),
        ({"documents": "a"}, "documents"),
        ({"documents": ["a"] * 2048}, "documents"),
        ({"top_n": 0}, "top_n"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc"),
        ({"max_tokens_per_doc": 5, "truncate_prompt_tokens": 5}, "max_tokens_per_doc"),
        ({"model": None}, "model"),
    ],
)
def test_invalid_requests_are_named(server: ApiServer, prefix: str, fields: dict[str, object], param: str) -> None:
    body = {"model": "tiny", "query": QUERY, "documents": DOCUMENTS} | fields

    assert error_of(server.post(f"{prefix}/rerank", body))[:2] == (400, param)


def test_documents_are_cut_if_that_is_asked(server: ApiServer, prefix: str) -> None:
    long = "a b c d " * 20
    short = ranking(server, prefix, documents=["a b"])

    assert ranking(server, prefix, documents=[long], max_tokens_per_doc=4)["usage"] == short["usage"]
    cut = ranking(server, prefix, query=long, documents=[long], truncate_prompt_tokens=4)
    assert cut["usage"]["prompt_tokens"] == 8


def test_the_model_may_be_left_out_if_there_is_one(embedders: Embedders, prefix: str) -> None:
    with serving(pool=ModelPool.of({"tiny": embedders.tiny}), aliases={"other": "tiny"}) as api:
        answer = api.post(f"{prefix}/rerank", {"query": QUERY, "documents": DOCUMENTS})

    assert (answer.status_code, answer.json()["model"]) == (200, "tiny")
