"""The Hugging Face Hub over HTTP, with the endpoint, token and proxies of Hugging Face's own tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from crossette import __version__
from crossette.certificates import client_context
from crossette.models.download import Download
from crossette.models.fetch import FetchFailed
from crossette.models.repository import HubFile, HubRepo

T = TypeVar("T")

_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may read it"


class HuggingFaceHub:
    """The real Hub. huggingface_hub is imported on use, as its import takes 0.2 s."""

    def repo(self, name: str, revision: str | None) -> HubRepo:
        from huggingface_hub import HfApi

        info = _call(name, lambda: HfApi().model_info(name, revision=revision, files_metadata=True))
        files = {
            found.rfilename: HubFile(found.size, *((found.lfs.sha256, None) if found.lfs else (None, found.blob_id)))
            for found in info.siblings or ()
        }
        return HubRepo(name, info.sha or revision or "main", files, _license(info.card_data or {}))

    def fetch(self, repo: HubRepo, file: str, part: Path, end: int | None, stop: Event) -> None:
        from huggingface_hub import HfApi, try_to_load_from_cache

        cached = try_to_load_from_cache(repo.name, file, revision=repo.commit)
        if isinstance(cached, str):
            return _copy(Path(cached), part, end)
        url = f"{HfApi().endpoint}/{repo.name}/resolve/{quote(repo.commit, safe='')}/{quote(file)}"
        with _client() as client:
            Download(client, url, part, stop, lambda response: _refusal(repo.name, file, response)).extend(end)


def _copy(source: Path, part: Path, end: int | None) -> None:
    """Let `part` have the first `end` bytes of a file that another program downloaded."""
    with source.open("rb") as file, part.open("ab") as out:
        file.seek(out.tell())
        out.write(file.read() if end is None else file.read(max(0, end - out.tell())))


def _client() -> httpx.Client:
    """A client that sends the token to the Hub alone: it is not sent along where the Hub redirects to."""
    from huggingface_hub.constants import HF_HUB_DOWNLOAD_TIMEOUT
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # public, but not for checkers

    return httpx.Client(
        headers=build_hf_headers(library_name="crossette", library_version=__version__),
        follow_redirects=True,
        timeout=HF_HUB_DOWNLOAD_TIMEOUT,
        verify=client_context("https"),
    )


def _license(card: Any) -> str | None:
    """The licence that a model's card names; `other` has a name of its own."""
    license = card.get("license_name") or card.get("license")
    return license if isinstance(license, str) else None


def _call(name: str, call: Callable[[], T]) -> T:
    """The result of a call of huggingface_hub about the repository `name`. Raises FetchFailed."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return call()
    except GatedRepoError as error:
        raise FetchFailed(_gated(name)) from error
    except RepositoryNotFoundError as error:
        raise FetchFailed(_missing(name)) from error
    # Its errors have no common base class, and network errors belong to its HTTP client, which depends on the
    # version: requests, httpx, httpx2.
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise FetchFailed(f"{name}: {lines[0] if lines else type(error).__name__}") from error


def _refusal(name: str, file: str, response: httpx.Response) -> str:
    """Why the Hub does not send a file of the repository `name`."""
    code, message = response.headers.get("x-error-code"), response.headers.get("x-error-message")
    if code == "GatedRepo":
        return _gated(name)
    if code == "RepoNotFound" or (response.status_code == 401 and not message):
        return _missing(name)
    return f"{name}/{file}: HTTP {response.status_code}" + (f", {message}" if message else "")


def _gated(name: str) -> str:
    return f"{name} is gated: accept its terms on the page of {name} on the Hub, then {_LOG_IN}"


def _missing(name: str) -> str:
    return f"{name} does not exist, or it is private. If it is, {_LOG_IN}"
