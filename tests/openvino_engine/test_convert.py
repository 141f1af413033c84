"""GGUF to OpenVINO: what is written, what is known about it, and what is refused before it goes wrong."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from gguf import GGMLQuantizationType, LlamaFileType

from crossette.engines.openvino.convert import convert, unsupported
from crossette.engines.openvino.gguf.head import GgufHead, GgufTensor, read_head
from crossette.errors import ModelError
from crossette.types import ModelFacts
from tiny_model import CHAT_TEMPLATE, write_tiny_gguf

FILES = {f"openvino_{part}.{kind}" for part in ("model", "tokenizer", "detokenizer") for kind in ("xml", "bin")}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", layers=2, context_length=1234)


@pytest.fixture(scope="session")
def converted(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelFacts]:
    folder = tmp_path_factory.mktemp("converted")
    return folder, convert(tiny, folder)


def tokenizer(folder: Path) -> Any:  # Any: openvino_genai has no types
    return import_module("openvino_genai").Tokenizer(str(folder))


def test_the_facts_are_those_of_the_file(converted: tuple[Path, ModelFacts]) -> None:
    _, facts = converted

    assert facts == ModelFacts(
        architecture="llama",
        quantization="Q8_0",
        context_length=1234,
        end_token_ids=frozenset({2}),
        add_bos=False,
        chat_template=CHAT_TEMPLATE,
        special_tokens={0: "<|endoftext|>", 1: "<|im_start|>", 2: "<|im_end|>"},
        converter=facts.converter,
    )
    assert facts.converter is not None and facts.converter.startswith("openvino-genai 2026.")


def test_graph_tokenizers_and_template_are_written_and_nothing_else(
    tiny: Path, converted: tuple[Path, ModelFacts]
) -> None:
    folder, _ = converted

    assert {path.name for path in folder.iterdir()} == {*FILES, "chat_template.jinja"}
    assert (folder / "chat_template.jinja").read_text() == CHAT_TEMPLATE
    assert [path.name for path in tiny.parent.iterdir()] == ["tiny.gguf"]


def test_the_converted_model_generates(converted: tuple[Path, ModelFacts]) -> None:
    pipeline = import_module("openvino_genai").LLMPipeline(str(converted[0]), "CPU")

    assert isinstance(pipeline.generate("hello", max_new_tokens=4), str)


def test_the_tokenizer_keeps_every_token_of_a_long_prompt(converted: tuple[Path, ModelFacts]) -> None:
    """As openvino_genai writes it, it cuts what exceeds 8,192 tokens and says nothing."""
    encoded = tokenizer(converted[0]).encode("ab " * 4000, add_special_tokens=False)

    assert encoded.input_ids.shape == [1, 12000]


def test_any_text_survives_the_byte_vocabulary(converted: tuple[Path, ModelFacts]) -> None:
    text = "Grüße, 世界! 🎆\n\t 12  "
    tokens = tokenizer(converted[0])

    assert tokens.decode(tokens.encode(text, add_special_tokens=False).input_ids) == [text]


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
        (b"GGUF\x01\x00\x00\x00", "it is GGUF version 1; 2 and 3 can be read"),
    ],
)
def test_a_file_that_is_something_else_is_called_by_its_name(tmp_path: Path, start: bytes, message: str) -> None:
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


def test_a_length_field_gone_wild_is_refused(tiny: Path, tmp_path: Path) -> None:
    data = bytearray(tiny.read_bytes())
    data[24:32] = b"\xff" * 8  # the length of the first key
    wild = tmp_path / "wild.gguf"
    wild.write_bytes(data)

    with pytest.raises(ModelError, match="it ends at byte"):
        read_head(wild)


def test_an_unknown_architecture_is_refused_with_a_way_out(tmp_path: Path) -> None:
    file = write_tiny_gguf(tmp_path / "gemma.gguf", layers=1, width=64, architecture="gemma2")

    with pytest.raises(ModelError, match=r"architecture is 'gemma2', and only llama, qwen2, qwen3 .*optimum-cli"):
        convert(file, tmp_path)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3"])
def test_the_other_known_architectures_convert(tmp_path: Path, architecture: str) -> None:
    file = write_tiny_gguf(tmp_path / "m.gguf", layers=1, width=64, architecture=architecture)

    assert convert(file, tmp_path).architecture == architecture


def head(
    metadata: dict[str, Any] | None = None,
    matrix: GGMLQuantizationType = GGMLQuantizationType.Q8_0,
    name: str = "w",
) -> GgufHead:
    fields = {"general.architecture": "llama", "tokenizer.ggml.model": "gpt2", **(metadata or {})}
    return GgufHead(
        fields,
        (GgufTensor("norm", (64,), GGMLQuantizationType.F32, 0), GgufTensor(name, (64, 64), matrix, 0)),
    )


@pytest.mark.parametrize(
    ("of", "reason"),
    [
        (head(), None),
        (head(matrix=GGMLQuantizationType.Q5_K), "its tensor 'w' is Q5_K, and only F16, Q8_0"),
        (head({"tokenizer.ggml.model": "llama"}), "its tokenizer is 'llama'"),
        (head({"tokenizer.ggml.pre": "tekken"}), "splits text by the rules 'tekken'"),
        (head({"llama.expert_count": 8}), "mixture of experts"),
        (head({"llama.rope.scaling.type": "yarn"}), r"scaled \('yarn'\)"),
        (head(name="rope_freqs.weight"), r"scaled \('llama3'\)"),
        (head({"split.count": 3}), "one of several parts"),
    ],
)
def test_what_would_go_wrong_in_silence_is_refused(of: GgufHead, reason: str | None) -> None:
    found = unsupported(of)

    assert found is None if reason is None else re.search(reason, str(found))


def test_what_the_converter_raises_becomes_our_error(tmp_path: Path) -> None:
    file = write_tiny_gguf(tmp_path / "m.gguf", layers=1, width=64)
    file.write_bytes(file.read_bytes().replace(b"output_norm", b"output_what"))

    with pytest.raises(ModelError, match=r"Can't convert .*openvino-genai .* says: "):
        convert(file, tmp_path)


def test_the_quantization_of_a_file_that_does_not_say_is_that_of_its_tensors(tmp_path: Path) -> None:
    file = write_tiny_gguf(tmp_path / "m.gguf", layers=1, width=64, file_type=LlamaFileType.GUESSED)

    assert convert(file, tmp_path).quantization == "Q8_0"


def test_the_default_model_converts(default_gguf: Path, tmp_path: Path) -> None:
    facts = convert(default_gguf, tmp_path)

    assert (facts.architecture, facts.quantization, facts.context_length) == ("llama", "Q4_1", 8192)
    assert (facts.end_token_ids, facts.add_bos) == (frozenset({2}), False)
    assert tokenizer(tmp_path).encode("Paris", add_special_tokens=False).input_ids.shape == [1, 1]
