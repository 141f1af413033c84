"""The tiny image-text model in tests/data/smolvlm, and what transformers says with it (`make_vision_data.py`)."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path

import msgspec

from crossette.engine import ModelFiles

FOLDER = Path(__file__).parents[1] / "data/smolvlm"


class Case(msgspec.Struct):
    """A prompt, and the greedy answer of transformers in f32."""

    images: list[str]
    text: str
    prompt: list[int]
    pixel_sum: float
    """The sum of the absolute values of all tiles."""
    tokens: list[int]
    logprobs: list[float]


class _Data(msgspec.Struct):
    pictures: dict[str, str]
    cases: list[Case]


@cache
def _data() -> _Data:
    return msgspec.json.decode((FOLDER / "cases.json").read_bytes(), type=_Data)


def cases() -> list[Case]:
    return _data().cases


def picture(name: str) -> bytes:
    """A PNG file."""
    return base64.b64decode(_data().pictures[name])


def data_url(name: str) -> str:
    return f"data:image/png;base64,{_data().pictures[name]}"


def vision_files(folder: Path = FOLDER) -> ModelFiles:
    return ModelFiles(
        path=folder,
        name="tiny-smolvlm",
        architecture="smolvlm",
        quantization="f16",
        context_length=4096,
        end_token_ids=frozenset({2}),
        chat_template=(folder / "chat_template.jinja").read_text(),
        sees=True,
    )
