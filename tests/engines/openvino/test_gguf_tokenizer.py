"""The tokenizer converted from a GGUF file matches that of its model family."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.engines.hf_tokenizer import HFTokenizer
from crossette.engines.openvino.gguf.head import GgufHead, read_head
from crossette.engines.openvino.gguf.splitters import SPLITTERS
from crossette.engines.openvino.gguf.tokenizer import unsupported_tokenizer, write_tokenizer
from support.family_tokenizers import COMPOSED, FAMILIES, reference, trained
from support.sentencepiece_data import head_of, recorded
from support.splitter_texts import TEXTS
from support.tiny_model import write_tiny_gguf

pytestmark = pytest.mark.model

MARKUP = {0: "<|endoftext|>", 1: "<|im_start|>", 2: "<|im_end|>"}
SENTENCEPIECE = recorded()
KINDS = [kind for kind in SENTENCEPIECE if kind != "texts"]

Load = Callable[..., HFTokenizer]


@pytest.fixture(scope="module")
def tiny_head(tmp_path_factory: pytest.TempPathFactory) -> GgufHead:
    return read_head(write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "m.gguf", layers=1, width=64))


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Build the tokenizer of a header with changed metadata."""

    def make(head: GgufHead, **changes: Any) -> HFTokenizer:
        changed = replace(
            head, metadata={**head.metadata, **{f"tokenizer.ggml.{key}": changes[key] for key in changes}}
        )
        assert unsupported_tokenizer(changed) is None
        folder = tmp_path_factory.mktemp("tokenizer")
        write_tokenizer(changed, folder)
        return HFTokenizer(folder, add_bos=True)

    return make


@pytest.fixture(scope="module")
def of_family(load: Load) -> Load:
    """The tokenizer of a family, over a vocabulary whose tokens cross the borders of all pre-tokenizers."""
    tokens, merges = trained(TEXTS[:-4])
    made: dict[str, HFTokenizer] = {}
    head = head_of({"model": "gpt2", "tokens": tokens, "merges": merges, "token_type": [3, 3, 3, *[1] * len(tokens)]})

    def find(family: str) -> HFTokenizer:
        if family not in made:
            made[family] = load(GgufHead({key: _list(value) for key, value in head.metadata.items()}, ()), pre=family)
        return made[family]

    return find


def _list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("family", FAMILIES)
def test_byte_level_tokens_are_those_of_the_family(of_family: Load, family: str) -> None:
    tokenizer, expected = of_family(family), reference(family, *trained(TEXTS[:-4]), MARKUP)

    assert [tokenizer.encode(text, specials=False) for text in TEXTS] == [expected.encode(text).ids for text in TEXTS]


@pytest.mark.parametrize("family", FAMILIES)
def test_any_text_has_the_tokens_of_the_family(of_family: Load, family: str) -> None:
    tokenizer, expected = of_family(family), reference(family, *trained(TEXTS[:-4]), MARKUP)

    @given(text=_any_text())
    def check(text: str) -> None:
        assert tokenizer.encode(text, specials=True) == expected.encode(text).ids

    check()


def _any_text() -> st.SearchStrategy[str]:
    words = st.sampled_from([*MARKUP.values(), *TEXTS[:30], "'S", " ", "\n", "\r\n", "12345", "\u0301"])
    return st.lists(st.text(max_size=8) | words, max_size=6).map("".join)


@pytest.mark.parametrize("family", SPLITTERS)
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(of_family: Load, family: str) -> None:
    tokenizer = of_family(family)
    texts = [text for text in TEXTS if not SPLITTERS[family].composed or text.isascii()]

    for specials in (True, False):
        assert [_decode(tokenizer, tokenizer.encode(text, specials=specials)) for text in texts] == texts


def _decode(tokenizer: HFTokenizer, tokens: list[int]) -> str:
    return b"".join(map(tokenizer.token_text, tokens)).decode()


def test_the_texts_distinguish_all_pre_tokenizers(of_family: Load) -> None:
    found = {
        family: json.dumps([of_family(family).encode(text, specials=False) for text in TEXTS]) for family in FAMILIES
    }

    assert len(set(found.values())) == len(FAMILIES)
    assert {*COMPOSED} == {family for family in FAMILIES if SPLITTERS[family].composed}


