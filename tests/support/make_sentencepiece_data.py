"""Write tests/data/sentencepiece.json: small vocabularies, and the tokens that the sentencepiece library gives texts.

python -m venv .venvs/sentencepiece
.venvs/sentencepiece/bin/pip install sentencepiece protobuf
PYTHONPATH=tests .venvs/sentencepiece/bin/python -m support.make_sentencepiece_data
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

from support.splitter_texts import TEXTS

DATA = Path(__file__).parents[1] / "data" / "sentencepiece.json"
PROSE = DATA.with_name("prose.txt")
_TEXT_TOKENS = [*("▁" * n for n in range(2, 9)), *("\n" * n for n in range(1, 6)), "\t", "\t\t", "<h1>", "</h1>"]
_ALL = {"byte_fallback": True, "split_digits": True, "allow_whitespace_only_pieces": True}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {**_ALL, "remove_extra_whitespaces": False},
    "gemma": {
        **_ALL,
        "remove_extra_whitespaces": False,
        "add_dummy_prefix": False,
        "user_defined_symbols": _TEXT_TOKENS,
    },
    "without bytes": {"remove_extra_whitespaces": True},
}


def main() -> None:
    texts = [*TEXTS[:-4], *_random_texts(), *(" " * n + "x" for n in range(20)), *("a" * n for n in range(2, 20))]
    kinds = {name: _kind(options, texts) for name, options in KINDS.items()}
    lines = [f'"texts": {_json(texts)}', *(f"{_json(name)}: {_json(kind)}" for name, kind in kinds.items())]
    DATA.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _kind(options: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    sentencepiece = import_module("sentencepiece")  # not installed in the test environment
    model = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_sentences(),
        model_writer=model,
        model_type="bpe",
        vocab_size=1500,
        character_coverage=0.98,
        normalization_rule_name="identity",
        minloglevel=2,
        **options,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return {"fields": _fields(model.getvalue()), "ids": [processor.encode(text) for text in texts]}


def _fields(model: bytes) -> dict[str, Any]:
    """The metadata of a GGUF file, as llama.cpp's converter writes them."""
    proto = import_module("sentencepiece.sentencepiece_model_pb2").ModelProto()
    proto.ParseFromString(model)
    rules = proto.normalizer_spec
    user_defined = 4
    return {
        "model": "llama",
        "tokens": [p.piece.replace("▁", " ") if p.type == user_defined else p.piece for p in proto.pieces],
        "scores": [p.score for p in proto.pieces],
        "token_type": [p.type for p in proto.pieces],
        "add_space_prefix": rules.add_dummy_prefix,
        "remove_extra_whitespaces": rules.remove_extra_whitespaces,
        "unknown_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def _sentences() -> Iterator[str]:
    yield from PROSE.read_text(encoding="utf-8").splitlines()
    yield from TEXTS[:-4]


def _random_texts() -> Iterator[str]:
    chosen = random.Random(0)
    letters = [*"".join(TEXTS[:-4]), *" " * 300, *"\n\t" * 40]
    for _ in range(150):
        yield "".join(chosen.choices(letters, k=chosen.randint(0, 25)))
    for _ in range(100):
        yield "".join(chosen.choices(["a", "ab", "  ", "\n", "aa"], k=chosen.randint(1, 12)))


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


if __name__ == "__main__":
    main()
