"""Files of all families, by llama.cpp's conversion: the reference and the graph compute what transformers does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest
from gguf import GGMLQuantizationType

from crossette.engine import ModelFiles
from crossette.engines.openvino.convert import convert
from crossette.engines.openvino.gguf import reference
from crossette.engines.openvino.gguf.blocks import FORMATS
from crossette.engines.openvino.gguf.check import ConvertedModel
from crossette.engines.openvino.gguf.graph import write_graph
from crossette.engines.openvino.gguf.head import read_head
from crossette.engines.openvino.model import load_paged
from support.family_cases import NAMES, last_logits, requantised, tokens, write_family
from support.family_checks import check_same_text
from support.own_kernels import own_kernels
from support.tiny_model import Weights, write_tiny_gguf

pytestmark = pytest.mark.model

Floats = npt.NDArray[np.float32]
T = GGMLQuantizationType

EXPERTS = [name for name in NAMES if name in ("mixtral", "qwen3moe", "qwen2moe", "granitemoe", "gpt-oss")]


def log_probs(values: Floats) -> Floats:
    below = values - values.max(-1, keepdims=True)
    found: Floats = below - np.log(np.exp(below).sum(-1, keepdims=True))
    return found


def graph_logits(folder: Path, count: int) -> Floats:
    return ConvertedModel(folder, max_tokens=count, kv_cache_dtype="f32").logits(tokens(count))


def assert_near(found: Floats, wanted: Floats) -> None:
    """Scales are rounded to 16 bits: that changes the second place, and which of two nearly equal experts is chosen."""
    differences = np.abs(log_probs(found) - log_probs(wanted))
    assert differences.mean() < 0.01 and np.quantile(differences, 0.98) < 0.05


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_matches_transformers(tmp_path: Path, name: str) -> None:
    file = write_family(tmp_path / "m.gguf", name)

    logits = reference.logits(file, read_head(file), tokens())

    np.testing.assert_allclose(logits[-1], last_logits(name), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_matches_transformers(tmp_path: Path, name: str) -> None:
    file = write_family(tmp_path / "m.gguf", name)
    write_graph(file, read_head(file), tmp_path)
    wanted = log_probs(last_logits(name))
    assert wanted.std() > 0.5

    found = log_probs(graph_logits(tmp_path, 100)[-1])

    assert np.abs(found - wanted).max() < 0.001


@pytest.mark.parametrize("kind", [T.Q8_0, T.Q4_1, T.MXFP4], ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", NAMES)
def test_quantised_files_convert(tmp_path: Path, name: str, kind: T) -> None:
    file = requantised(write_family(tmp_path / "f32.gguf", name), tmp_path / "m.gguf", kind)
    folder = tmp_path / "model"
    folder.mkdir()

    facts = convert(file, folder)

    assert facts.difference is not None
    found, wanted = graph_logits(folder, 100), reference.logits(file, read_head(file), tokens())
    assert_near(found, wanted)


@pytest.mark.parametrize("kind", [T.F32, T.F16, T.BF16, *FORMATS], ids=lambda kind: kind.name)
def test_experts_of_every_type_match_the_reference(tmp_path: Path, kind: T) -> None:
    file = write_tiny_gguf(tmp_path / "m.gguf", layers=1, architecture="qwen3moe", weights=Weights(kind=kind))
    write_graph(file, read_head(file), tmp_path)

    assert_near(graph_logits(tmp_path, 70), reference.logits(file, read_head(file), tokens(70)))


@pytest.mark.parametrize("name", EXPERTS)
def test_only_the_experts_of_a_token_are_computed(tmp_path: Path, name: str) -> None:
    """The form of the graph must stay the one that the plug-in recognises."""
    file = requantised(write_family(tmp_path / "f32.gguf", name), tmp_path / "m.gguf", T.Q8_0)
    write_graph(file, read_head(file), tmp_path)
    compiled = load_paged(tmp_path, threads=1, window=64).compiled
    kinds = [node.get_rt_info()["layerType"].astype(str) for node in compiled.get_runtime_model().get_ops()]

    assert kinds.count("GatherMatmul") == (4 if name == "gpt-oss" else 6)


@pytest.mark.parametrize("name", ["gemma3", "phi3", "gpt-oss", "olmo3"])
def test_windows_reach_the_paged_graph(tmp_path: Path, name: str) -> None:
    file = write_family(tmp_path / "m.gguf", name)
    write_graph(file, read_head(file), tmp_path)

    assert load_paged(tmp_path, threads=1, window=64).sliding_window
    assert "PagedAttentionExtension" not in {
        node.get_type_name() for node in ov.Core().read_model(tmp_path / "openvino_model.xml").get_ops()
    }


@pytest.mark.parametrize("name", NAMES)
def test_one_node_computes_all_layers_of_most_families(tmp_path: Path, name: str) -> None:
    """Not experts, and not LayerNorm with an MLP that is not gated."""
    file = requantised(write_family(tmp_path / "f32.gguf", name), tmp_path / "m.gguf", T.Q8_0)
    folder = tmp_path / "model"
    folder.mkdir()
    convert(file, folder)

    model = load_paged(folder, threads=1, window=512, kernels=own_kernels())

    assert model.own_layers == (name not in (*EXPERTS, "starcoder2"))
    assert model.own_products or name == "gpt-oss"


@pytest.mark.parametrize("name", NAMES)
def test_the_text_is_the_same_in_any_company(tmp_path: Path, name: str) -> None:
    file = requantised(write_family(tmp_path / "f32.gguf", name), tmp_path / "m.gguf", T.Q8_0)
    folder = tmp_path / "model"
    folder.mkdir()
    facts = convert(file, folder)
    files = ModelFiles(
        path=folder,
        name=name,
        architecture=facts.architecture,
        quantization="Q8_0",
        context_length=512,
        end_token_ids=frozenset(),
    )

    check_same_text(files)
