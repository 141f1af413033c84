"""Images in prompts: what transformers says, whatever runs beside them, and never another image's blocks."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.image_files import Tiling, decode
from crossette.engines.openvino.images import EmbeddedImage, rows_within
from crossette.engines.openvino.prefix_cache import block_keys
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.errors import InvalidRequest, ShuttingDown, Unsupported
from crossette.types import GenerationRequest, PlacedImage, PromptImage, SamplingParams
from support.engine_calls import at_once
from support.vision_model import FOLDER, Case, cases, picture, vision_files

PIL = pytest.importorskip("PIL.Image")

NUM_TOKENS = 80
PLENTY, SCARCE = "16MiB", "450KiB"
Answer = tuple[list[int], list[float]]


@pytest.fixture(scope="module")
def engine() -> Iterator[OpenVINOEngine]:
    made = OpenVINOEngine.load(vision_files(), OpenVINOSettings(kv_cache=PLENTY))
    yield made
    made.close()


def placed(engine: OpenVINOEngine, names: Sequence[str], prompt: Sequence[int]) -> tuple[PlacedImage, ...]:
    """The images at the places that the recorded prompt has for them, in order."""
    found: list[PlacedImage] = []
    begin = 0
    for name in names:
        image = engine.see(picture(name))
        size = len(image.tokens)
        begin = next(i for i in range(begin, len(prompt)) if tuple(prompt[i : i + size]) == image.tokens)
        found.append(PlacedImage(begin, image))
        begin += size
    return tuple(found)


def request(engine: OpenVINOEngine, case: Case, isolation_key: str = "", **more: object) -> GenerationRequest:
    made = GenerationRequest(
        id="x",
        prompt=tuple(case.prompt),
        sampling=SamplingParams(max_tokens=NUM_TOKENS, temperature=0, ignore_eos=True),
        logprobs=0,
        images=placed(engine, case.images, case.prompt),
        isolation_key=isolation_key,
    )
    return replace(made, **more)  # type: ignore[arg-type]


async def answer(engine: OpenVINOEngine, request: GenerationRequest) -> tuple[Answer, int]:
    tokens: list[int] = []
    logprobs: list[float] = []
    cached = 0
    async for output in engine.generate(request):
        tokens += output.token_ids
        logprobs += [each.logprob for each in output.logprobs or ()]
        cached += output.cached_tokens
    return (tokens, logprobs), cached


def answers(engine: OpenVINOEngine, *requests: GenerationRequest) -> list[tuple[Answer, int]]:
    async def together() -> list[tuple[Answer, int]]:
        return await at_once(engine, (answer(engine, each) for each in requests))

    return asyncio.run(together())


@pytest.fixture(scope="module")
def alone(engine: OpenVINOEngine) -> list[Answer]:
    return [answers(engine, request(engine, case, f"alone {index}"))[0][0] for index, case in enumerate(cases())]


def test_answers_are_those_of_transformers(alone: list[Answer]) -> None:
    for (tokens, logprobs), case in zip(alone, cases(), strict=True):
        recorded = len(case.tokens)
        assert tokens[:recorded] == case.tokens
        np.testing.assert_allclose(logprobs[:recorded], case.logprobs, atol=0.001)  # the KV cache has 16 bits


def test_the_data_tells_images_apart() -> None:
    wide, other, *_ = cases()

    assert wide.prompt == other.prompt
    assert wide.tokens != other.tokens


def test_pixels_are_those_of_transformers() -> None:
    tiling = Tiling.read(FOLDER)
    for case in cases():
        pixels = [tiling.tiles(decode(picture(name), 10**6)).pixels for name in case.images]
        total = sum(float(np.abs(part.astype(np.float64)).sum()) for part in pixels)
        assert total == pytest.approx(case.pixel_sum, abs=1e-4)


def test_neighbours_do_not_change_an_answer(engine: OpenVINOEngine, alone: list[Answer]) -> None:
    found = answers(engine, *(request(engine, case, f"beside {i}") for i in range(4) for case in cases()))

    assert [each for each, _ in found] == alone * 4


def test_preemption_does_not_change_an_answer(alone: list[Answer]) -> None:
    engine = OpenVINOEngine.load(vision_files(), OpenVINOSettings(kv_cache=SCARCE))
    try:
        found = answers(engine, *(request(engine, case, f"{i}") for i in range(4) for case in cases()))
        assert [each for each, _ in found] == alone * 4
        assert engine.stats().preemptions > 0
    finally:
        engine.close()


def test_the_second_turn_reuses_the_image(engine: OpenVINOEngine, alone: list[Answer]) -> None:
    for index, case in enumerate(cases()):
        first = request(engine, case, "turns")
        assert answers(engine, first)[0][0] == alone[index]
        longer = replace(first, prompt=(*case.prompt, *case.tokens, *range(30, 40)))
        cold = answers(engine, replace(longer, isolation_key=f"cold {index}"))
        warm = answers(engine, longer)
        assert warm[0][0] == cold[0][0]
        assert cold[0][1] == 0
        assert warm[0][1] >= len(case.prompt) // 32 * 32


def test_another_image_shares_no_block_of_the_first(engine: OpenVINOEngine, alone: list[Answer]) -> None:
    wide, other, *_ = cases()
    answers(engine, request(engine, wide, "shared"))
    (found, cached), *_ = answers(engine, request(engine, other, "shared"))

    assert (found, cached) == (alone[1], 0)


def test_keys_depend_on_what_images_are_where() -> None:
    tokens = tuple(range(256))

    def keys(*images: tuple[int, bytes]) -> tuple[bytes, ...]:
        made = (PlacedImage(start, PromptImage(tokens=tokens[:10], digest=digest)) for start, digest in images)
        return block_keys(tokens, "a", "b", tuple(made))

    bare = block_keys(tokens, "a", "b")
    assert keys() == bare
    for start in (0, 25, 31, 32, 70):
        found = keys((start, b"x"))
        first = start // 32
        assert found[:first] == bare[:first]
        assert not set(found[first:]) & set(bare[first:])
        assert not set(found[first:]) & set(keys((start, b"y"))[first:])
        assert not set(found[first:]) & set(keys((start + 1, b"x"))[first:])
    assert not set(keys((0, b"x"), (100, b"y"))[3:]) & set(keys((0, b"x"), (100, b"z"))[3:])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 31, 64])
def test_rows_reach_their_tokens_however_a_prompt_is_cut(size: int) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    image = EmbeddedImage(tokens=tuple(range(10)), digest=b"", rows=rows, positions=np.array([1, 2, 3, 6, 7, 8]))
    images = (PlacedImage(5, image), PlacedImage(40, image))

    found: dict[int, list[float]] = {}
    for start in range(0, 64, size):
        for part in rows_within(images, start, size):
            found |= {start + int(i): row.tolist() for i, row in zip(part.indices, part.rows, strict=True)}

    assert found == {
        start + int(position): row.tolist()
        for start in (5, 40)
        for position, row in zip(image.positions, rows, strict=True)
    }


def test_a_model_without_vision_graph_refuses_images(engine: OpenVINOEngine) -> None:
    blind = OpenVINOEngine.load(replace(vision_files(), sees=False), OpenVINOSettings(kv_cache=PLENTY))
    try:
        assert not blind.info.sees
        *_, text = cases()
        assert answers(blind, request(engine, text))[0][0][0][: len(text.tokens)] == text.tokens
        with pytest.raises(Unsupported, match="accepts text only"):
            blind.generate(request(engine, cases()[0]))
        with pytest.raises(Unsupported, match="accepts text only"):
            blind.see(picture("wide"))
    finally:
        blind.close()


def test_a_closed_engine_sees_nothing_more() -> None:
    engine = OpenVINOEngine.load(vision_files(), OpenVINOSettings(kv_cache=PLENTY))
    engine.see(picture("wide"))
    engine.close()

    with pytest.raises(ShuttingDown):
        engine.see(picture("wide"))


def test_an_image_is_computed_once(engine: OpenVINOEngine) -> None:
    assert engine.see(picture("tall")) is engine.see(picture("tall"))
    assert engine.see(picture("tall"), low_detail=True).digest != engine.see(picture("tall")).digest


def test_a_preprocessor_that_is_not_supported_leaves_a_model_of_text(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(FOLDER, tmp_path / "model"))
    path = folder / "preprocessor_config.json"
    path.write_text(path.read_text().replace('"do_rescale": true', '"do_rescale": false'))
    engine = OpenVINOEngine.load(vision_files(folder), OpenVINOSettings(kv_cache=PLENTY))
    try:
        assert not engine.info.sees
        assert any("do_rescale" in warning for warning in engine.warnings)
    finally:
        engine.close()


def file(image: object, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[attr-defined]
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "JPEG"])
def test_formats(kind: str) -> None:
    image = decode(file(PIL.new("RGB", (20, 10), "red"), kind), 200)

    assert (image.mode, image.size) == ("RGB", (20, 10))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no image"),
        (b"GIF89a", "cannot be decoded|no image"),
        (b"<svg/>", "no image"),
        (file(PIL.new("RGB", (2, 2)), "BMP"), "no image"),
        (file(PIL.new("RGB", (2, 2)), "TIFF"), "no image"),
        (file(PIL.effect_noise((80, 80), 9), "PNG")[:900], "cannot be decoded"),
        (file(PIL.new("L", (21, 10)), "PNG"), "21 x 10 pixels"),
        (file(PIL.new("1", (20_000, 20_000)), "PNG"), "pixels|cannot be decoded"),
    ],
)
def test_what_is_no_image_or_too_large_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        decode(data, 200 if b"\x89PNG" in data[:4] and len(data) < 800 else 10_000)


def test_an_image_is_turned_upright() -> None:
    exif = PIL.Exif()
    exif[0x0112] = 6
    assert decode(file(PIL.new("RGB", (20, 10)), "JPEG", exif=exif), 1000).size == (10, 20)
