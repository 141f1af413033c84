"""Texts as token ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossette.engines.openvino.embedder.embedder import OpenVINOEmbedder
from crossette.engines.openvino.embedder.text import FastTextEncoder
from crossette.errors import ModelError
from support.tiny_encoder import WORDS, write_tiny_encoder


@pytest.fixture
def encoder(tmp_path: Path) -> FastTextEncoder:
    return FastTextEncoder(write_tiny_encoder(tmp_path))


def words(ids: list[int]) -> list[str]:
    return [WORDS[token] for token in ids]


def test_a_text_has_the_models_special_tokens(encoder: FastTextEncoder) -> None:
    assert words(encoder.encode(["the cats"])[0]) == ["[CLS]", "the", "cat", "##s", "[SEP]"]
    assert words(encoder.encode(["the cats"], specials=False)[0]) == ["the", "cat", "##s"]


def test_control_tokens_in_a_text_are_text(encoder: FastTextEncoder) -> None:
    assert words(encoder.encode(["[SEP] a"])[0]).count("[SEP]") == 1


def test_no_text_is_cut_unless_that_is_asked(encoder: FastTextEncoder) -> None:
    """The file has a truncation to eight tokens."""
    assert len(encoder.encode(["a " * 30])[0]) == 32


@pytest.mark.parametrize("specials", [True, False])
@pytest.mark.parametrize("most", [1, 2, 3, 9, 32, 50])
def test_a_cut_text_keeps_its_beginning(encoder: FastTextEncoder, specials: bool, most: int) -> None:
    whole, cut = (encoder.encode(["a b c " * 10], specials=specials, max_tokens=n)[0] for n in (None, most))
    added = 2 if specials else 0

    assert len(cut) == max(added, min(most, len(whole)))
    inner = cut[1:-1] if specials else cut
    assert inner == (whole[1:] if specials else whole)[: len(inner)]


def test_the_ids_of_published_text(embedder: OpenVINOEmbedder) -> None:
    """As the model's own documentation encodes it."""
    assert embedder.encoder.encode(["Hello, world! Straße 東京"]) == [
        [101, 7592, 1010, 2088, 999, 2358, 27807, 1879, 1755, 102]
    ]


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path)
    (folder / "tokenizer.json").write_text("{}")

    with pytest.raises(ModelError, match=r"Can't read .*tokenizer\.json"):
        FastTextEncoder(folder)
