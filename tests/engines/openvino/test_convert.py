"""GGUF to OpenVINO: the files written, their metadata, and unsupported files."""

from __future__ import annotations

import random
import re
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter, LlamaFileType

from crossette.engines.openvino.convert import convert, unsupported
from crossette.engines.openvino.gguf.head import GgufHead, GgufTensor, Value, read_head
from crossette.engines.openvino.tokenizer import load_tokenizer
from crossette.errors import ModelError
from crossette.types import ModelFacts
from support.byte_tokenizer import CHAT_TEMPLATE
from support.sentencepiece_data import recorded
from support.tiny_model import Weights, write_tiny_gguf

pytestmark = pytest.mark.model

FILES = {"openvino_model.xml", "openvino_model.bin", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", layers=2, context_length=1234)


@pytest.fixture(scope="session")
def converted(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelFacts]:
    folder = tmp_path_factory.mktemp("converted")
    return folder, convert(tiny, folder)


def test_the_facts_are_those_of_the_file(converted: tuple[Path, ModelFacts]) -> None:
    _, facts = converted

    assert facts == ModelFacts(
        architecture="llama",
        quantization="Q8_0",
        context_length=1234,
        end_token_ids=frozenset({0, 2}),
        add_bos=False,
        chat_template=CHAT_TEMPLATE,
        special_tokens={0: "<|endoftext|>", 1: "<|im_start|>", 2: "<|im_end|>"},
        converter=facts.converter,
        difference=facts.difference,
    )
    assert facts.converter is not None and re.fullmatch(r"crossette [\d.]+, openvino 2026\.[\d.]+", facts.converter)


def test_graph_tokenizer_and_template_are_written_and_nothing_else(
    tiny: Path, converted: tuple[Path, ModelFacts]
) -> None:
    folder, _ = converted

    assert {path.name for path in folder.iterdir()} == {*FILES, "chat_template.jinja"}
    assert (folder / "chat_template.jinja").read_text() == CHAT_TEMPLATE
    assert [path.name for path in tiny.parent.iterdir()] == ["tiny.gguf"]


def test_nothing_is_printed(tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    convert(tiny, tmp_path)

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"PK\x03\x04", "it starts with 'PK', so it is a zip file, not GGUF"),
        (b"<!doctype html>", "so it is a web page or an XML file, not GGUF"),
        (b"version https://git-lfs.github", "so it is a Git LFS pointer"),
        (b"\x00\x01\x02\x03", "not with 'GGUF', so it is not GGUF"),
        (b"", "not with 'GGUF', so it is not GGUF"),
        (b"GGUF\x01\x00\x00\x00", "it is GGUF version 1; versions 2 and 3 are supported"),
    ],
)
def test_the_error_for_another_file_type_names_it(tmp_path: Path, start: bytes, message: str) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(start)

    with pytest.raises(ModelError, match=message):
        convert(file, tmp_path)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"Can't read .*none\.gguf: No such file"):
        convert(tmp_path / "none.gguf", tmp_path)


