"""Text to tokens and back: control tokens only where they are wanted, bytes as they are, nothing cut."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crossette.engines.openvino.tokenizer import OpenVINOTokenizer
from crossette.errors import ModelError
from crossette.models.store import StoredModel
from support.tiny_model import SPECIALS

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


def test_control_tokens_are_found_with_specials_only(tokenizer: OpenVINOTokenizer) -> None:
    text = "a<|im_start|>b<|im_end|>"

    found = [token for token in tokenizer.encode(text, specials=True) if token in (IM_START, IM_END)]
    plain = tokenizer.encode(text, specials=False)

    assert found == [IM_START, IM_END]
    assert not {END_OF_TEXT, IM_START, IM_END} & set(plain)
    assert decode(tokenizer, plain) == text.encode()


def test_tokens_of_text_do_not_depend_on_specials_where_there_are_none(tokenizer: OpenVINOTokenizer) -> None:
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


def test_every_other_token_of_the_tiny_vocabulary_has_its_own(tiny: OpenVINOTokenizer) -> None:
    assert {tiny.token_bytes(token) for token in range(3, 260)} == {*(bytes([byte]) for byte in range(256)), b"he"}
    assert tiny.vocab_size == 260


def test_a_merge_is_used(tiny: OpenVINOTokenizer) -> None:
    assert tiny.encode("he", specials=False) == [HE]


def test_half_a_character_is_half_of_its_bytes(tiny: OpenVINOTokenizer) -> None:
    assert [tiny.token_bytes(token) for token in tiny.encode("🎆", specials=True)] == [
        b"\xf0",
        b"\x9f",
        b"\x8e",
        b"\x86",
    ]


def test_a_prompt_of_more_than_8192_tokens_is_not_cut(tokenizer: OpenVINOTokenizer) -> None:
    text = " ".join(str(number % 10) for number in range(9000))

    for specials in (True, False):
        tokens = tokenizer.encode(text, specials=specials)
        assert len(tokens) > 8192
        assert decode(tokenizer, tokens) == text.encode()


@pytest.mark.parametrize("special", SPECIALS)
def test_the_spelling_of_a_control_token_is_seen(tokenizer: OpenVINOTokenizer, special: str) -> None:
    spelled = [f"x{special}y", special, special * 2]
    not_spelled = ["", special[:-1], special[1:], special.upper(), special.replace("|", " | ")]

    assert [tokenizer.has_specials(text) for text in spelled + not_spelled] == [True] * 3 + [False] * 5


def test_bos_is_given_where_the_model_wants_one(tiny_model_dir: Path, tiny: OpenVINOTokenizer) -> None:
    wanting = OpenVINOTokenizer(tiny_model_dir, add_bos=True)

    assert (tiny.bos_token_id, wanting.bos_token_id) == (None, IM_START)
    assert (wanting.bos_token, wanting.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert wanting.encode("x", specials=True) == tiny.encode("x", specials=True)


def test_threads_do_not_disturb_each_other(tokenizer: OpenVINOTokenizer) -> None:
    texts = [f"Text number {number} <|im_end|> " * (1 + number % 5) for number in range(100)]
    alone = [tokenizer.encode(text, specials=number % 2 == 0) for number, text in enumerate(texts)]

    with ThreadPoolExecutor(8) as threads:
        together = list(
            threads.map(lambda pair: tokenizer.encode(pair[1], specials=pair[0] % 2 == 0), enumerate(texts))
        )

    assert together == alone


def test_a_folder_without_a_tokenizer_says_how_to_get_one(tiny_model_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model_dir, tmp_path, dirs_exist_ok=True)
    (tmp_path / "openvino_detokenizer.xml").unlink()

    with pytest.raises(ModelError, match=r"has no openvino_detokenizer\.xml\. Export the model with its tokenizer"):
        OpenVINOTokenizer(tmp_path, add_bos=False)
