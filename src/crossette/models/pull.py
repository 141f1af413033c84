"""Pulls models into the store: download, convert or copy, read the metadata, publish."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec

from crossette.errors import ModelError
from crossette.models.download_folder import download_folder
from crossette.models.encoder import ENCODER_FILES, has_embeddings, read_encoder_facts
from crossette.models.facts import GENERATION_CONFIG_FILE, end_token_ids, read_ir_facts, sampling_defaults
from crossette.models.fetch import CheckHead, Fetched, NotAvailable, Progress, sha256_of
from crossette.models.graphs import graph_of, required_files
from crossette.models.hub import IR_FILES
from crossette.models.reference import WEIGHTS, CatalogueRef, FolderRef, GgufRef, HubRef, StoredRef, parse
from crossette.models.sources import Sources
from crossette.models.store import CHAT_TEMPLATE_FILE, CONVERSION, ModelRecord, ModelStore, StoredModel
from crossette.types import ModelFacts, ModelKind

Convert = Callable[[Path, Path], ModelFacts]
"""Converts a GGUF file to OpenVINO files in a folder, and returns the metadata of the GGUF file."""

MODEL_BIN = "openvino_model.bin"

logger = logging.getLogger(__name__)

_GgufSource = CatalogueRef | HubRef | GgufRef
_Source = _GgufSource | FolderRef


def no_progress(what: str, done: int, total: int | None) -> None:
    """A progress callback that does nothing."""


def no_check(head: BinaryIO, size: int, name: str) -> int:
    """A check of headers that accepts all, and does not know the size of the converted model."""
    return 0


def pull(
    store: ModelStore,
    text: str,
    convert: Convert,
    progress: Progress = no_progress,
    sources: Sources | None = None,
    check: CheckHead = no_check,
) -> StoredModel:
    """Return the model that `text` refers to, downloading it into the store if necessary. Raises ModelError.

    `check` refuses GGUF files by their header, before the rest is downloaded.
    """
    reference = parse(text, store.names())
    present = store.find(reference.name)
    tools = _Tools(convert, check, progress, sources or Sources(), partial(download_folder, store.root, reference.name))
    if isinstance(reference, StoredRef):
        present = _require(store, reference.name, present)
    elif present is None or _is_changed(reference, present):
        return _add(store, reference, present is not None, tools)
    if present.record.is_outdated:
        return _reconvert(store, present, tools)
    return present


def _add(store: ModelStore, reference: _Source, replaces: bool, tools: _Tools) -> StoredModel:
    with store.add(reference.name, replace=replaces) as folder:
        record = _Pull(folder, tools).fill(reference)
        sampling_defaults(folder)  # raises ModelError for invalid values
        store.write_record(folder, record)
    return _require(store, reference.name, store.find(reference.name))


def _reconvert(store: ModelStore, present: StoredModel, tools: _Tools) -> StoredModel:
    """Convert the source file again with this version. Returns the model unchanged if the file is unavailable."""
    logger.warning("Converting %s again: this version of crossette converts its weights more precisely.", present.name)
    try:
        with store.add(present.name, replace=True) as folder:
            record = _Pull(folder, tools).fill_again(present.record)
            store.write_record(folder, record)
    except NotAvailable as error:
        logger.warning("Keeping the less precise conversion of %s by an earlier version. %s", present.name, error)
        return present
    return _require(store, present.name, store.find(present.name))


def _require(store: ModelStore, name: str, model: StoredModel | None) -> StoredModel:
    if model is None:
        raise ModelError(f"The model '{name}' was removed from {store.root} meanwhile. Pull it again.")
    return model


def _is_changed(reference: _Source, present: StoredModel) -> bool:
    """Whether local files have changed. Raises ModelError if the name belongs to another model."""
    if present.record.source != reference.source:
        raise ModelError(
            f"Can't store {reference.source} as '{reference.name}': that model is {present.record.source}."
            f" Remove it with `crossette models rm {reference.name}`, or rename the file or folder."
        )
    if isinstance(reference, GgufRef | FolderRef):
        return present.record.revision != _fingerprint(reference.path)
    return False


def _source_of(record: ModelRecord) -> _GgufSource:
    """The source of a converted model, at the same revision."""
    try:
        reference = parse(record.source)
    except ModelError as error:  # a deleted local file
        raise NotAvailable(str(error)) from error
    if isinstance(reference, HubRef):
        return replace(reference, revision=record.revision)
    if isinstance(reference, CatalogueRef | GgufRef):
        return reference
    raise NotAvailable(f"{record.source} is not a GGUF file any more.")


@dataclass(frozen=True, slots=True)
class _Tools:
    """The dependencies of a pull."""

    convert: Convert
    check: CheckHead
    progress: Progress
    sources: Sources
    downloads: Callable[[], AbstractContextManager[Path]]
    """The folder of the download, which outlives an interruption."""


@dataclass(frozen=True, slots=True)
class _Pull:
    """The download and conversion of one model into `folder`."""

    folder: Path
    tools: _Tools

    def fill(self, reference: _Source) -> ModelRecord:
        match reference:
            case FolderRef(path):
                self.tools.progress(f"Copying {path.name}", 0, None)
                revision = _fingerprint(path)
                _copy_files(path, self.folder)
                return self._read(reference.source, revision, path.name)
            case HubRef(repo, None):
                if file := self.tools.sources.choose_file(reference):
                    return msgspec.structs.replace(self._convert_gguf(file), source=reference.source)
                with self.tools.downloads() as folder:
                    found = self.tools.sources.hub_model(reference, folder, self.folder, self.tools.progress)
                return self._read(reference.source, found.commit, repo, found.license)
            case CatalogueRef(entry) if entry.is_folder:
                with self.tools.downloads() as folder:
                    fetched = self.tools.sources.catalogue_folder(entry, folder, self.folder, self.tools.progress)
                return self._read(reference.source, fetched.revision, entry.name, fetched.license)
            case _:
                return self._convert_gguf(reference)

    def fill_again(self, record: ModelRecord) -> ModelRecord:
        """Convert the same source file again. Raises NotAvailable if the source no longer has it."""
        source = _source_of(record)
        if isinstance(source, HubRef) and source.file is None:
            source = self.tools.sources.choose_file(source) or source
        again = self._convert_gguf(source, record.sha256)
        return msgspec.structs.replace(again, source=record.source, revision=record.revision)

    def _convert_gguf(self, reference: _GgufSource, sha256: str | None = None) -> ModelRecord:
        with self._place_for(reference) as folder:
            fetched = self._gguf(reference, folder)
            if sha256 not in (None, fetched.sha256):
                raise NotAvailable(f"{reference.source} has changed. Pull it by that name to replace the model.")
            self.tools.progress(f"Converting and checking {fetched.path.name}", 0, None)
            facts = self.tools.convert(fetched.path, self.folder)
        if isinstance(reference, CatalogueRef) and reference.entry.sampling:
            (self.folder / GENERATION_CONFIG_FILE).write_bytes(msgspec.json.encode(reference.entry.sampling))
        return self._record(reference.source, fetched.revision, fetched.sha256, facts, license=fetched.license)

    def _place_for(self, reference: _GgufSource) -> AbstractContextManager[Path]:
        """The folder for the file; that of a local one is its own."""
        return nullcontext(reference.path.parent) if isinstance(reference, GgufRef) else self.tools.downloads()

    def _gguf(self, reference: _GgufSource, folder: Path) -> Fetched:
        tools = self.tools
        match reference:
            case CatalogueRef(entry):
                return tools.sources.catalogue(entry, folder, tools.progress, tools.check)
            case HubRef():
                return tools.sources.hub_file(reference, str(reference.file), folder, tools.progress, tools.check)
            case GgufRef(path):
                self.tools.progress(f"Reading {path.name}", 0, None)
                return Fetched(path, _fingerprint(path), sha256_of(path))

    def _read(self, source: str, revision: str, name: str, license: str | None = None) -> ModelRecord:
        if has_embeddings(self.folder):
            facts = read_encoder_facts(self.folder, name)
            weights = WEIGHTS if (self.folder / WEIGHTS).is_file() else MODEL_BIN
            _check_complete(self.folder, source, (weights,))
            sha256 = sha256_of(self.folder / weights)
            return self._record(source, revision, sha256, facts, kind="embedding", license=license)
        _check_complete(self.folder, source, required_files(self.folder))
        facts = read_ir_facts(self.folder, name)
        if facts.chat_template is not None:
            (self.folder / CHAT_TEMPLATE_FILE).write_text(facts.chat_template, encoding="utf-8", newline="")
        sha256 = sha256_of(graph_of(self.folder).with_suffix(".bin"))
        return self._record(source, revision, sha256, facts, license=license)

    def _record(
        self,
        source: str,
        revision: str,
        sha256: str,
        facts: ModelFacts,
        *,
        kind: ModelKind = "generation",
        license: str | None = None,
    ) -> ModelRecord:
        return ModelRecord(
            source=source,
            revision=revision,
            sha256=sha256,
            license=license,
            architecture=facts.architecture,
            quantization=facts.quantization,
            context_length=facts.context_length,
            end_token_ids=end_token_ids(facts),
            add_bos=facts.add_bos,
            converter=facts.converter,
            created=int(time.time()),
            difference=facts.difference,
            kind=kind,
            conversion=CONVERSION,
        )


def _copy_files(source: Path, target: Path) -> None:
    """Copy the files: a link would break when the user moves or rewrites the folder."""
    try:
        for name in _files_of(source):
            if (source / name).is_file():
                (target / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(source / name, target / name)
    except OSError as error:
        raise ModelError(f"Can't copy {source} into the model store: {error}.") from error


def _files_of(folder: Path) -> tuple[str, ...]:
    return IR_FILES if graph_of(folder).is_file() else ENCODER_FILES


def _check_complete(folder: Path, source: str, required: tuple[str, ...]) -> None:
    missing = [name for name in required if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"Can't use {source}: it has no {', '.join(missing)}. `optimum-cli export openvino --model MODEL"
            " FOLDER` (package optimum-intel, with openvino-tokenizers) writes the graph and both tokenizers."
        )


def _fingerprint(path: Path) -> str:
    """The size and mtime of local files, to detect changes at start without reading gigabytes."""
    files = [path] if path.is_file() else [path / name for name in _files_of(path)]
    stats = [file.stat() for file in files if file.is_file()]
    return f"{sum(s.st_size for s in stats)}-{max(s.st_mtime_ns for s in stats)}"
