"""Models in Hugging Face's format: only their metadata is read here, an engine outside this process has the weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from crossette.errors import ModelError
from crossette.models.facts import read_checkpoint_facts
from crossette.types import ModelFacts

_HUB = re.compile(r"(?:hf:)?(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[^:@\s]+))?", re.ASCII)

_FILES = (
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("chat_template.jinja", "chat_template.json"),
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model that is not in the store."""

    name: str
    source: str
    """A folder, or ORG/NAME on the Hub."""
    revision: str | None
    """The revision on the Hub; None for the newest."""
    path: Path
    """The folder of its metadata and its tokenizer."""
    facts: ModelFacts

    @property
    def created(self) -> int:
        """When its metadata was written here, in seconds since the epoch."""
        return int((self.path / "config.json").stat().st_mtime)


def find_checkpoint(reference: str) -> Checkpoint:
    """The model that `reference` names: a folder, or `[hf:]ORG/NAME[@REVISION]`, whose metadata is downloaded.

    Raises ModelError.
    """
    folder = Path(reference).expanduser()
    if folder.is_dir():
        path = folder.resolve()
        return _checkpoint(path.name, str(path), None, path)
    hub = _HUB.fullmatch(reference)
    if hub is None:
        raise ModelError(
            f"{reference!r} is not a model for vLLM. Give a folder with config.json, tokenizer.json and weights, or"
            " hf:ORG/NAME[@REVISION]."
        )
    repo, revision = hub["repo"], hub["revision"]
    return _checkpoint(repo.rpartition("/")[2], repo, revision, _download(repo, revision))


def _checkpoint(name: str, source: str, revision: str | None, path: Path) -> Checkpoint:
    if not (path / "config.json").is_file():
        raise ModelError(f"{source} has no config.json: it is not a model in Hugging Face's format.")
    return Checkpoint(name, source, revision, path, read_checkpoint_facts(path, name))


def _download(repo: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download  # its import takes 0.2 s

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(_FILES)))
    except Exception as error:  # its errors have no common base class
        raise ModelError(f"Can't download the metadata of {repo}: {str(error) or type(error).__name__}") from error