def test_a_file_cut_anywhere_is_refused(tiny: Path, tmp_path: Path) -> None:
    data = tiny.read_bytes()
    cut = tmp_path / "cut.gguf"
    for end in (*range(4, 8000, 97), len(data) // 2, len(data) - 64):
        cut.write_bytes(data[:end])
        with pytest.raises(ModelError, match=r"Download it again\.$"):
            read_head(cut)


def test_an_absurd_length_field_is_refused(tiny: Path, tmp_path: Path) -> None:
    data = bytearray(tiny.read_bytes())
    data[24:32] = b"\xff" * 8  # the length of the first key
    absurd = tmp_path / "absurd.gguf"
    absurd.write_bytes(data)

    with pytest.raises(ModelError, match="it ends at byte"):
        read_head(absurd)


def test_an_unknown_architecture_is_refused_with_an_alternative(tmp_path: Path) -> None:
    file = write_tiny_gguf(tmp_path / "gemma.gguf", layers=1, width=64, architecture="gemma2")

    with pytest.raises(ModelError, match=r"architecture is 'gemma2', and only llama, mistral3, qwen2, .*optimum-cli"):
        convert(file, tmp_path)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3"])
def test_the_other_known_architectures_convert(tmp_path: Path, architecture: str) -> None:
    file = write_tiny_gguf(tmp_path / "m.gguf", layers=1, width=64, architecture=architecture)

    assert convert(file, tmp_path).architecture == architecture


def head(
    metadata: dict[str, Any] | None = None,
    matrix: GGMLQuantizationType = GGMLQuantizationType.Q8_0,
    shape: tuple[int, ...] = (64, 64),
) -> GgufHead:
    fields = {
        "general.architecture": "llama",
        "llama.context_length": 4096,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": ["<end>", "a", "b", "ab"],
        "tokenizer.ggml.token_type": [3, 1, 1, 1],
        "tokenizer.ggml.merges": ["a b"],
        **(metadata or {}),
    }
    norm = GgufTensor("norm", (64,), GGMLQuantizationType.F32, 0)
    return GgufHead(fields, (norm, GgufTensor("w", shape, matrix, 0)))


def architecture(name: str, metadata: dict[str, Any]) -> GgufHead:
    return head({"general.architecture": name, f"{name}.context_length": 4096, **metadata})


@pytest.mark.parametrize(
    ("of", "reason"),
    [
        (head(), None),
        (head(matrix=GGMLQuantizationType.Q5_0), None),
        (head({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.yarn_beta_fast": 32.0}), None),
        (head({"llama.attention.sliding_window": 4096, "llama.expert_count": 0}), None),
        (head(matrix=GGMLQuantizationType.IQ2_XXS), "its tensor 'w' is IQ2_XXS, and only F32, F16, BF16, Q4_0"),
        (head(shape=(64, 64, 2)), "its tensor 'w' is Q8_0 of 3 dimensions"),
        (head(shape=(64,)), "its tensor 'w' is Q8_0 of 1 dimensions"),
        (head(matrix=GGMLQuantizationType.Q4_K), "the rows of its tensor 'w' are not whole blocks of Q4_K"),
        (head({"tokenizer.ggml.model": "bert"}), "its tokenizer is 'bert', and only byte-level BPE"),
        (head({"tokenizer.ggml.pre": "afmoe"}), "its pre-tokenizer is 'afmoe'"),
        (architecture("qwen2", {"qwen2.expert_count": 8}), r"mixture of experts \(qwen2\.expert_count\)"),
        (head({"llama.expert_count": 8, "llama.expert_used_count": 2}), None),
        (head({"llama.expert_gating_func": 2}), "expert_gating_func is 2"),
        (head({"llama.attention.causal": False}), "attention.causal is False"),
        (architecture("granite", {"granite.rope.scaling.finetuned": False}), "its attention has no positions"),
        (head({"llama.attention.sliding_window": 512}), "has a sliding window of 512 tokens"),
        (head({"llama.final_logit_softcapping": 30.0}), "its logits are capped"),
        (
            head({"llama.rope.scaling.type": "dynamic"}),
            "scaling is 'dynamic', and only linear, llama3, yarn, longrope are",
        ),
        (head({"llama.rope.scaling.yarn_beta_fast": 16.0}), "a yarn_beta_fast of 16, and only 32 is supported"),
        (head({"split.count": 3}), "one of several parts"),
    ],
)
def test_unsupported_features_are_refused(of: GgufHead, reason: str | None) -> None:
    found = unsupported(of)

    assert found is None if reason is None else re.search(reason, str(found))


@pytest.mark.parametrize(
    ("there", "instead", "reason"),
    [
        (b"output_norm.weight", b"output_what.weight", "it has no tensor 'output_norm.weight'"),
        (b"llama.block_count", b"llama.block_cound", "its metadata has no number llama.block_count"),
        (b"llama.context_length", b"llama.context_lengtt", "its metadata has no llama.context_length"),
        (b"blk.1.ffn_up", b"blk.1.ffn_op", "it has no tensor 'blk.1.ffn_up.weight'"),
        (b"blk.1.attn_norm", b"blk.7.attn_norm", "it has no tensor 'blk.1.attn_norm.weight'"),
    ],
)
def test_missing_parts_are_named_and_no_files_remain(
    tiny: Path, tmp_path: Path, there: bytes, instead: bytes, reason: str
) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(tiny.read_bytes().replace(there, instead))

    with pytest.raises(ModelError, match=f"^Can't convert .*m.gguf: {reason}. Use an OpenVINO model"):
        convert(file, tmp_path)
    assert list(tmp_path.iterdir()) == [file]


def with_number(file: Path, key: str, old: int, new: int) -> bytes:
    """The bytes of a file with one number of its metadata replaced."""
    name, number = key.encode(), GGUFValueType.UINT32
    there, instead = (name + struct.pack("<II", number, value) for value in (old, new))
    data = file.read_bytes()
    assert there in data
    return data.replace(there, instead)


def test_an_unused_tensor_is_named(tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(with_number(tiny, "llama.block_count", 2, 1))

    with pytest.raises(ModelError, match=r"it has unsupported tensors: blk\.1\.attn_k\.weight, blk\.1\."):
        convert(file, tmp_path)


@pytest.mark.parametrize(
    ("key", "old", "new", "reason"),
    [
        ("attention.head_count", 4, 2, r"its tensor 'blk\.0\.attn_k\.weight' has 128 rows where 256 are expected"),
        ("attention.head_count_kv", 2, 1, r"its tensor 'blk\.0\.attn_k\.weight' has 128 rows where 64 are expected"),
        ("attention.head_count_kv", 2, 3, "its 4 heads of size 64 have 3 KV heads"),
        ("embedding_length", 256, 512, r"its tensor 'blk\.0\.attn_q\.weight' has 256 rows where 512 are expected"),
    ],
)
def test_sizes_that_do_not_fit_together_are_an_error(
    tiny: Path, tmp_path: Path, key: str, old: int, new: int, reason: str
) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(with_number(tiny, f"llama.{key}", old, new))

    with pytest.raises(ModelError, match=rf"^Can't convert .*m\.gguf: {reason}"):
        convert(file, tmp_path)


def test_matrices_that_cannot_be_multiplied_are_an_error(tmp_path: Path) -> None:
    file = write_tiny_gguf(tmp_path / "m.gguf", layers=1, width=128)
    data = file.read_bytes().replace(b"ffn_down", b"ffn_temp").replace(b"ffn_gate", b"ffn_down")
    file.write_bytes(data.replace(b"ffn_temp", b"ffn_gate"))

    with pytest.raises(ModelError, match=r"Can't convert .*m\.gguf: OpenVINO cannot build its graph: .+"):
        convert(file, tmp_path)


def test_an_undeclared_quantization_is_that_of_the_tensors(tmp_path: Path) -> None:
    file = write_tiny_gguf(tmp_path / "m.gguf", layers=1, width=64, file_type=LlamaFileType.GUESSED)

    assert convert(file, tmp_path).quantization == "Q8_0"


def test_the_default_model_converts(default_gguf: Path, tmp_path: Path) -> None:
    facts = convert(default_gguf, tmp_path)

    assert (facts.architecture, facts.quantization, facts.context_length) == ("llama", "Q4_1", 8192)
    assert (facts.end_token_ids, facts.add_bos) == (frozenset({0, 2}), False)
    assert len(load_tokenizer(tmp_path, add_bos=False).encode("Paris", specials=False)) == 1


VALUES: tuple[Value, ...] = (
    0,
    1,
    3,
    7,
    33,
    64,
    2**31,
    -1,
    0.0,
    -1.5,
    1e30,
    float("nan"),
    "yarn",
    "linear",
    "",
    True,
    [],
    [1, 2],
    ["a b"],
)
MORE_KEYS = (
    *(f"llama.rope.{key}" for key in ("dimension_count", "freq_base", "scaling.type", "scaling.factor")),
    *(f"llama.attention.{key}" for key in ("key_length", "value_length", "sliding_window")),
)


def damaged(of: GgufHead, rng: random.Random) -> GgufHead:
    """A header with one value replaced, or with a tensor of another shape, type or name."""
    if rng.random() < 0.6:
        key = rng.choice([*(key for key in of.metadata if key != "general.architecture"), *MORE_KEYS])
        return replace(of, metadata={**of.metadata, key: rng.choice(VALUES)})
    tensors = list(of.tensors)
    index = rng.randrange(len(tensors))
    shape = tensors[index].shape
    changes: list[dict[str, Any]] = [
        *({"shape": other} for other in (shape[::-1], (), (0,), (*shape, 1), (32,), (1, *shape), (shape[0], 1))),
        {"type": rng.choice(list(GGMLQuantizationType))},
        {"name": rng.choice(tensors).name},
    ]
    tensors[index] = replace(tensors[index], **rng.choice(changes))
    return replace(of, tensors=tuple(tensors))


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_header_is_refused_or_harmless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, fuzz: int
) -> None:
    monkeypatch.setattr("crossette.engines.openvino.convert.verify", lambda *_, **__: None)
    weights = Weights(kind=GGMLQuantizationType.Q4_0, rope="llama3")
    file = write_tiny_gguf(tmp_path / "m.gguf", layers=1, width=64, weights=weights)
    intact, rng = read_head(file), random.Random(seed)
    for _ in range(30 * fuzz):
        of = damaged(intact, rng)
        monkeypatch.setattr("crossette.engines.openvino.convert.read_head", lambda _, of=of: of)
        with suppress(ModelError):
            convert(file, tmp_path)


@pytest.mark.parametrize(("splitter", "bos"), [("llama-bpe", True), ("tekken", True), ("qwen2", False)])
def test_the_default_of_add_bos_is_that_of_llama_cpp(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splitter: str, bos: bool
) -> None:
    head = read_head(tiny)
    metadata = {key: value for key, value in head.metadata.items() if key != "tokenizer.ggml.add_bos_token"}
    of = replace(head, metadata={**metadata, "tokenizer.ggml.pre": splitter})
    monkeypatch.setattr("crossette.engines.openvino.convert.read_head", lambda _: of)

    assert convert(tiny, tmp_path).add_bos is bos


def test_a_full_disk_is_an_error(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crossette.engines.openvino.gguf.weights.Weights._mapped", full)

    with pytest.raises(ModelError, match=rf"^Can't convert {tiny} in {tmp_path}: No space left on device\.$"):
        convert(tiny, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_pieces_of_sentencepiece_is_converted(tmp_path: Path) -> None:
    vocabulary, model, folder = tmp_path / "vocabulary.gguf", tmp_path / "model.gguf", tmp_path / "converted"
    folder.mkdir()
    writer = GGUFWriter(vocabulary, "llama")
    for key, value in recorded()["llama"]["fields"].items():
        items = _gguf_type(value[0]) if isinstance(value, list) else None
        writer.add_key_value(f"tokenizer.ggml.{key}", value, _gguf_type(value), items)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    write_tiny_gguf(model, layers=1, width=64, tokenizer_from=vocabulary)

    facts = convert(model, folder)

    tokenizer = load_tokenizer(folder, add_bos=facts.add_bos)
    tokens = tokenizer.encode("the model\n is 12", specials=True)
    text = b"".join(map(tokenizer.token_bytes, tokens)).decode()
    assert (text, tokenizer.bos_token_id, facts.end_token_ids) == (" the model\n is 12", 1, frozenset({2}))


def _gguf_type(value: Any) -> GGUFValueType:
    kinds = {
        bool: GGUFValueType.BOOL,
        int: GGUFValueType.INT32,
        float: GGUFValueType.FLOAT32,
        str: GGUFValueType.STRING,
        list: GGUFValueType.ARRAY,
    }
    return kinds[type(value)]
