"""The `TextEncoder` protocol on Hugging Face's tokenizers: it reads the tokenizer.json that the model was made with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from crossette.errors import ModelError


class FastTextEncoder:
    """The tokenizer of an embedding model. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the package raises this class itself
            raise ModelError(f"Can't read {path}: {error}.") from error
        self._tokenizer.no_truncation()  # of files that were saved with a length
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # in a text they are text
        self._num_added = self._tokenizer.num_special_tokens_to_add(False)

    @property
    def vocab_size(self) -> int:
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def encode(self, texts: Sequence[str], *, specials: bool = True, max_tokens: int | None = None) -> list[list[int]]:
        if max_tokens is None:
            return [found.ids for found in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=specials)]
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        for encoding in found:
            encoding.truncate(max(0, max_tokens - (self._num_added if specials else 0)))
        if specials:
            found = [self._tokenizer.post_process(encoding) for encoding in found]
        return [encoding.ids for encoding in found]
