"""Measure one file: the served model, and llama.cpp, compared with the reference."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from accuracy.files import PROSE, Measurable
from crossette.engines.openvino.convert import convert, unsupported
from crossette.engines.openvino.gguf import reference
from crossette.engines.openvino.gguf.check import ConvertedModel
from crossette.engines.openvino.gguf.compare import Comparison, compare, joined
from crossette.engines.openvino.gguf.head import read_head
from crossette.engines.openvino.tokenizer import load_tokenizer
from crossette.types import Difference

Windows = list[list[int]]
Logits = Callable[[list[int]], npt.NDArray[np.float32]]

WINDOW = 256
"""Tokens of one text."""


@dataclass(frozen=True)
class Measured:
    """The results of one file."""

    file: Measurable
    served: Comparison
    """The model as `crossette serve` runs it."""
    precise: Comparison
    """The same with an f32 KV cache."""
    llama_cpp: Comparison | None
    difference: Difference | None
    """The difference measured by the conversion."""


def measure(file: Measurable, num_windows: int, peer: Path | None) -> Measured | str:
    """The results of a file, or the reason why it cannot be converted."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        path = file.write(folder)
        head = read_head(path)
        if reason := unsupported(head):
            return reason
        (folder / "model").mkdir()
        facts = convert(path, folder / "model")
        windows = _windows(file, folder / "model", num_windows)
        expected = [reference.logits(path, head, window) for window in windows]
        return Measured(
            file,
            _compare(windows, expected, ConvertedModel(folder / "model", max_tokens=WINDOW).logits),
            _compare(
                windows, expected, ConvertedModel(folder / "model", max_tokens=WINDOW, kv_cache_dtype="f32").logits
            ),
            None if peer is None else _llama_cpp(peer, path, windows, expected, folder),
            facts.difference,
        )


def _windows(file: Measurable, folder: Path, count: int) -> Windows:
    """Prose for the default model, random tokens for models with random weights."""
    if file.is_real:
        tokens = load_tokenizer(folder, add_bos=False).encode(PROSE.read_text(encoding="utf-8"), specials=False)
    else:
        tokens = np.random.default_rng(5).integers(3, 259, count * WINDOW).tolist()
    return [tokens[start : start + WINDOW] for start in range(0, count * WINDOW, WINDOW)]


def _compare(windows: Windows, expected: Sequence[npt.NDArray[np.float32]], logits: Logits) -> Comparison:
    pairs = zip(windows, expected, strict=True)
    return joined([compare(wanted, logits(window), window) for window, wanted in pairs])


def _llama_cpp(
    python: Path, model: Path, windows: Windows, expected: Sequence[npt.NDArray[np.float32]], folder: Path
) -> Comparison:
    (folder / "windows.json").write_text(json.dumps(windows))
    script = Path(__file__).with_name("llama_cpp.py")
    subprocess.run([python, script, model, folder / "windows.json", folder], check=True)
    found = (np.load(folder / f"{number}.npy") for number in range(len(windows)))
    return _compare(windows, expected, lambda _: next(found))
