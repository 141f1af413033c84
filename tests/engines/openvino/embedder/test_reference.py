"""Vectors compared with a plain implementation of the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crossette.engines.openvino.embedder.bert import BertShape, build_bert
from crossette.engines.openvino.embedder.embedder import OpenVINOEmbedder
from crossette.engines.openvino.embedder.model import EncoderModel
from crossette.errors import ModelError
from crossette.models.store import StoredModel
from support.bert_reference import Array, cosine, hidden_states
from support.embedding_calls import vectors_of
from support.exported_encoder import write_exported
from support.tiny_encoder import write_tiny_encoder

TEXTS = [
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "Straße, naïve café, 東京, [SEP] and 🙂: text that is not plain English.",
    " ".join(["A long text about the memory of a server and its models."] * 15),
]
TINY = [2, 5, 6, 7, 15, 3]


def test_the_catalogues_model_is_the_reference(embedder: OpenVINOEmbedder, embedding_model: StoredModel) -> None:
    """The promise is a cosine of 1 - 1e-3; rounding alone is a hundred thousand times less."""
    rows = embedder.encoder.encode(TEXTS)
    for row, vector in zip(rows, vectors_of(embedder, rows), strict=True):
        expected = hidden_states(embedding_model.path, row).mean(axis=0)
        assert cosine(vector, expected) > 1 - 1e-8
        assert np.abs(vector - expected).max() < 1e-5


def test_similar_texts_are_near(embedder: OpenVINOEmbedder) -> None:
    rows = embedder.encoder.encode(["A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose again."])
    cat, kitten, rates = vectors_of(embedder, rows)

    assert cosine(cat, kitten) > 0.5 > 0.2 > cosine(cat, rates)


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
@pytest.mark.parametrize(("dtype", "prefix"), [("F32", ""), ("F16", "encoder_model."), ("BF16", "roberta.")])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_families_and_types_of_weights(tmp_path: Path, family: str, dtype: str, prefix: str, activation: str) -> None:
    folder = write_tiny_encoder(
        tmp_path, model_type=family, dtype=dtype, prefix=prefix, hidden_act=activation, pad_token_id=1
    )
    model = EncoderModel(folder, threads=1)

    assert np.abs(model.forward(np.array([TINY]))[0] - hidden_states(folder, TINY)).max() < 1e-5


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean_tokens", lambda hidden: hidden.mean(axis=0)),
        ("cls_token", lambda hidden: hidden[0]),
        ("lasttoken", lambda hidden: hidden[-1]),
    ],
)
def test_pooling_is_that_of_the_models_files(
    tmp_path: Path, load: Callable[[Path], OpenVINOEmbedder], pooling: str, expected: Callable[[Array], Array]
) -> None:
    folder = write_tiny_encoder(tmp_path, pooling=pooling)

    (vector,) = vectors_of(load(folder), [TINY])

    assert np.abs(vector - expected(hidden_states(folder, TINY))).max() < 1e-5


def test_a_model_that_does_not_declare_its_pooling_has_a_warning(
    tmp_path: Path, load: Callable[[Path], OpenVINOEmbedder]
) -> None:
    embedder = load(write_tiny_encoder(tmp_path, pooling=None))

    assert "does not declare how it pools" in embedder.warnings[0]


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path)
    shape = BertShape(layers=3, heads=4, width=32, epsilon=1e-12, activation="gelu", first_position=0)

    with pytest.raises(ModelError, match=r"has no tensor encoder\.layer\.2\.attention"):
        build_bert(folder / "model.safetensors", shape)


@pytest.mark.parametrize("damage", [b"", b"short", b"\xff" * 100])
def test_a_damaged_file_is_an_error(tmp_path: Path, damage: bytes) -> None:
    folder = write_tiny_encoder(tmp_path)
    (folder / "model.safetensors").write_bytes(damage)

    with pytest.raises(ModelError, match="is damaged"):
        EncoderModel(folder, threads=1)


def test_a_file_that_is_cut_is_an_error(tmp_path: Path) -> None:
    weights = write_tiny_encoder(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    with pytest.raises(ModelError, match="is damaged: its size"):
        EncoderModel(tmp_path, threads=1)


@pytest.mark.parametrize("output", ["last_hidden_state", "token_embeddings"])
def test_an_exported_graph(tmp_path: Path, load: Callable[[Path], OpenVINOEmbedder], output: str) -> None:
    """Its inputs are those that optimum exports."""
    folder = write_tiny_encoder(tmp_path)
    write_exported(folder, output)
    expected = hidden_states(folder, TINY).mean(axis=0)
    (folder / "model.safetensors").unlink()

    (vector,) = vectors_of(load(folder), [TINY])

    assert np.abs(vector - expected).max() < 1e-5


def test_a_graph_with_other_inputs_is_an_error(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path)
    write_exported(folder, "last_hidden_state", mask="beam_idx")

    with pytest.raises(ModelError, match="has the inputs beam_idx"):
        EncoderModel(folder, threads=1)
