"""The model store on disk: one folder per model under the store's root. Models are added atomically.

A model is written to a hidden folder and then renamed, so that an aborted download or a killed process never leaves
an incomplete model.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import msgspec

from crossette.errors import ModelError
from crossette.folders import cache_folder
from crossette.types import Difference, ModelKind

FORMAT = 1
CONVERSION = 4
"""The version of the GGUF conversion. Models of earlier versions are converted again, because they compute different
values: version 1 rounded the minima of 4-bit groups, version 2 split some texts into other tokens, version 3 rounded
scales to 16 bits."""
RECORD_FILE = "crossette.json"
CHAT_TEMPLATE_FILE = "chat_template.jinja"
LEFTOVER_AGE_S = 24 * 3600
"""A hidden folder without writes for a day belongs to an aborted conversion."""
DOWNLOAD_SUFFIX = ".download"
DOWNLOAD_AGE_S = 7 * LEFTOVER_AGE_S
"""An interrupted download can be continued for a week."""


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The file `crossette.json` of a stored model."""

    source: str
    """The pulled reference, in canonical form."""
    revision: str | None
    """The exact version: a commit, a package version, or the fingerprint of local files."""
    sha256: str | None
    """The checksum of the source weights: the GGUF file, openvino_model.bin, or model.safetensors."""
    license: str | None = None
    """The licence by its source, None if that names none."""
    architecture: str
    quantization: str
    context_length: int
    end_token_ids: frozenset[int]
    add_bos: bool
    converter: str | None
    created: int
    difference: Difference | None = None
    """The measured difference of a converted graph from its GGUF file."""
    kind: ModelKind = "generation"
    conversion: int = 1
    """The version of the GGUF conversion; unused if `converter` is None."""
    format: int = FORMAT

    @property
    def is_outdated(self) -> bool:
        """Whether the model was converted by an earlier version of the conversion."""
        return self.converter is not None and self.conversion < CONVERSION


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model of the store and its path."""

    name: str
    path: Path
    record: ModelRecord

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return folder_size(self.path)

    @property
    def chat_template(self) -> str | None:
        try:
            return (self.path / CHAT_TEMPLATE_FILE).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None


class ModelStore:
    """The models in the folder `root`. Safe to use from several processes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def models(self) -> list[StoredModel]:
        """All readable models, by name. `find` raises for unreadable ones."""
        return [model for name in self.names() if (model := self._readable(name))]

    def find(self, name: str) -> StoredModel | None:
        """The model of that name, or None. Raises ModelError if its record cannot be read."""
        path = self.root / name
        if name not in self.names():
            return None
        return StoredModel(name, path, _read_record(path))

    def remove(self, name: str) -> None:
        """Delete a model, even if its record cannot be read."""
        if name not in self.names():
            raise ModelError(f"There is no model '{name}' in {self.root}. Models: {self._listing()}.")
        self._discard(self.root / name)

    @contextmanager
    def add(self, name: str, *, replace: bool = False) -> Iterator[Path]:
        """Yield an empty folder to fill. Renames it to the model's folder at the end, or deletes it on an exception.

        If another process added a model of that name meanwhile, that one is kept, unless `replace`.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        self._delete_leftovers()
        folder = self._hidden(name)
        folder.mkdir()
        try:
            yield folder
            self._publish(folder, name, replace)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def write_record(self, folder: Path, record: ModelRecord) -> None:
        data = msgspec.json.encode(record, order="deterministic")
        (folder / RECORD_FILE).write_bytes(msgspec.json.format(data, indent=2) + b"\n")

    def names(self) -> list[str]:
        """All model names, including unreadable models."""
        if not self.root.is_dir():
            return []
        return sorted(p.name for p in self.root.iterdir() if not p.name.startswith(".") and p.is_dir())

    def _listing(self) -> str:
        return ", ".join(self.names()) or "none"

    def _readable(self, name: str) -> StoredModel | None:
        try:
            return self.find(name)
        except ModelError:
            return None

    def _hidden(self, name: str) -> Path:
        return self.root / f".{name}.{uuid4().hex[:12]}"

    def _publish(self, folder: Path, name: str, replace: bool) -> None:
        target = self.root / name
        if replace and target.exists():
            self._discard(target)
        try:
            folder.rename(target)
        except OSError:
            if self._readable(name) is None:  # not caused by another process that was faster
                raise

    def _discard(self, path: Path) -> None:
        """Delete a folder atomically: rename it to a hidden one, then delete that."""
        hidden = self._hidden(path.name)
        try:
            path.rename(hidden)
        except FileNotFoundError:  # another process was faster
            return
        shutil.rmtree(hidden, ignore_errors=True)

    def _delete_leftovers(self) -> None:
        for path in self.root.glob(".*"):
            age = DOWNLOAD_AGE_S if path.suffix == DOWNLOAD_SUFFIX else LEFTOVER_AGE_S
            if path.is_dir() and time.time() - _last_write(path) > age:
                shutil.rmtree(path, ignore_errors=True)


def default_root(environ: Mapping[str, str] = os.environ) -> Path:
    """The models folder in the cache folder."""
    return cache_folder(environ) / "models"


def folder_size(folder: Path) -> int:
    """The total bytes of the files below a folder, which may change meanwhile."""
    total = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.stat(os.path.join(parent, file)).st_size
            except OSError:  # renamed or deleted since it was listed
                continue
    return total


def _read_record(path: Path) -> ModelRecord:
    remove = f"Remove it with `crossette models rm {path.name}` and pull it again."
    try:
        data = (path / RECORD_FILE).read_bytes()
    except OSError as error:
        raise ModelError(f"{path} is not a complete model: it has no readable {RECORD_FILE}. {remove}") from error
    try:
        version = msgspec.json.decode(data, type=_Format).format
        if version != FORMAT:
            raise ModelError(f"{path} has format {version}, but this version supports {FORMAT}. {remove}")
        return msgspec.json.decode(data, type=ModelRecord)
    except msgspec.DecodeError as error:
        raise ModelError(f"Can't read {path / RECORD_FILE}: {error}. {remove}") from error


class _Format(msgspec.Struct):
    """The version alone, so that another format is reported as such and not as a missing field."""

    format: int


def _last_write(folder: Path) -> float:
    times = [folder.stat().st_mtime] if folder.exists() else [0.0]
    for path in folder.rglob("*"):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times)
