"""Models of the Hugging Face Hub: which files of a repository are taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from crossette.models.encoder import EMBEDDING_FILES, ENCODER_FILES, POOLING_CONFIG
from crossette.models.fetch import CheckHead, Fetched, FetchFailed, Progress, check_sha256
from crossette.models.gguf_choice import choose_gguf
from crossette.models.graphs import IMAGE_TEXT_FILES, MODEL_XML, graph_among
from crossette.models.reference import WEIGHTS
from crossette.models.repository import Hub, HubRepo, RepoDownload

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

_COPIES = 2
"""A conversion writes the weights twice: to a scratch file, and to the model."""


def fetch_gguf(
    hub: Hub,
    name: str,
    file: str,
    revision: str | None,
    folder: Path,
    progress: Progress,
    check: CheckHead,
    sha256: str | None = None,
) -> Fetched:
    """Download a GGUF file of a repository, once its header was checked.

    Raises FetchFailed, also for another checksum than `sha256`, and what `check` raises.
    """
    repo = hub.repo(name, revision)
    if file not in repo.files:
        raise FetchFailed(f"{name} has no file '{file}'. Its GGUF files: {_ggufs(repo) or 'none'}")
    if sha256 is not None:
        repo = _with_sha256(repo, file, sha256)
    download = RepoDownload(hub, repo, folder)
    converted = 0
    if (size := repo.files[file].size) is not None:
        progress(f"Reading the header of {name}", 0, None)
        with download.head(file, size) as head:
            converted = check(head, size, f"{name}/{file}")
    found = download.run([file], progress, further=_COPIES * converted)[file]
    return Fetched(download.path(file), repo.commit, found, repo.license)


def _with_sha256(repo: HubRepo, file: str, sha256: str) -> HubRepo:
    """The repository with a checksum that is known from elsewhere. Raises FetchFailed if it has another one."""
    known = repo.files[file]
    check_sha256(known.sha256 or sha256, sha256, f"{repo.name}/{file}")
    return replace(repo, files={**repo.files, file: replace(known, sha256=sha256)})


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


def fetch_model(hub: Hub, name: str, revision: str | None, folder: Path, target: Path, progress: Progress) -> HubRepo:
    """Download the files of a repository, and move them into `target`: OpenVINO's, or those of an encoder.

    Returns the repository. Raises FetchFailed.
    """
    repo = hub.repo(name, revision)
    if graph_among(repo.files) is not None:
        wanted: tuple[str, ...] = IR_FILES
    elif POOLING_CONFIG in repo.files and WEIGHTS in repo.files:
        wanted = ENCODER_FILES
    else:
        raise FetchFailed(_no_ir(repo))
    download = RepoDownload(hub, repo, folder)
    files = download.run([file for file in wanted if file in repo.files], progress)
    for file in files:
        (target / file).parent.mkdir(exist_ok=True)
        download.path(file).rename(target / file)
    return repo


def _no_ir(repo: HubRepo) -> str:
    return (
        f"{repo.name} has no {MODEL_XML} and no GGUF file. Convert it with"
        f" `optimum-cli export openvino --model {repo.name} FOLDER` (package optimum-intel)"
    )


def _ggufs(repo: HubRepo) -> str:
    return ", ".join(sorted(file for file in repo.files if file.endswith(".gguf")))
