"""The models on this machine's disk: one folder each under the store's root, complete or not there at all.

A model is written to a hidden folder beside its place and renamed into it, so a broken download or a
killed process never looks like a model. Knows nothing of where models come from.
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
from crossette.types import Difference

FORMAT = 1
CONVERSION = 2
"""Counts the ways in which GGUF files were converted. What an earlier way made is made again from its file, because
it computes something else: 1 rounded the minima of 4-bit groups."""
RECORD_FILE = "crossette.json"
CHAT_TEMPLATE_FILE = "chat_template.jinja"
LEFTOVER_AGE_S = 24 * 3600
"""A hidden folder in which nothing was written for a day belongs to no running download."""


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The file `crossette.json` of a stored model."""

    source: str
    """The reference that was pulled, in its one canonical spelling."""
    revision: str | None
    """What exactly that was then: a commit, a package version, or the fingerprint of local files."""
    sha256: str | None
    """Of the weights as they were fetched: the GGUF file, or openvino_model.bin."""
    architecture: str
    quantization: str
    context_length: int
    end_token_ids: frozenset[int]
    add_bos: bool
    converter: str | None
    created: int
    difference: Difference | None = None
    """Of a converted graph from the GGUF file, as it was measured then."""
    conversion: int = 1
    """The way in which a GGUF file was converted; of no meaning where `converter` is None."""
    format: int = FORMAT

    @property
    def is_outdated(self) -> bool:
        """Whether the file that it was converted from would be converted otherwise today."""
        return self.converter is not None and self.conversion < CONVERSION


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model of the store and where it lies."""

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
    """The folder `root` and the models in it. Several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def models(self) -> list[StoredModel]:
        """Every readable model, by name. What is unreadable is named by `find`, not here."""
        return [model for name in self.names() if (model := self._readable(name))]

    def find(self, name: str) -> StoredModel | None:
        """The model of that name, or None. Raises ModelError if its record cannot be read."""
        path = self.root / name
        if name not in self.names():
            return None
        return StoredModel(name, path, _read_record(path))

    def remove(self, name: str) -> None:
        """Delete a model, also one whose record cannot be read."""
        if name not in self.names():
            raise ModelError(f"There is no model '{name}' in {self.root}. It holds: {self._listing()}.")
        self._discard(self.root / name)

    @contextmanager
    def add(self, name: str, *, replace: bool = False) -> Iterator[Path]:
        """Give an empty folder to fill; move it into place at the end, or delete it if the body raised.

        Where another process put a model of that name there meanwhile, that one stays, unless `replace`.
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
        """Every name that is taken, also by what cannot be read."""
        if not self.root.is_dir():
            return []
        return sorted(p.name for p in self.root.iterdir() if not p.name.startswith(".") and p.is_dir())

    def _listing(self) -> str:
        return ", ".join(self.names()) or "nothing"

    def _readable(self, name: str) -> StoredModel | None:
        try:
            return self.find(name)
        except ModelError:
            return None

    def _hidden(self, name: str) -> Path:
        return self.root / f".{name}.{uuid4().hex[:12]}"

    def _publish(self, folder: Path, name: str, replace: bool) -> None:
        place = self.root / name
        if replace and place.exists():
            self._discard(place)
        try:
            folder.rename(place)
        except OSError:
            if self._readable(name) is None:  # not lost to another process: a real failure
                raise

    def _discard(self, path: Path) -> None:
        """Delete a folder so that nobody sees half of it: rename, then delete."""
        hidden = self._hidden(path.name)
        try:
            path.rename(hidden)
        except FileNotFoundError:  # another process was faster
            return
        shutil.rmtree(hidden, ignore_errors=True)

    def _delete_leftovers(self) -> None:
        for path in self.root.glob(".*"):
            if path.is_dir() and time.time() - _last_write(path) > LEFTOVER_AGE_S:
                shutil.rmtree(path, ignore_errors=True)


def default_root(environ: Mapping[str, str] = os.environ) -> Path:
    """The models folder in the cache folder."""
    return cache_folder(environ) / "models"


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder that may change meanwhile."""
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
        raise ModelError(f"{path} is no complete model: it has no readable {RECORD_FILE}. {remove}") from error
    try:
        version = msgspec.json.decode(data, type=_Format).format
        if version != FORMAT:
            raise ModelError(f"{path} has format {version}, but this version reads {FORMAT}. {remove}")
        return msgspec.json.decode(data, type=ModelRecord)
    except msgspec.DecodeError as error:
        raise ModelError(f"Can't read {path / RECORD_FILE}: {error}. {remove}") from error


class _Format(msgspec.Struct):
    """Only the version, so that another format is named as such and not as a missing field."""

    format: int


def _last_write(folder: Path) -> float:
    times = [folder.stat().st_mtime] if folder.exists() else [0.0]
    for path in folder.rglob("*"):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times)
