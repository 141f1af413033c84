"""Adapters share batches with each other and with their base, and none changes another's output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from crossette.engine import ModelFiles
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.errors import ModelError, Unsupported
from crossette.types import GenerationRequest, TokenOutput
from support.engine_calls import TINY_CONTEXT, ask, at_once, is_empty, make_request, run, settle
from support.lora_adapters import MODULES, random_matrices, write_adapter

NAMES = (None, "one", "two")
TEXT = "The old mill stands at the edge of the village, where the river bends to the south. "
SMALL_CACHE = "150KiB"

_namespaces = count()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two adapters of different ranks, scales and types of numbers; the second changes attention only."""
    root = tmp_path_factory.mktemp("adapters")
    attention = {name: sizes for name, sizes in MODULES.items() if name.startswith("self_attn")}
    return {
        "one": write_adapter(root / "one", random_matrices(4, seed=1)),
        "two": write_adapter(root / "two", random_matrices(9, seed=2, modules=attention), "BF16", use_rslora=True),
    }


def load(directory: Path, folders: dict[str, Path], **settings: object) -> OpenVINOEngine:
    files = ModelFiles(
        path=directory,
        name="tiny",
        architecture="llama",
        quantization="Q8_0",
        context_length=TINY_CONTEXT,
        end_token_ids=frozenset(),
        adapters=folders,
    )
    return OpenVINOEngine.load(files, OpenVINOSettings(**{"kv_cache": "8MiB", **settings}))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def engine(tiny_model_dir: Path, folders: dict[str, Path]) -> Iterator[OpenVINOEngine]:
    engine = load(tiny_model_dir, folders)
    yield engine
    run(settle(engine))
    assert is_empty(engine)
    engine.close()


def make(adapter: str | None, text: str = TEXT, **fields: object) -> GenerationRequest:
    """A request in a cache namespace of its own, with all that depends on the values of the graph."""
    key = f"cold-{next(_namespaces)}"
    fields = {"max_tokens": 10, "logprobs": 3, "isolation_key": key, **fields}
    return make_request(text, adapter=adapter, **fields)  # type: ignore[arg-type]  # any field


async def outputs(engine: OpenVINOEngine, request: GenerationRequest) -> list[tuple[object, ...]]:
    """What must be equal: tokens and logprobs by choice."""
    read: list[TokenOutput] = [output async for output in engine.generate(request)]
    found: dict[int, tuple[tuple[int, ...], tuple[object, ...]]] = {}
    for output in read:
        tokens, logprobs = found.get(output.index, ((), ()))
        found[output.index] = tokens + output.token_ids, logprobs + (output.logprobs or ())
    return [found[index] for index in sorted(found)]


async def cached_tokens(engine: OpenVINOEngine, request: GenerationRequest) -> int:
    return sum([output.cached_tokens async for output in engine.generate(request)])


def test_the_base_computes_what_it_does_without_adapters(
    engine: OpenVINOEngine, tiny_model_dir: Path, folders: dict[str, Path]
) -> None:
    base = load(tiny_model_dir, {})
    requests = [make(None, TEXT[index:] * 2, temperature=index / 3, seed=index) for index in range(4)]
    expected = [run(outputs(base, request)) for request in requests]
    base.close()

    assert [run(outputs(engine, request)) for request in requests] == expected


def test_an_adapter_computes_the_same_whichever_others_are_loaded(
    engine: OpenVINOEngine, tiny_model_dir: Path, folders: dict[str, Path]
) -> None:
    request = make("two")
    alone = load(tiny_model_dir, {"two": folders["two"]})
    expected = run(ask(alone, request))
    alone.close()

    assert run(ask(engine, request)) == expected


def test_each_adapter_has_a_text_of_its_own(engine: OpenVINOEngine) -> None:
    texts = {run(ask(engine, make(name)))[0].tokens for name in NAMES}

    assert len(texts) == len(NAMES)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_mixed_batch_gives_the_texts_of_each_alone(
    tiny_model_dir: Path, folders: dict[str, Path], temperature: float
) -> None:
    engine = load(tiny_model_dir, folders, kv_cache=SMALL_CACHE, max_sequences=8)
    requests = [
        make(NAMES[index % 3], TEXT[index:] * (1 + index % 2), max_tokens=40, temperature=temperature, seed=index)
        for index in range(12)
    ]

    async def together() -> list[list[tuple[object, ...]]]:
        return await at_once(engine, (outputs(engine, request) for request in requests))

    mixed = run(together())
    preemptions = engine.stats().preemptions
    alone = [run(outputs(engine, request)) for request in requests]
    engine.close()

    assert preemptions
    assert mixed == alone


@pytest.mark.parametrize("name", NAMES)
def test_the_prefix_cache_changes_nothing(engine: OpenVINOEngine, name: str | None) -> None:
    request = make(name, TEXT * 2)
    first, again = run(outputs(engine, request)), run(outputs(engine, request))

    assert run(cached_tokens(engine, request)) == (len(request.prompt) - 2) // 32 * 32
    assert again == first


def test_blocks_are_not_shared_between_adapters(engine: OpenVINOEngine) -> None:
    requests = [replace(make(name, TEXT * 2), isolation_key="shared") for name in NAMES]

    assert [run(cached_tokens(engine, request)) for request in requests] == [0, 0, 0]


@pytest.mark.parametrize("name", NAMES)
def test_drafts_and_choices_change_nothing(engine: OpenVINOEngine, name: str | None) -> None:
    plain = make(name, max_tokens=24)
    expected = run(outputs(engine, plain))
    text = run(ask(engine, plain))[0].tokens
    before = engine.stats().accepted_drafts

    drafted = run(outputs(engine, replace(plain, prediction=text)))
    several = run(outputs(engine, replace(plain, n=3)))

    assert engine.stats().accepted_drafts > before
    assert drafted == expected
    assert several == expected * 3


def test_hidden_states_are_those_of_the_adapter(engine: OpenVINOEngine) -> None:
    async def state(name: str | None) -> bytes | None:
        request = make(name, max_tokens=0, logprobs=None, hidden_state=True)
        return next((output.hidden_state for output in [o async for o in engine.generate(request)]), None)

    assert len({run(state(name)) for name in NAMES}) == len(NAMES)


def test_an_unknown_adapter_is_refused(engine: OpenVINOEngine) -> None:
    assert engine.info.adapters == ("one", "two")
    with pytest.raises(Unsupported, match="no adapter 'three'"):
        engine.generate(make("three"))


def test_an_adapter_of_another_base_is_refused(tiny_model_dir: Path, tmp_path: Path) -> None:
    wide = random_matrices(4, modules={"self_attn.q_proj": (256, 256)})

    with pytest.raises(ModelError, match=r"'wide' belongs to another base.* 256 inputs and 256 .* 128 and 128"):
        load(tiny_model_dir, {"wide": write_adapter(tmp_path / "wide", wide)})


@pytest.mark.parametrize(
    ("layers", "module", "changed"),
    [(3, "self_attn.q_proj", "layers.2.self_attn.q_proj"), (1, "linear_attn.out", "layers.0.linear_attn.out")],
)
def test_a_module_that_the_base_lacks_is_named(
    tiny_model_dir: Path, tmp_path: Path, layers: int, module: str, changed: str
) -> None:
    tensors = random_matrices(4, layers=layers, modules={module: (128, 128)})

    with pytest.raises(ModelError, match=f"changes '{changed}', which cannot be changed.*these can:.*self_attn.o_proj"):
        load(tiny_model_dir, {"other": write_adapter(tmp_path / "other", tensors)})
