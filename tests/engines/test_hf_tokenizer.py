"""tokenizer.json behind the `Tokenizer` protocol."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from crossette.engines.hf_tokenizer import HFTokenizer, _longest_of
from crossette.errors import ModelError
from crossette.testing.fake_tokenizer import SPECIALS, FakeTokenizer
from support.hf_tokenizers import write_fake_tokenizer

MARKUP = "<tool_call>"
"""An added token that is not special: it is in the text of answers."""
SPACES = "    "


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer of the fake engine, with two more added tokens."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_fake_tokenizer(folder)
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    flags = {key: value for key, value in content["added_tokens"][0].items() if key not in ("id", "content", "special")}
    for text in (MARKUP, SPACES):
        token = {"id": 256 + len(content["added_tokens"]), "content": text, "special": False, **flags}
        content["added_tokens"].append(token)
    file.write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> HFTokenizer:
    return HFTokenizer(folder, add_bos=False)


TEXTS = st.lists(st.one_of(st.text(), st.sampled_from([*SPECIALS, MARKUP, SPACES])), max_size=5).map("".join)


@given(text=TEXTS)
def test_text_of_users_never_becomes_markup(tokenizer: HFTokenizer, text: str) -> None:
    tokens = tokenizer.encode(text, specials=False)

    assert all(token < 256 or token == 260 for token in tokens)
    assert b"".join(map(tokenizer.token_text, tokens)) == text.encode("utf-8", "replace")


@given(text=TEXTS.filter(lambda text: MARKUP not in text and SPACES not in text))
def test_text_of_templates_becomes_control_tokens(tokenizer: HFTokenizer, text: str) -> None:
    assert tokenizer.encode(text, specials=True) == FakeTokenizer().encode(text, specials=True)
    assert tokenizer.has_specials(text) == FakeTokenizer().has_specials(text)


def test_markup_is_recognised_in_templates_and_is_text_in_answers(tokenizer: HFTokenizer) -> None:
    assert tokenizer.encode(f"a{MARKUP}", specials=True) == [97, 259]
    assert tokenizer.has_specials(MARKUP)
    assert tokenizer.token_bytes(259) == MARKUP.encode()


def test_control_tokens_have_no_text_in_answers(tokenizer: HFTokenizer) -> None:
    assert [tokenizer.token_bytes(token) for token in (256, 257, 258)] == [b""] * 3
    assert [tokenizer.token_text(token).decode() for token in (256, 257, 258)] == list(SPECIALS)
    assert [tokenizer.token_bytes(token) for token in range(256)] == [bytes((byte,)) for byte in range(256)]
    assert tokenizer.vocab_size == 261


def test_the_ends_of_a_text(folder: Path, tokenizer: HFTokenizer) -> None:
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (None, 257)
    assert HFTokenizer(folder, add_bos=True).bos_token_id == 256


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no readable tokenizer\.json"):
        HFTokenizer(tmp_path, add_bos=False)


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_broken_tokenizer_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")

    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        HFTokenizer(tmp_path, add_bos=False)


@given(words=st.sets(st.text("<ab|.", min_size=1, max_size=4), min_size=1), text=st.text("<ab|.", max_size=12))
def test_the_longest_of_the_markup_is_found_first(words: set[str], text: str) -> None:
    plain = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))

    assert re.findall(_longest_of(words), text) == re.findall(plain, text)


@pytest.mark.parametrize("side", ["lstrip", "rstrip"])
def test_white_space_beside_markup_that_takes_it_is_dropped(folder: Path, tmp_path: Path, side: str) -> None:
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["added_tokens"][0][side] = True
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text("{}", encoding="utf-8")

    tokenizer, expected = HFTokenizer(tmp_path, add_bos=False), Tokenizer.from_str(json.dumps(content))

    for text in (f"a {SPECIALS[0]} \n b", f" {SPECIALS[0]} {SPECIALS[0]} ", f"{SPECIALS[1]} x {SPECIALS[0]}"):
        assert tokenizer.encode(text, specials=True) == expected.encode(text, add_special_tokens=False).ids
