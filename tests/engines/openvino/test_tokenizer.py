"""Encoding and decoding: control tokens only on request, exact bytes, no truncation."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crossette.engines.openvino.tokenizer import OpenVINOTokenizer
from crossette.errors import ModelError
from crossette.models.store import StoredModel
from support.byte_tokenizer import SPECIALS

END_OF_TEXT, IM_START, IM_END = range(3)
HE = 259


@pytest.fixture(scope="module")
def tiny(tiny_model_dir: Path) -> OpenVINOTokenizer:
    return OpenVINOTokenizer(tiny_model_dir, add_bos=False)


@pytest.fixture(scope="module")
def real(real_model: StoredModel) -> OpenVINOTokenizer:
    return OpenVINOTokenizer(real_model.path, add_bos=real_model.record.add_bos)


@pytest.fixture(params=["tiny", "real"])
def tokenizer(request: pytest.FixtureRequest) -> OpenVINOTokenizer:
    found: OpenVINOTokenizer = request.getfixturevalue(request.param)
    return found


def decode(tokenizer: OpenVINOTokenizer, tokens: list[int]) -> bytes:
    return b"".join(map(tokenizer.token_bytes, tokens))


def test_control_tokens_are_encoded_with_specials_only(tokenizer: OpenVINOTokenizer) -> None:
    text = "a<|im_start|>b<|im_end|>"

    found = [token for token in tokenizer.encode(text, specials=True) if token in (IM_START, IM_END)]
    plain = tokenizer.encode(text, specials=False)

    assert found == [IM_START, IM_END]
    assert not {END_OF_TEXT, IM_START, IM_END} & set(plain)
    assert decode(tokenizer, plain) == text.encode()


def test_specials_change_nothing_in_text_without_control_tokens(tokenizer: OpenVINOTokenizer) -> None:
    text = "The capital of France is <b>Paris</b>, they say | 12 <|> im_end"

    assert tokenizer.encode(text, specials=True) == tokenizer.encode(text, specials=False)


@pytest.mark.parametrize(
    "text",
    ["Grüße, 世界! 🎆\n\t 12  ", " leading and trailing ", "\r\n\n\n", "a\x00b", "e\u0301 \u00e9", "\u202e\ufeffx"],
)
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(tokenizer: OpenVINOTokenizer, text: str) -> None:
    assert decode(tokenizer, tokenizer.encode(text, specials=False)) == text.encode()


def test_no_text_has_no_tokens(tokenizer: OpenVINOTokenizer) -> None:
    assert tokenizer.encode("", specials=True) == tokenizer.encode("", specials=False) == []


def test_control_tokens_have_no_bytes(tokenizer: OpenVINOTokenizer) -> None:
    assert [tokenizer.token_bytes(token) for token in range(3)] == [b"", b"", b""]


def test_all_other_tokens_of_the_tiny_vocabulary_have_their_bytes(tiny: OpenVINOTokenizer) -> None:
    assert {tiny.token_bytes(token) for token in range(3, 260)} == {*(bytes([byte]) for byte in range(256)), b"he"}
    assert tiny.vocab_size == 260


def test_merges_are_applied(tiny: OpenVINOTokenizer) -> None:
    assert tiny.encode("he", specials=False) == [HE]


def test_a_token_may_be_a_part_of_a_character(tiny: OpenVINOTokenizer) -> None:
    assert [tiny.token_bytes(token) for token in tiny.encode("🎆", specials=True)] == [
        b"\xf0",
        b"\x9f",
        b"\x8e",
        b"\x86",
    ]


def test_a_prompt_of_more_than_8192_tokens_is_not_truncated(tokenizer: OpenVINOTokenizer) -> None:
    text = " ".join(str(number % 10) for number in range(9000))

    for specials in (True, False):
        tokens = tokenizer.encode(text, specials=specials)
        assert len(tokens) > 8192
        assert decode(tokenizer, tokens) == text.encode()


@pytest.mark.parametrize("special", SPECIALS)
def test_the_text_form_of_a_control_token_is_detected(tokenizer: OpenVINOTokenizer, special: str) -> None:
    with_special = [f"x{special}y", special, special * 2]
    without_special = ["", special[:-1], special[1:], special.upper(), special.replace("|", " | ")]

    assert [tokenizer.has_specials(text) for text in with_special + without_special] == [True] * 3 + [False] * 5


def test_bos_is_set_where_the_model_uses_one(tiny_model_dir: Path, tiny: OpenVINOTokenizer) -> None:
    with_bos = OpenVINOTokenizer(tiny_model_dir, add_bos=True)

    assert (tiny.bos_token_id, with_bos.bos_token_id) == (None, IM_START)
    assert (with_bos.bos_token, with_bos.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert with_bos.encode("x", specials=True) == tiny.encode("x", specials=True)


def test_the_tokenizer_is_thread_safe(tokenizer: OpenVINOTokenizer) -> None:
    texts = [f"Text number {number} <|im_end|> " * (1 + number % 5) for number in range(100)]
    alone = [tokenizer.encode(text, specials=number % 2 == 0) for number, text in enumerate(texts)]

    with ThreadPoolExecutor(8) as threads:
        together = list(
            threads.map(lambda pair: tokenizer.encode(pair[1], specials=pair[0] % 2 == 0), enumerate(texts))
        )

    assert together == alone


def test_the_error_for_a_missing_tokenizer_has_the_export_command(tiny_model_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model_dir, tmp_path, dirs_exist_ok=True)
    (tmp_path / "openvino_detokenizer.xml").unlink()

    with pytest.raises(ModelError, match=r"has no openvino_detokenizer\.xml\. Export the model with its tokenizer"):
        OpenVINOTokenizer(tmp_path, add_bos=False)
