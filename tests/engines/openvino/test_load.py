"""Loading a model from the store: limits of the context length, and errors that name the model."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from crossette.engine import Embedder, Engine
from crossette.engines.openvino import model as model_file
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.engines.registry import load_engine
from crossette.errors import ModelError
from crossette.models.store import ModelRecord, StoredModel
from crossette.server.served import model_files
from support.choosing_graphs import factor_beyond, longest, write_choosing
from support.engine_calls import TINY_CONTEXT


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSETTE_HOME", str(tmp_path / "home"))


def load(path: Path, max_model_len: int | None = None) -> Engine:
    record = ModelRecord(
        source="folder",
        revision="1",
        sha256="",
        architecture="phi3",
        quantization="Q8_0",
        context_length=TINY_CONTEXT,
        end_token_ids=frozenset({2}),
        add_bos=False,
        converter=None,
        created=0,
    )
    settings = OpenVINOSettings(kv_cache="32MiB", max_step_tokens=64, max_model_len=max_model_len)
    engine = load_engine(model_files(StoredModel("tiny-3", path, record)), {"openvino": settings})
    assert not isinstance(engine, Embedder)
    return engine


@pytest.fixture
def folder(tiny_model_dir: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model_dir, tmp_path / "model")


def configure(folder: Path, **config: object) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_the_window_is_what_the_config_allows(folder: Path) -> None:
    with closing(load(configure(folder, attention_chunk_size=256))) as engine:
        assert engine.info.context_length == 256
        assert engine.warnings == (
            "Only 256 tokens of context are served: beyond them the model uses chunked attention (attention_chunk_size)"
            ", which is not supported yet.",
        )


def test_the_shortest_limit_is_reported(folder: Path) -> None:
    config = {"rope_scaling": {"type": "longrope"}, "original_max_position_embeddings": 128, "sliding_window": 256}
    with closing(load(configure(folder, **config))) as engine:
        assert engine.info.context_length == 128
        (warning,) = engine.warnings
        assert "longrope" in warning


def test_a_requested_limit_causes_no_warning(folder: Path) -> None:
    with closing(load(configure(folder, attention_chunk_size=256), max_model_len=200)) as engine:
        assert (engine.info.context_length, engine.warnings) == (200, ())


def test_sliding_windows_that_the_graph_lost_limit_the_context(folder: Path) -> None:
    with closing(load(configure(folder, sliding_window=256))) as engine:
        assert engine.info.context_length == 256
        assert "sliding window attention (sliding_window)" in engine.warnings[0]


def test_sliding_windows_in_the_graph_do_not_limit_the_context(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "slides", lambda model: True)
    with closing(load(configure(folder, sliding_window=256))) as engine:
        assert engine.info.context_length > 256
        assert engine.warnings == ()


def test_the_shorter_limit_of_config_and_graph_applies(tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = write_choosing(tiny_model_dir, tmp_path / "model", factor_beyond(200))
    with closing(load(configure(folder, attention_chunk_size=256))) as engine:
        assert engine.info.context_length == 200


def test_a_model_that_cannot_be_served_is_named(tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = write_choosing(tiny_model_dir, tmp_path / "model", longest)
    with pytest.raises(ModelError, match=r"^Can't serve tiny-3: Its graph computes"):
        load(folder)
