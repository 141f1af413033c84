"""LoRA adapters on disk and on the Hub: folders in PEFT's format."""

from __future__ import annotations

import re
from pathlib import Path

from crossette.errors import ModelError

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")

_HUB = re.compile(r"hf:(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[^:@\s]+))?", re.ASCII)


def find_adapter(reference: str) -> Path:
    """The folder of the adapter that `reference` names: a folder, or `hf:ORG/REPO[@REVISION]`, which is downloaded.

    Raises ModelError for one without the files of an adapter.
    """
    hub = _HUB.fullmatch(reference)
    folder = Path(reference).expanduser().absolute() if hub is None else _download(hub["repo"], hub["revision"])
    missing = [name for name in ADAPTER_FILES if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"{reference!r} is not a LoRA adapter: it has no {' and no '.join(missing)}. Give a folder that PEFT's"
            " save_pretrained wrote, or hf:ORG/REPO[@REVISION]."
        )
    return folder


def _download(repo: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download  # its import takes 0.2 s

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(ADAPTER_FILES)))
    except Exception as error:  # its errors have no common base class
        raise ModelError(f"Can't download the adapter {repo}: {str(error) or type(error).__name__}") from error
