"""Downloads from the Hugging Face Hub through huggingface_hub, with its endpoint, token and proxy settings."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from crossette.models.encoder import EMBEDDING_FILES, ENCODER_FILES, POOLING_CONFIG
from crossette.models.fetch import Fetched, FetchFailed, Progress, check_sha256, report_size, sha256_of
from crossette.models.gguf_choice import choose_gguf
from crossette.models.graphs import IMAGE_TEXT_FILES, MODEL_XML, graph_among
from crossette.models.reference import WEIGHTS

T = TypeVar("T")

IR_FILES = (
    MODEL_XML,
    "openvino_model.bin",
    "openvino_tokenizer.xml",
    "openvino_tokenizer.bin",
    "openvino_detokenizer.xml",
    "openvino_detokenizer.bin",
    "openvino_config.json",
    "config.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    *IMAGE_TEXT_FILES,
    *EMBEDDING_FILES,
)
"""The files that are copied from a folder of OpenVINO files."""


@dataclass(frozen=True, slots=True)
class HubFile:
    size: int | None
    sha256: str | None
    """Known for large files only."""


@dataclass(frozen=True, slots=True)
class HubRepo:
    """A repository at one commit."""

    name: str
    commit: str
    files: Mapping[str, HubFile]


class Hub(Protocol):
    """The operations of the Hub that are used here. Both raise FetchFailed."""

    def repo(self, name: str, revision: str | None) -> HubRepo: ...

    def download(self, repo: HubRepo, file: str, folder: Path) -> Path:
        """Download one file into a folder, at its path in the repository."""


class HuggingFaceHub:
    """The real Hub. huggingface_hub is imported on use, as its import takes 0.2 s."""

    def repo(self, name: str, revision: str | None) -> HubRepo:
        from huggingface_hub import HfApi

        info = _call(name, lambda: HfApi().model_info(name, revision=revision, files_metadata=True))
        files = {s.rfilename: HubFile(s.size, s.lfs.sha256 if s.lfs else None) for s in info.siblings or ()}
        return HubRepo(name, info.sha or revision or "main", files)

    def download(self, repo: HubRepo, file: str, folder: Path) -> Path:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
        return Path(
            _call(
                f"{repo.name}/{file}",
                lambda: hf_hub_download(repo.name, file, revision=repo.commit, local_dir=folder),
            )
        )


def fetch_file(hub: Hub, name: str, file: str, revision: str | None, folder: Path, progress: Progress) -> Fetched:
    """Download one file of a repository. Raises FetchFailed."""
    repo = hub.repo(name, revision)
    if file not in repo.files:
        raise FetchFailed(f"{name} has no file '{file}'. Its GGUF files: {_ggufs(repo) or 'none'}")
    _download(hub, repo, [file], folder, progress)
    path = folder / file
    return Fetched(path, repo.commit, sha256_of(path))


def find_gguf(hub: Hub, name: str, revision: str | None, quantization: str | None) -> tuple[str, str] | None:
    """The commit, and the GGUF file to take of a repository; None if it is taken as a folder. Raises FetchFailed."""
    repo = hub.repo(name, revision)
    sizes = {file: known.size for file, known in repo.files.items() if file.endswith(".gguf")}
    if quantization is None and (graph_among(repo.files) is not None or not sizes):
        return None
    try:
        return repo.commit, choose_gguf(sizes, quantization)
    except ValueError as error:
        raise FetchFailed(f"Choose a file with hf:{name}:FILE.gguf: {error}") from error


def fetch_model(hub: Hub, name: str, revision: str | None, folder: Path, progress: Progress) -> str:
    """Download the files of a repository into a folder: OpenVINO's, or those of an encoder. Raises FetchFailed.

    Returns the commit.
    """
    repo = hub.repo(name, revision)
    if graph_among(repo.files) is not None:
        wanted: tuple[str, ...] = IR_FILES
    elif POOLING_CONFIG in repo.files and WEIGHTS in repo.files:
        wanted = ENCODER_FILES
    else:
        raise FetchFailed(_no_ir(repo))
    _download(hub, repo, [file for file in wanted if file in repo.files], folder, progress)
    return repo.commit


def _download(hub: Hub, repo: HubRepo, files: list[str], folder: Path, progress: Progress) -> None:
    sizes = [repo.files[file].size for file in files]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    with report_size(folder, f"Downloading {repo.name}", total, progress):
        for file in files:
            path = hub.download(repo, file, folder)
            if expected := repo.files[file].sha256:
                check_sha256(sha256_of(path), expected, f"{repo.name}/{file}")
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # metadata of huggingface_hub


def _no_ir(repo: HubRepo) -> str:
    return (
        f"{repo.name} has no {MODEL_XML} and no GGUF file. Convert it with"
        f" `optimum-cli export openvino --model {repo.name} FOLDER` (package optimum-intel)"
    )


def _ggufs(repo: HubRepo) -> str:
    return ", ".join(sorted(file for file in repo.files if file.endswith(".gguf")))


def _call(what: str, call: Callable[[], T]) -> T:
    try:
        return call()
    # Its errors have no common base class, and network errors belong to its HTTP client, which depends on the
    # version: requests, httpx, httpx2.
    except Exception as error:
        if reason := _refusal(what, error):
            raise FetchFailed(reason) from error
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise FetchFailed(f"{what}: {lines[0] if lines else type(error).__name__}") from error


def _refusal(what: str, error: Exception) -> str | None:
    """What to do about an answer of the Hub that a login changes; None for other errors."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    log_in = "log in with `hf auth login`, or set HF_TOKEN to a token that may read it"
    if isinstance(error, GatedRepoError):
        page = "/".join(what.split("/")[:2])
        return f"{what} is gated: accept its terms on the page of {page} on the Hub, then {log_in}"
    if isinstance(error, RepositoryNotFoundError):
        return f"{what} does not exist, or it is private. If it is, {log_in}"
    return None
