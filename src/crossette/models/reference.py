"""What a user may write for a model, and the name under which the store keeps it. Fetches nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from crossette.errors import ModelError
from crossette.models.catalogue import CATALOGUE, CatalogueEntry

MODEL_XML = "openvino_model.xml"

_HUB = re.compile(
    r"hf:(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[^:@\s]+))?(?::(?P<file>[^:@\s]+\.gguf))?",
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
    """A repository of OpenVINO files, or one GGUF file of a repository."""

    repo: str
    file: str | None = None
    revision: str | None = None

    @property
    def name(self) -> str:
        """Organisation and repository, so that two organisations cannot collide; then file and revision."""
        parts = self.repo.split("/")
        if self.file:
            parts.append(self.file.removesuffix(".gguf"))
        if self.revision:
            parts.append(self.revision)
        return "--".join(_safe(part) for part in parts)

    @property
    def source(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf:{self.repo}{revision}" + (f":{self.file}" if self.file else "")


@dataclass(frozen=True, slots=True)
class GgufRef:
    """A GGUF file of this machine; the path is absolute."""

    path: Path

    @property
    def name(self) -> str:
        return _safe(self.path.stem)

    @property
    def source(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class FolderRef:
    """A folder of OpenVINO files on this machine; the path is absolute."""

    path: Path

    @property
    def name(self) -> str:
        return _safe(self.path.name)

    @property
    def source(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class StoredRef:
    """The name of a model that the store already has."""

    name: str


Reference = CatalogueRef | HubRef | GgufRef | FolderRef | StoredRef


def parse(text: str, stored: Collection[str] = ()) -> Reference:
    """Read a reference; `stored` are the names in the store. Raises ModelError that says what would do."""
    if text.startswith("hf:"):
        return _hub(text)
    if text in CATALOGUE:
        return CatalogueRef(CATALOGUE[text])
    # Not resolved: in the Hub's own cache a link has the file's name and its target only a hash.
    path = Path(os.path.abspath(Path(text).expanduser()))
    if text in stored and not (path / MODEL_XML).is_file() and not path.is_file():
        return StoredRef(text)
    if path.exists():
        return _local(path)
    raise ModelError(_unknown(text, stored))


def _hub(text: str) -> HubRef:
    match = _HUB.fullmatch(text)
    if match is None:
        raise ModelError(
            f"Can't read '{text}'. A model of the Hugging Face Hub is written hf:ORG/REPO,"
            " hf:ORG/REPO:FILE.gguf, or with a revision hf:ORG/REPO@REVISION and"
            " hf:ORG/REPO@REVISION:FILE.gguf."
        )
    return HubRef(match["repo"], match["file"], match["revision"])


def _local(path: Path) -> GgufRef | FolderRef:
    if path.is_file():
        return GgufRef(path)
    if (path / MODEL_XML).is_file():
        return FolderRef(path)
    raise ModelError(
        f"Can't use the folder {path}: it holds no {MODEL_XML}. Give a folder that `optimum-cli export"
        " openvino` wrote, or the path of a .gguf file."
    )


def _unknown(text: str, stored: Collection[str]) -> str:
    known = ", ".join(sorted({*CATALOGUE, *stored}))
    hint = f" For the Hugging Face Hub write hf:{text}." if re.fullmatch(r"[\w.-]+/[\w.-]+", text) else ""
    return (
        f"There is no model '{text}': it is neither a known name ({known}) nor a path that exists.{hint}"
        " A model is a known name, hf:ORG/REPO, hf:ORG/REPO:FILE.gguf, a .gguf file, or a folder of OpenVINO"
        " files."
    )


def _safe(text: str) -> str:
    """A folder name and a model id: no separators, no leading dot, which hides a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-") or "model"