def test_a_piece_that_is_a_token_needs_no_merges_where_the_family_says_so(of_family: Load, load: Load) -> None:
    fields = {"model": "gpt2", "tokens": [*MARKUP.values(), *"abc", "ab", "abc"], "token_type": [3] * 3 + [1] * 5}
    head = head_of({**fields, "merges": ["a b"]})

    assert load(head, pre="llama-bpe").encode("abc", specials=False) == [7]
    assert load(head, pre="qwen2").encode("abc", specials=False) == [6, 5]


@pytest.mark.parametrize("kind", KINDS)
def test_sentencepiece_tokens_are_those_of_its_library(load: Load, kind: str) -> None:
    tokenizer = load(head_of(SENTENCEPIECE[kind]["fields"]))

    found = {text: tokenizer.encode(text, specials=False) for text in SENTENCEPIECE["texts"]}

    expected = dict(zip(SENTENCEPIECE["texts"], SENTENCEPIECE[kind]["ids"], strict=True))
    assert {text: ids for text, ids in found.items() if ids != expected[text]} == {}


@given(
    text=st.lists(st.text() | st.sampled_from(["  ", "\n\n", "</s>", "<0x0A>", "▁", "<h1>"]), max_size=5).map("".join)
)
@pytest.mark.parametrize("kind", ["llama", "gemma"])
def test_pieces_have_the_bytes_of_any_text_and_never_become_markup(load: Load, kind: str, text: str) -> None:
    tokenizer = _sentencepiece(load, kind)
    prefix = " " if kind == "llama" and text else ""

    tokens = tokenizer.encode(text, specials=False)

    assert _decode(tokenizer, tokens) == prefix + text.replace("▁", " ").encode("utf-8", "replace").decode()
    assert all(tokenizer.token_bytes(token) for token in tokens)


_MADE: dict[str, HFTokenizer] = {}


def _sentencepiece(load: Load, kind: str) -> HFTokenizer:
    return _MADE.setdefault(kind, load(head_of(SENTENCEPIECE[kind]["fields"]))) if kind not in _MADE else _MADE[kind]


def test_tokens_of_bytes_and_spaces_have_their_bytes(load: Load) -> None:
    fields = SENTENCEPIECE["gemma"]["fields"]
    tokenizer, tokens = _sentencepiece(load, "gemma"), fields["tokens"]

    texts = {name: tokenizer.token_bytes(tokens.index(name)) for name in ("<0x0A>", "<0xFF>", "▁the", "  ", "\n\n")}

    assert texts == {"<0x0A>": b"\n", "<0xFF>": b"\xff", "▁the": b" the", "  ": b"  ", "\n\n": b"\n\n"}
    assert [tokenizer.token_bytes(token) for token in (0, 1, 2)] == [b"", b"", b""]


def test_white_space_and_html_that_the_user_defined_tokens_contain_are_text(load: Load) -> None:
    tokenizer = _sentencepiece(load, "gemma")

    assert [len(tokenizer.encode(text, specials=False)) for text in ("<h1>", "\n\n\n", "    ")] == [1, 1, 1]
    assert not tokenizer.has_specials("<h1>  \n\n</h1>")
    assert tokenizer.has_specials("</s>") and tokenizer.encode("</s>", specials=True) == [2]


def test_phi3_drops_the_white_space_behind_its_control_tokens(load: Load) -> None:
    head = head_of(SENTENCEPIECE["llama"]["fields"])
    phi3 = load(replace(head, metadata={**head.metadata, "general.architecture": "phi3"}))

    assert phi3.encode("</s>\n the", specials=True) == [2, *phi3.encode("the", specials=False)]
    assert phi3.encode("<s> the", specials=True) == [1, *phi3.encode(" the", specials=False)]


def test_bos_and_eos_are_those_of_the_file(tiny_head: GgufHead, load: Load) -> None:
    tokenizer = load(tiny_head)

    assert (tokenizer.bos_token_id, tokenizer.bos_token) == (1, "<|im_start|>")
    assert (tokenizer.eos_token, tokenizer.vocab_size) == ("<|im_end|>", 260)


