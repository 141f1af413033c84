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

from crossette.engines.openvino.gguf.head import GgufHead, read_head
from crossette.engines.openvino.gguf.tokenizer import unsupported_tokenizer, write_tokenizer
from crossette.engines.openvino.tokenizer import OpenVINOTokenizer
from support.splitter_texts import DATA, MORE_MERGES, MORE_TOKENS, TEXTS
from support.tiny_model import write_tiny_gguf

pytestmark = pytest.mark.model

EXPECTED = json.loads(DATA.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def default_head(default_gguf: Path) -> GgufHead:
    return read_head(default_gguf)


@pytest.fixture(scope="module")
def tiny_head(tmp_path_factory: pytest.TempPathFactory) -> GgufHead:
    return read_head(write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "m.gguf", layers=1, width=64))


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., OpenVINOTokenizer]:
    """Build the tokenizer of a header with changed metadata."""

    def make(head: GgufHead, **changes: Any) -> OpenVINOTokenizer:
        changed = {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
        write_tokenizer(replace(head, metadata={**head.metadata, **changed}), tmp_path)
        return OpenVINOTokenizer(tmp_path, add_bos=True)

    return make


@pytest.mark.parametrize("splitter", EXPECTED)
def test_pre_tokenizers_match_those_of_the_families(
    default_head: GgufHead, load: Callable[..., OpenVINOTokenizer], splitter: str
) -> None:
    lists = {name: default_head.list(f"tokenizer.ggml.{name}") for name in ("tokens", "token_type", "merges")}
    tokenizer = load(
        default_head,
        pre=splitter,
        tokens=[*lists["tokens"], *MORE_TOKENS],
        token_type=[*lists["token_type"], *(1 for _ in MORE_TOKENS)],
        merges=[*lists["merges"], *MORE_MERGES],
    )

    assert [tokenizer.encode(text, specials=False) for text in TEXTS] == EXPECTED[splitter]


def test_the_texts_distinguish_all_pre_tokenizers() -> None:
    assert len({json.dumps(ids) for ids in EXPECTED.values()}) == len(EXPECTED)


def test_bos_and_eos_are_those_of_the_file(tiny_head: GgufHead, load: Callable[..., OpenVINOTokenizer]) -> None:
    tokenizer = load(tiny_head)

    assert (tokenizer.bos_token_id, tokenizer.bos_token) == (1, "<|im_start|>")
    assert (tokenizer.eos_token, tokenizer.vocab_size) == ("<|im_end|>", 260)


def test_the_longest_of_two_control_tokens_is_found(
    tiny_head: GgufHead, load: Callable[..., OpenVINOTokenizer]
) -> None:
    tokens = [*tiny_head.list("tokenizer.ggml.tokens"), "<|im", "<|im_start|>user", "<tool call>"]
    types = [*tiny_head.list("tokenizer.ggml.token_type"), 3, 3, 4]
    tokenizer = load(tiny_head, tokens=tokens, token_type=types)

    encoded = tokenizer.encode("<|im_start|>user<|im_start|><|im<tool call>he", specials=True)

    assert encoded == [261, 1, 260, 262, 259]
    assert [tokenizer.token_text(token) for token in (260, 262)] == [b"<|im", b"<tool call>"]
    assert tokenizer.token_bytes(262) == b""


@pytest.mark.parametrize("unknown", [None, 260, 0])
def test_an_unknown_token_may_be_missing(
    tiny_head: GgufHead, load: Callable[..., OpenVINOTokenizer], unknown: int | None
) -> None:
    tokenizer = load(tiny_head, unknown_token_id=unknown)

    assert tokenizer.encode("he<", specials=False) == [259, 63]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("token_type", [1] * 260, "no control tokens"),
        ("merges", [], "no merges"),
        ("tokens", [], "no control tokens"),
        ("pre", "dbrx", "pre-tokenizer is 'dbrx', and only default, gpt-2"),
        ("model", "llama", "only byte-level BPE"),
    ],
)
def test_unsupported_tokenizers_have_a_reason(tiny_head: GgufHead, key: str, value: Any, reason: str) -> None:
    metadata = {**tiny_head.metadata, f"tokenizer.ggml.{key}": value}

    assert unsupported_tokenizer(tiny_head) is None
    assert reason in str(unsupported_tokenizer(replace(tiny_head, metadata=metadata)))


def test_the_interpreter_exits_cleanly_after_a_conversion(tmp_path: Path, default_gguf: Path) -> None:
    """Holding nodes of the tokenizer extension in Python has crashed the interpreter at exit."""
    program = (
        "import sys; from pathlib import Path\n"
        "from crossette.engines.openvino.gguf.head import read_head\n"
        "from crossette.engines.openvino.gguf.tokenizer import write_tokenizer\n"
        "write_tokenizer(read_head(Path(sys.argv[1])), Path(sys.argv[2]))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, default_gguf, tmp_path], capture_output=True, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
