"""POST /embeddings over a real socket."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import openai
import pytest
from openai.types import CreateEmbeddingResponse

from crossette.api.embeddings.vectors import similarities, unit
from crossette.api.schema.embedding_fields import EMBEDDINGS, MAX_INPUTS, RERANK
from crossette.api.schema.embeddings import EmbeddingRequest
from crossette.api.schema.rerank import RerankRequest
from crossette.pool.pool import ModelPool
from crossette.testing.fake_engine import FakeEngine
from support.api_server import LIMIT_S, ApiServer, parrot, serving, strictly
from support.embedders import Embedders, error_of
from support.embedding_calls import vectors_of
from support.tiny_encoder import POSITIONS, WIDTH, WORDS

TEXTS = ["the cat sat", "a b c", "cats", "j"]
Vectors = npt.NDArray[np.float32]


def embed(api: ApiServer, prefix: str, text: object, **fields: object) -> Vectors:
    answer = api.post(f"{prefix}/embeddings", {"model": "tiny", "input": text, **fields})
    answer.raise_for_status()
    return np.array([item["embedding"] for item in answer.json()["data"]], np.float32)


def expected(embedders: Embedders, texts: list[str], name: str = "tiny") -> Vectors:
    embedder = embedders.by_name[name]
    return vectors_of(embedder, embedder.encoder.encode(texts))


def test_the_answer(server: ApiServer, embedders: Embedders, prefix: str) -> None:
    raw = server.post(f"{prefix}/embeddings", {"model": "tiny", "input": TEXTS}).json()

    num_tokens = sum(map(len, embedders.tiny.encoder.encode(TEXTS)))
    vectors = unit(expected(embedders, TEXTS))
    assert raw == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector.tolist()}
            for index, vector in enumerate(vectors)
        ],
        "model": "tiny",
        "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens},
    }
    assert strictly(CreateEmbeddingResponse, raw) == set()


def test_the_four_forms_of_input(server: ApiServer, embedders: Embedders, prefix: str) -> None:
    rows = embedders.tiny.encoder.encode(TEXTS)
    together = embed(server, prefix, TEXTS)

    assert np.array_equal(embed(server, prefix, rows), together)
    for index, text in enumerate(TEXTS):
        assert np.array_equal(embed(server, prefix, text), together[[index]])
        assert np.array_equal(embed(server, prefix, rows[index]), together[[index]])
    assert np.array_equal(embed(server, prefix, [float(token) for token in rows[0]]), together[[0]])


def test_base64_are_the_same_numbers(server: ApiServer, prefix: str) -> None:
    body = {"model": "tiny", "input": TEXTS, "encoding_format": "base64"}
    data = server.post(f"{prefix}/embeddings", body).json()["data"]

    decoded = [np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in data]
    assert np.array_equal(np.array(decoded), embed(server, prefix, TEXTS))


@pytest.mark.parametrize("given", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
def test_the_openai_sdk(server: ApiServer, prefix: str, given: dict[str, Any]) -> None:
    """It asks for base64 unless it is told otherwise, and decodes that."""
    answer = server.sdk(prefix).embeddings.create(model="text-embedding-3-small", input=TEXTS, **given)

    if given.get("encoding_format") != "base64":
        found = np.array([item.embedding for item in answer.data], np.float32)
        assert np.array_equal(found, embed(server, prefix, TEXTS))
    assert (answer.model, answer.usage.prompt_tokens > 0) == ("text-embedding-3-small", True)


def test_errors_of_the_openai_sdk(server: ApiServer) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        server.sdk("/v1").embeddings.create(model="tiny", input="a " * 100)

    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")


# --- inputs ---


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ("", "input"),
        ([], "input"),
        (["a", ""], "input[1]"),
        ([[]], "input[0]"),
        ([[5], []], "input[1]"),
        (["a", 1], "input[1]"),
        ([5, [5]], "input[1]"),
        ([5, -1], "input[1]"),
        ([5, len(WORDS)], "input[1]"),
        ([[5], [5, 10**9]], "input[1][1]"),
        ([5.5], "input[0]"),
        (None, "input"),
        ({"text": "a"}, "input"),
        ([{"text": "a"}], "input[0]"),
        ("a " * POSITIONS, "input"),
        (["a", "a " * POSITIONS], "input[1]"),
        ([5] * (POSITIONS + 1), "input"),
        (["a"] * (MAX_INPUTS + 1), "input"),
    ],
)
def test_invalid_input_is_named(server: ApiServer, prefix: str, given: object, param: str) -> None:
    status, found, message = error_of(server.post(f"{prefix}/embeddings", {"model": "tiny", "input": given}))

    assert (status, found) == (400, param)
    assert "input" in message


def test_the_largest_request(server: ApiServer, prefix: str) -> None:
    assert embed(server, prefix, ["a"] * MAX_INPUTS).shape == (MAX_INPUTS, WIDTH)


def test_no_text_is_cut_unless_that_is_asked(server: ApiServer, embedders: Embedders, prefix: str) -> None:
    long = "a b c d " * 20
    status, _, message = error_of(server.post(f"{prefix}/embeddings", {"model": "tiny", "input": long}))
    assert (status, "The prompt is too long: 82, model maximum context length: 40" in message) == (400, True)

    for most, kept in ((-1, POSITIONS), (POSITIONS, POSITIONS), (6, 6)):
        answer = server.post(f"{prefix}/embeddings", {"model": "tiny", "input": long, "truncate_prompt_tokens": most})
        assert answer.json()["usage"]["prompt_tokens"] == kept
    cut = embed(server, prefix, long, truncate_prompt_tokens=6)
    assert np.array_equal(cut, embed(server, prefix, "a b c d"))
    ids = embedders.tiny.encoder.encode([long])[0]
    assert np.array_equal(embed(server, prefix, ids, truncate_prompt_tokens=4), embed(server, prefix, ids[:4]))


@pytest.mark.parametrize("most", [-2, 0, POSITIONS + 1])
def test_limits_of_truncation(server: ApiServer, prefix: str, most: int) -> None:
    body = {"model": "tiny", "input": "a", "truncate_prompt_tokens": most}

    assert error_of(server.post(f"{prefix}/embeddings", body))[:2] == (400, "truncate_prompt_tokens")


def test_special_tokens_can_be_left_out(server: ApiServer, prefix: str) -> None:
    without = embed(server, prefix, "a b", add_special_tokens=False)

    assert np.array_equal(without, embed(server, prefix, [WORDS.index("a"), WORDS.index("b")]))
    status, param, _ = error_of(
        server.post(f"{prefix}/embeddings", {"model": "tiny", "input": [" "], "add_special_tokens": False})
    )
    assert (status, param) == (400, "input[0]")


# --- what vectors are ---


@pytest.mark.parametrize("name", ["tiny", "raw"])
@pytest.mark.parametrize("normalize", [None, True, False])
def test_normalisation(server: ApiServer, embedders: Embedders, prefix: str, name: str, normalize: bool | None) -> None:
    pooled = expected(embedders, TEXTS, name)
    is_unit = normalize if normalize is not None else prefix == "/v1" or name == "tiny"

    found = embed(server, prefix, TEXTS, model=name, normalize=normalize)

    assert np.array_equal(found, unit(pooled) if is_unit else pooled)
    assert (np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-6) == is_unit


def test_shorter_vectors_are_scaled_again(server: ApiServer, embedders: Embedders, prefix: str) -> None:
    pooled = expected(embedders, TEXTS, "shorter")

    assert np.array_equal(embed(server, prefix, TEXTS, model="shorter", dimensions=8), unit(pooled[:, :8]))
    raw = embed(server, prefix, TEXTS, model="shorter", dimensions=8, normalize=False)
    assert np.array_equal(raw, pooled[:, :8])


@pytest.mark.parametrize(
    ("name", "dimensions", "status"),
    [
        ("tiny", WIDTH, 200),
        ("tiny", WIDTH - 1, 400),
        ("tiny", WIDTH + 1, 400),
        ("shorter", 1, 200),
        ("shorter", 0, 400),
        ("shorter", WIDTH + 1, 400),
        ("sizes", 8, 200),
        ("sizes", WIDTH, 200),
        ("sizes", 9, 400),
    ],
)
def test_dimensions_are_those_that_the_model_allows(
    server: ApiServer, prefix: str, name: str, dimensions: int, status: int
) -> None:
    answer = server.post(f"{prefix}/embeddings", {"model": name, "input": "a", "dimensions": dimensions})

    assert error_of(answer)[:2] == (status, None if status == 200 else "dimensions")
    if status == 200:
        assert len(answer.json()["data"][0]["embedding"]) == dimensions


def test_a_vector_of_zeros_stays_one() -> None:
    zeros = np.zeros((1, 4), np.float32)

    assert np.array_equal(unit(zeros), zeros)
    assert similarities(zeros[0], zeros) == [0.0]


# --- fields and models ---


@pytest.mark.parametrize(("wire", "table"), [(EmbeddingRequest, EMBEDDINGS), (RerankRequest, RERANK)])
def test_a_wire_type_and_its_table_have_the_same_fields(wire: Any, table: Any) -> None:
    assert set(wire.__struct_fields__) == set(table)


REQUIRED: dict[str, dict[str, Any]] = {
    "/embeddings": {"model": "tiny", "input": "a"},
    "/rerank": {"model": "tiny", "query": "a", "documents": ["b"]},
}
TABLES = {"/embeddings": EMBEDDINGS, "/rerank": RERANK}
REFUSED = [(path, name) for path, table in TABLES.items() for name in table.refused]
OTHERS = [(path, name) for path, table in TABLES.items() for name in table if name not in REQUIRED[path]]


@pytest.mark.parametrize(("path", "name"), REFUSED)
def test_unsupported_fields_are_rejected_by_name(server: ApiServer, prefix: str, path: str, name: str) -> None:
    answer = server.post(prefix + path, REQUIRED[path] | {name: {"other": 1}})

    status, param, message = error_of(answer)
    assert (status, param) == (400, name)
    assert name in message
    for neutral in TABLES[path][name].neutral:
        assert error_of(server.post(prefix + path, REQUIRED[path] | {name: neutral}))[0] == 200


@pytest.mark.parametrize(("path", "name"), OTHERS)
def test_null_is_the_same_as_leaving_a_field_out(server: ApiServer, prefix: str, path: str, name: str) -> None:
    def answered(**sent: object) -> Any:
        raw = server.post(prefix + path, REQUIRED[path] | sent).json()
        raw.pop("id", None)
        return raw

    assert answered(**{name: None}) == answered()
    default = TABLES[path][name].default
    if default is not None and not isinstance(default, str):
        assert answered(**{name: default}) == answered()


@pytest.mark.parametrize("path", TABLES)
def test_unknown_fields_are_rejected(server: ApiServer, prefix: str, path: str) -> None:
    assert error_of(server.post(prefix + path, REQUIRED[path] | {"inputs": 1}))[:2] == (400, "inputs")


def test_a_model_that_generates_gives_its_last_hidden_state(server: ApiServer, prefix: str) -> None:
    texts = ["abc", "the cat"]
    states = np.array([np.bincount([byte % 8 for byte in text.encode()], minlength=8) for text in texts], np.float32)
    raw = {"model": "fake", "input": texts}

    answer = server.post(f"{prefix}/embeddings", raw).json()
    vectors = np.array([item["embedding"] for item in answer["data"]], np.float32)
    assert np.array_equal(vectors, unit(states) if prefix == "/v1" else states)
    assert answer["usage"] == {"prompt_tokens": 10, "total_tokens": 10}
    assert np.array_equal(embed(server, prefix, texts, model="fake", normalize=False), states)
    assert np.array_equal(embed(server, prefix, "abcd", model="fake", truncate_prompt_tokens=3)[0], vectors[0])


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"dimensions": 8}, "dimensions"), ({"input": "x" * 4096}, "input"), ({"input": [[5, 10**6]]}, "input[0][1]")],
)
def test_what_a_model_that_generates_cannot(
    server: ApiServer, prefix: str, fields: dict[str, object], param: str
) -> None:
    answer = server.post(f"{prefix}/embeddings", {"model": "fake", "input": "a"} | fields)

    assert error_of(answer)[:2] == (400, param)


def test_a_model_that_generates_does_not_rank(server: ApiServer, prefix: str) -> None:
    status, param, message = error_of(server.post(f"{prefix}/rerank", REQUIRED["/rerank"] | {"model": "fake"}))

    assert (status, param) == (400, "model")
    assert "was not trained to compare texts" in message


@pytest.mark.parametrize("path", TABLES)
def test_an_unknown_model_is_not_found(server: ApiServer, prefix: str, path: str) -> None:
    assert error_of(server.post(prefix + path, REQUIRED[path] | {"model": "other"}))[:2] == (404, "model")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("path", "body"),
    [("/completions", {"prompt": "a"}), ("/chat/completions", {"messages": [{"role": "user", "content": "a"}]})],
)
def test_an_embedding_model_does_not_generate(
    server: ApiServer, prefix: str, path: str, body: dict[str, object], stream: bool
) -> None:
    status, param, message = error_of(server.post(prefix + path, {"model": "tiny", "stream": stream, **body}))

    assert (status, param) == (400, "model")
    assert f"{prefix}/embeddings" in message


def test_the_list_of_models_tells_which_compute_vectors(server: ApiServer, prefix: str) -> None:
    entries = {entry["id"]: entry for entry in server.get(f"{prefix}/models").json()["data"]}

    assert entries["tiny"]["embedding_dimensions"] == WIDTH
    assert entries["tiny"]["context_length"] == POSITIONS
    assert "embedding_dimensions" not in entries["fake"]
    if prefix == "/inference/v1":
        assert (entries["tiny"]["kind"], entries["tiny"]["supports_chat"]) == ("EMBEDDING_MODEL", False)


@pytest.mark.parametrize(
    "name", ["accounts/fireworks/models/tiny", "fireworks/tiny", "TINY", "accounts/me/models/tiny#me/d1"]
)
def test_names_of_models_are_resolved_and_repeated(server: ApiServer, prefix: str, name: str) -> None:
    assert server.post(f"{prefix}/embeddings", {"model": name, "input": "a"}).json()["model"] == name


def test_performance_figures(server: ApiServer, prefix: str) -> None:
    answer = server.post(f"{prefix}/embeddings", REQUIRED["/embeddings"] | {"perf_metrics_in_response": True})

    metrics = answer.json()["perf_metrics"]
    assert metrics["prompt-tokens"] == 3
    if prefix == "/v1":
        assert answer.headers["openai-processing-ms"].isdigit()
    else:
        assert answer.headers["fireworks-prompt-tokens"] == "3"
        assert "fireworks-server-processing-time" in answer.headers


# --- disconnects and the queue ---


def test_texts_are_not_computed_for_a_client_that_left(
    embedders: Embedders, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = embedders.tiny
    entered, opened = threading.Event(), threading.Event()
    forward = embedder._model.forward

    def held(rows: npt.NDArray[np.int64]) -> Vectors:
        entered.set()
        assert opened.wait(LIMIT_S)
        return forward(rows)

    monkeypatch.setattr(embedder._model, "forward", held)
    steps = embedder.stats().steps
    fake = FakeEngine(parrot)
    with serving(fake, pool=ModelPool.of({"fake": fake, "tiny": embedder})) as api:
        lengths = [[5] * length for length in range(1, 20)]
        connection = api.begin(f"{prefix}/embeddings", {"model": "tiny", "input": lengths})
        assert entered.wait(LIMIT_S)
        connection.close()
        api.observed.wait_for(1)
        opened.set()
        api.post(f"{prefix}/embeddings", {"model": "tiny", "input": "a"}).raise_for_status()
        api.observed.wait_for(2)

    assert [record.status for record in api.observed.records] == [499, 200]
    assert embedder.stats().steps - steps == 2


def test_a_failed_step_is_an_error_without_details(
    server: ApiServer, embedders: Embedders, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(rows: object) -> Vectors:
        raise RuntimeError("the kernel at /secret broke")

    with monkeypatch.context() as patch:
        patch.setattr(embedders.tiny._model, "forward", fail)
        answer = server.post(f"{prefix}/embeddings", REQUIRED["/embeddings"])
    assert answer.status_code == 500
    assert "secret" not in json.dumps(answer.json())
    assert server.post(f"{prefix}/embeddings", REQUIRED["/embeddings"]).status_code == 200