def test_the_longest_of_two_control_tokens_is_found(tiny_head: GgufHead, load: Load) -> None:
    tokens = [*tiny_head.list("tokenizer.ggml.tokens"), "<|im", "<|im_start|>user", "<tool call>"]
    types = [*tiny_head.list("tokenizer.ggml.token_type"), 3, 3, 4]
    tokenizer = load(tiny_head, tokens=tokens, token_type=types)

    encoded = tokenizer.encode("<|im_start|>user<|im_start|><|im<tool call>he", specials=True)

    assert encoded == [261, 1, 260, 262, 259]
    assert [tokenizer.token_text(token) for token in (260, 262)] == [b"<|im", b"<tool call>"]
    assert tokenizer.token_bytes(262) == b""


def test_rows_without_a_name_of_their_own_are_no_text(tiny_head: GgufHead, load: Load) -> None:
    tokens = [*tiny_head.list("tokenizer.ggml.tokens"), "", "he"]
    tokenizer = load(tiny_head, tokens=tokens, token_type=[*tiny_head.list("tokenizer.ggml.token_type"), 1, 1])

    assert (tokenizer.encode("he", specials=False), tokenizer.vocab_size) == ([259], 262)


@pytest.mark.parametrize("unknown", [None, 260, 0])
def test_an_unknown_token_may_be_missing(tiny_head: GgufHead, load: Load, unknown: int | None) -> None:
    tokenizer = load(tiny_head, unknown_token_id=unknown)

    assert tokenizer.encode("he<", specials=False) == [259, 63]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("token_type", [1] * 260, "no control tokens"),
        ("merges", [], "no merges"),
        ("merges", ["h x"], "merges 'h x', which are not all tokens"),
        ("tokens", [], "no control tokens"),
        ("pre", "afmoe", "pre-tokenizer is 'afmoe', and only default, gpt-2"),
        ("model", "bert", "only byte-level BPE"),
        ("model", "t5", "only byte-level BPE"),
        ("model", "llama", "does not have a score and a type for each token"),
        ("add_space_prefix", True, "puts a space before a text"),
    ],
)
def test_unsupported_tokenizers_have_a_reason(tiny_head: GgufHead, key: str, value: Any, reason: str) -> None:
    metadata = {**tiny_head.metadata, f"tokenizer.ggml.{key}": value}

    assert unsupported_tokenizer(tiny_head) is None
    assert reason in str(unsupported_tokenizer(replace(tiny_head, metadata=metadata)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"precompiled_charsmap": [1, 2]}, "replaces characters"),
        ({"treat_whitespace_as_suffix": True}, "puts spaces at the end of words"),
        ({"token_type": [2, 3, 3, 6] + [1] * 1496}, "tokens for 1 of 256 bytes"),
        ({"token_type": [2, 3, 3] + [1] * 1497, "unknown_token_id": None}, "nor one for unknown characters"),
    ],
)
def test_unsupported_pieces_have_a_reason(changes: dict[str, Any], reason: str) -> None:
    fields = SENTENCEPIECE["llama"]["fields"]

    assert unsupported_tokenizer(head_of(fields)) is None
    assert reason in str(unsupported_tokenizer(head_of({**fields, **changes})))


def test_the_default_model_has_the_tokens_of_its_family(default_gguf: Path, load: Load) -> None:
    head = read_head(default_gguf)
    tokens, merges = ([str(text) for text in head.list(f"tokenizer.ggml.{name}")] for name in ("tokens", "merges"))
    tokenizer, expected = load(head), reference("smollm", tokens, merges, MARKUP)

    assert [tokenizer.encode(text, specials=True) for text in TEXTS] == [expected.encode(text).ids for text in TEXTS]


def test_the_interpreter_exits_cleanly_after_a_conversion(tmp_path: Path, default_gguf: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from crossette.engines.openvino.gguf.head import read_head\n"
        "from crossette.engines.openvino.gguf.tokenizer import write_tokenizer\n"
        "write_tokenizer(read_head(Path(sys.argv[1])), Path(sys.argv[2]))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, default_gguf, tmp_path], capture_output=True, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
