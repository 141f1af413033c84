"""Model references of users and the names of models in the store. No network access."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from crossette.errors import ModelError
from crossette.models.catalogue import CATALOGUE
from crossette.models.catalogue_entry import CatalogueEntry
from crossette.models.graphs import MODEL_XML, graph_of

WEIGHTS = "model.safetensors"

_HUB = re.compile(
    r"hf:(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[^:@\s]+))?(?::(?:(?P<file>[^:@\s]+\.gguf)|(?P<quantization>[A-Za-z]+\d\w*)))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class CatalogueRef:
    entry: CatalogueEntry

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def source(self) -> str:
        return self.entry.name


@dataclass(frozen=True, slots=True)
class HubRef:
    """A repository of OpenVINO files, or one GGUF file of a repository: by its path, its quantisation, or by rule."""

    repo: str
    file: str | None = None
    revision: str | None = None
    quantization: str | None = None
    """In capitals; None with a file."""

    @property
    def name(self) -> str:
        """Organisation and repository, to avoid collisions between organisations; then file and revision."""
        parts = self.repo.split("/")
        if self.file:
            parts.append(self.file.removesuffix(".gguf"))
        if self.quantization:
            parts.append(self.quantization)
        if self.revision:
            parts.append(self.revision)
        return "--".join(_safe(part) for part in parts)

    @property
    def source(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        part = self.file or self.quantization
        return f"hf:{self.repo}{revision}" + (f":{part}" if part else "")


@dataclass(frozen=True, slots=True)
class GgufRef:
    """A local GGUF file; the path is absolute."""

    path: Path

    @property
    def name(self) -> str:
        return _safe(self.path.stem)

    @property
    def source(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class FolderRef:
    """A local folder of OpenVINO files, or of an encoder in safetensors; the path is absolute."""

    path: Path

    @property
    def name(self) -> str:
        return _safe(self.path.name)

    @property
    def source(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class StoredRef:
    """The name of a model in the store."""

    name: str


Reference = CatalogueRef | HubRef | GgufRef | FolderRef | StoredRef


def parse(text: str, stored: Collection[str] = ()) -> Reference:
    """Parse a reference; `stored` are the names in the store. Raises ModelError with the valid forms."""
    if text.startswith("hf:"):
        return _hub(text)
    if text in CATALOGUE:
        return CatalogueRef(CATALOGUE[text])
    # Links are not resolved: in the Hub's cache a link has the file's name and its target a hash.
    path = Path(os.path.abspath(Path(text).expanduser()))
    if text in stored and not _is_model(path) and not path.is_file():
        return StoredRef(text)
    if path.exists():
        return _local(path)
    raise ModelError(_unknown(text, stored))


def _hub(text: str) -> HubRef:
    match = _HUB.fullmatch(text)
    if match is None or not {"", ".", ".."}.isdisjoint((match["file"] or "x").split("/")):
        raise ModelError(
            f"Can't parse '{text}'. Valid references to the Hugging Face Hub are hf:ORG/REPO,"
            " hf:ORG/REPO:FILE.gguf, hf:ORG/REPO:Q8_0 for its file of a quantisation, and with a revision"
            " hf:ORG/REPO@REVISION and hf:ORG/REPO@REVISION:FILE.gguf."
        )
    quantization = match["quantization"]
    return HubRef(match["repo"], match["file"], match["revision"], quantization and quantization.upper())


def _local(path: Path) -> GgufRef | FolderRef:
    if path.is_file():
        return GgufRef(path)
    if _is_model(path):
        return FolderRef(path)
    raise ModelError(
        f"Can't use the folder {path}: it has no {MODEL_XML}, and no {WEIGHTS} of an embedding model. Give a folder"
        " that `optimum-cli export openvino` wrote, or the path of a .gguf file."
    )


def _is_model(folder: Path) -> bool:
    return graph_of(folder).is_file() or (folder / WEIGHTS).is_file()


def _unknown(text: str, stored: Collection[str]) -> str:
    near = get_close_matches(text.lower(), sorted({*CATALOGUE, *stored}))
    meant = f" Names like it: {', '.join(near)}." if near else ""
    hint = f" For the Hugging Face Hub use hf:{text}." if re.fullmatch(r"[\w.-]+/[\w.-]+", text) else ""
    return (
        f"There is no model '{text}': it is neither a known name nor an existing path.{meant}{hint}"
        " Give a name of `crossette pull` or `crossette models`, hf:ORG/REPO, hf:ORG/REPO:FILE.gguf, a .gguf file, or a"
        " folder of OpenVINO files."
    )


def _safe(text: str) -> str:
    """A valid folder name and model id: without separators and without a leading dot, which would hide the folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-") or "model"
