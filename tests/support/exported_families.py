"""Tiny random models of many families with what transformers says with them, which export_families.py wrote."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import msgspec

from crossette.engine import ModelFiles
from crossette.models.differences import known_differences
from crossette.models.facts import read_config, read_context_length
from crossette.models.window import window_limits
from support.family_configs import CONFIGS, SHORT_WINDOW
from support.image_text_configs import IMAGE_TEXT_CONFIGS
from support.tiny_model import tiny_files

ARCHIVE = Path(__file__).parents[1] / "data/families.tar.xz"
PROSE = (Path(__file__).parents[1] / "data/prose.txt").read_bytes()

REFUSED = ("granitemoehybrid",)
"""Families in the archive that are refused: the states of Mamba layers depend on how a prompt is cut into steps."""
LONGROPE = ("phi3-longrope", "phimoe")
"""Families of which the short case is that of a server with their original context length."""
LANGUAGE = tuple(sorted(name for name in CONFIGS if name not in ("codegen", "gemma", *REFUSED)))
IMAGE_TEXT = tuple(sorted(IMAGE_TEXT_CONFIGS))
"""Without their vision graphs: all of their text, and no images."""
NAMES = (*LANGUAGE, *IMAGE_TEXT)
"""The families that are in the archive and served."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Case:
    """A prompt, and the greedy tokens after it with their log-probabilities, in f32."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    max_model_len: int | None = None
    """The window of the server that gives this text, if not the whole one."""


class _Case(msgspec.Struct):
    length: int
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


class _Record(msgspec.Struct):
    transformers: str
    short: _Case
    long: _Case


@cache
def _records() -> dict[str, _Record]:
    found = {}
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            if member.name.endswith("/reference.json") and (file := archive.extractfile(member)):
                found[Path(member.name).parent.name] = msgspec.json.decode(file.read(), type=_Record)
    return found


def exported_with(name: str) -> str:
    """The version of transformers that a family was exported with, and that computed its cases."""
    return _records()[name].transformers


def cases(name: str) -> tuple[Case, Case]:
    """The short and the long case of a family."""
    record = _records()[name]
    short_window = SHORT_WINDOW if name in LONGROPE else None
    short, long = (
        Case(tuple(PROSE[: case.length]), case.tokens, case.logprobs, window)
        for case, window in ((record.short, short_window), (record.long, None))
    )
    return short, long


def unpack_all(folder: Path, tokenizer_from: Path) -> Path:
    """Unpack the archive into `folder`, and give each model the tokenizer of another one."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for model in folder.iterdir():
        for file in TOKENIZER_FILES:
            shutil.copy(tokenizer_from / file, model / file)
    return folder


def family_files(folder: Path) -> ModelFiles:
    """An unpacked model, as the store would describe it."""
    config = read_config(folder)
    return replace(
        tiny_files(folder),
        architecture=str(config["model_type"]),
        context_length=read_context_length(folder.name, config) if folder.name != "bloom" else 2048,
        end_token_ids=frozenset(),
        limits=window_limits(folder),
        differences=known_differences(folder),
    )
