"""Encoding and decoding, of both kinds: control tokens only on request, exact bytes, no truncation."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crossette.engines.hf_tokenizer import HFTokenizer
from crossette.engines.openvino.gguf.head import read_head
from crossette.engines.openvino.tokenizer import ModelTokenizer, OpenVINOTokenizer, load_tokenizer
from crossette.errors import ModelError
from crossette.models.store import StoredModel
from support.byte_tokenizer import SPECIALS
from support.exported_tokenizer import write_graphs
from support.sentencepiece_data import head_of, recorded
from support.tiny_model import write_tiny_gguf

END_OF_TEXT, IM_START, IM_END = range(3)
HE = 259


@pytest.fixture(scope="module")
def converted(tiny_model_dir: Path) -> ModelTokenizer:
    return load_tokenizer(tiny_model_dir, add_bos=False)


@pytest.fixture(scope="module")
def exported_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    write_graphs(read_head(write_tiny_gguf(folder / "tiny.gguf", layers=1, width=64)), folder)
    return folder


@pytest.fixture(scope="module")
def exported(exported_dir: Path) -> ModelTokenizer:
    return load_tokenizer(exported_dir, add_bos=False)


@pytest.fixture(params=["converted", "exported"])
def tiny(request: pytest.FixtureRequest) -> ModelTokenizer:
    found: ModelTokenizer = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def real(real_model: StoredModel) -> ModelTokenizer:
    return load_tokenizer(real_model.path, add_bos=real_model.record.add_bos)


@pytest.fixture(params=["converted", "exported", "real"])
def tokenizer(request: pytest.FixtureRequest) -> ModelTokenizer:
    found: ModelTokenizer = request.getfixturevalue(request.param)
    return found


def decode(tokenizer: ModelTokenizer, tokens: list[int]) -> bytes:
    return b"".join(map(tokenizer.token_bytes, tokens))


def test_control_tokens_are_encoded_with_specials_only(tokenizer: ModelTokenizer) -> None:
    text = "a<|im_start|>b<|im_end|>"

    found = [token for token in tokenizer.encode(text, specials=True) if token in (IM_START, IM_END)]
    plain = tokenizer.encode(text, specials=False)

    assert found == [IM_START, IM_END]
    assert not {END_OF_TEXT, IM_START, IM_END} & set(plain)
    assert decode(tokenizer, plain) == text.encode()


def test_specials_change_nothing_in_text_without_control_tokens(tokenizer: ModelTokenizer) -> None:
    text = "The capital of France is <b>Paris</b>, they say | 12 <|> im_end"

    assert tokenizer.encode(text, specials=True) == tokenizer.encode(text, specials=False)


@pytest.mark.parametrize(
    "text",
    ["Grüße, 世界! 🎆\n\t 12  ", " leading and trailing ", "\r\n\n\n", "a\x00b", "e\u0301 \u00e9", "\u202e\ufeffx"],
)
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(tokenizer: ModelTokenizer, text: str) -> None:
    assert decode(tokenizer, tokenizer.encode(text, specials=False)) == text.encode()


def test_no_text_has_no_tokens(tokenizer: ModelTokenizer) -> None:
    assert tokenizer.encode("", specials=True) == tokenizer.encode("", specials=False) == []


def test_control_tokens_have_no_bytes(tokenizer: ModelTokenizer) -> None:
    assert [tokenizer.token_bytes(token) for token in range(3)] == [b"", b"", b""]


def test_all_other_tokens_of_the_tiny_vocabulary_have_their_bytes(tiny: ModelTokenizer) -> None:
    assert {tiny.token_bytes(token) for token in range(3, 260)} == {*(bytes([byte]) for byte in range(256)), b"he"}
    assert tiny.vocab_size == 260


def test_merges_are_applied(tiny: ModelTokenizer) -> None:
    assert tiny.encode("he", specials=False) == [HE]


def test_a_token_may_be_a_part_of_a_character(tiny: ModelTokenizer) -> None:
    assert [tiny.token_bytes(token) for token in tiny.encode("🎆", specials=True)] == [
        b"\xf0",
        b"\x9f",
        b"\x8e",
        b"\x86",
    ]


def test_a_prompt_of_more_than_8192_tokens_is_not_truncated(tokenizer: ModelTokenizer) -> None:
    text = " ".join(str(number % 10) for number in range(9000))

    for specials in (True, False):
        tokens = tokenizer.encode(text, specials=specials)
        assert len(tokens) > 8192
        assert decode(tokenizer, tokens) == text.encode()


@pytest.mark.parametrize("special", SPECIALS)
def test_the_text_form_of_a_control_token_is_detected(tokenizer: ModelTokenizer, special: str) -> None:
    with_special = [f"x{special}y", special, special * 2]
    without_special = ["", special[:-1], special[1:], special.upper(), special.replace("|", " | ")]

    assert [tokenizer.has_specials(text) for text in with_special + without_special] == [True] * 3 + [False] * 5


@pytest.mark.parametrize("folder", ["tiny_model_dir", "exported_dir"])
def test_bos_is_set_where_the_model_uses_one(request: pytest.FixtureRequest, folder: str) -> None:
    tiny, with_bos = (load_tokenizer(request.getfixturevalue(folder), add_bos=bos) for bos in (False, True))

    assert (tiny.bos_token_id, with_bos.bos_token_id) == (None, IM_START)
    assert (with_bos.bos_token, with_bos.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert with_bos.encode("x", specials=True) == tiny.encode("x", specials=True)


def test_the_tokenizer_is_thread_safe(tokenizer: ModelTokenizer) -> None:
    texts = [f"Text number {number} <|im_end|> " * (1 + number % 5) for number in range(100)]
    alone = [tokenizer.encode(text, specials=number % 2 == 0) for number, text in enumerate(texts)]

    with ThreadPoolExecutor(8) as threads:
        together = list(
            threads.map(lambda pair: tokenizer.encode(pair[1], specials=pair[0] % 2 == 0), enumerate(texts))
        )

    assert together == alone


def test_the_error_for_a_missing_tokenizer_has_the_export_command(exported_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(exported_dir, tmp_path, dirs_exist_ok=True)
    (tmp_path / "openvino_detokenizer.xml").unlink()

    with pytest.raises(ModelError, match=r"has no openvino_detokenizer\.xml\. Export the model with its tokenizer"):
        load_tokenizer(tmp_path, add_bos=False)


def test_each_kind_of_folder_has_its_tokenizer(converted: ModelTokenizer, exported: ModelTokenizer) -> None:
    assert (type(converted), type(exported)) == (HFTokenizer, OpenVINOTokenizer)


def test_the_pieces_of_an_export_have_their_bytes(tmp_path: Path) -> None:
    """The graph of the vocabulary has `▁` and `<0xF0>`, which later steps decode."""
    write_graphs(head_of(recorded()["gemma"]["fields"]), tmp_path)
    tokenizer = load_tokenizer(tmp_path, add_bos=True)

    for text in ("the model\n is  here", "a 🎆 b", " x"):
        assert decode(tokenizer, tokenizer.encode(text, specials=False)) == text.encode()
    assert tokenizer.token_text(2) == b"</s>"
