"""The type of the KV cache is a setting: what it costs in memory, what it gains, and that texts stay the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossette.engine import ModelFiles
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.gguf import reference
from crossette.engines.openvino.gguf.check import ConvertedModel
from crossette.engines.openvino.gguf.compare import compare
from crossette.engines.openvino.gguf.head import read_head
from crossette.engines.openvino.model import load_paged
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.engines.openvino.tokenizer import load_tokenizer
from crossette.generation.prompt import encode_text
from crossette.models.store import StoredModel
from support.engine_calls import at_once, make_request, run, tokens

pytestmark = pytest.mark.model

PROSE = (Path(__file__).parents[2] / "data" / "prose.txt").read_text(encoding="utf-8")
DTYPES = ("u8", "f16", "f32")
NUM_TOKENS = 256


def test_a_wider_type_takes_more_memory(real_model: StoredModel) -> None:
    """Per head of 64, 8 bits need a scale and a zero point in f32."""
    sizes = {
        dtype: load_paged(real_model.path, threads=1, window=64, kv_cache_dtype=dtype).units.block
        for dtype in (*DTYPES, "auto")
    }
    assert sizes["auto"] == sizes["u8"]
    assert [sizes[dtype] / sizes["u8"] for dtype in DTYPES] == [1, 128 / 72, 256 / 72]


def test_a_wider_type_is_closer_to_the_file(real_model: StoredModel, default_gguf: Path) -> None:
    tokenizer = load_tokenizer(real_model.path, add_bos=real_model.record.add_bos)
    text = tokenizer.encode(PROSE, specials=False)[:NUM_TOKENS]
    expected = reference.logits(default_gguf, read_head(default_gguf), text)
    found = {
        dtype: compare(
            expected, ConvertedModel(real_model.path, max_tokens=NUM_TOKENS, kv_cache_dtype=dtype).logits(text), text
        )
        for dtype in DTYPES
    }

    assert found["f32"].kl.mean() < found["f16"].kl.mean() < found["u8"].kl.mean() / 10


@pytest.mark.parametrize("dtype", ["f16", "f32"])
def test_texts_are_the_same_alone_and_among_others(real_files: ModelFiles, dtype: str) -> None:
    settings = OpenVINOSettings(kv_cache="256MiB", kv_cache_dtype=dtype)  # type: ignore[arg-type]  # one of its values
    engine = OpenVINOEngine.load(real_files, settings)
    prompt = encode_text(engine.tokenizer, PROSE)
    requests = [make_request(prompt[start : start + 10 + 7 * start], max_tokens=12) for start in range(8)]

    async def both() -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        together = await at_once(engine, (tokens(engine, request) for request in requests))
        return together, [await tokens(engine, request) for request in requests]

    try:
        together, alone = run(both(), 200)
    finally:
        engine.close()
    assert together == alone
    assert len(set(alone)) > 4
