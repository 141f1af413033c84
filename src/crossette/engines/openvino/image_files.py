"""Image files decoded within limits, and cut into the tiles that Idefics3 and SmolVLM see."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from crossette.errors import InvalidRequest, ModelError

FORMATS = ("JPEG", "PNG", "GIF", "WEBP")
_LARGEST_EDGE = 4096
"""Longest edge of an image before it is cut, whatever the model's files say; as in transformers."""
_NEEDED = ("do_convert_rgb", "do_resize", "do_rescale", "do_normalize")


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """The first frame of an image file in RGB, turned upright as its metadata says.

    Raises InvalidRequest. The size is checked before anything is decompressed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise InvalidRequest(
                        f"The image has {width} x {height} pixels, and the limit is {max_pixels}. Send a smaller one.",
                        hint="--max-image-pixels is the limit",
                    )
                return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError:
        raise InvalidRequest(f"The data is no image of the formats {', '.join(FORMATS)}.") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, Warning) as error:
        raise InvalidRequest(f"The image cannot be decoded: {error}.") from None


@dataclass(frozen=True, slots=True)
class Tiles:
    """An image as square tiles: `[tiles, 3, edge, edge]`, row by row, and the whole image last, scaled to a tile.

    An image that fits into a tile is one tile: then rows and columns are 0.
    """

    pixels: npt.NDArray[np.float32]
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a model's preprocessor_config.json cuts and scales images."""

    longest_edge: int
    tile_edge: int
    splits: bool
    filter: Image.Resampling
    scale: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def read(cls, folder: Path) -> Tiling:
        """Raises ModelError for a preprocessor that is not supported."""
        path = folder / "preprocessor_config.json"
        try:
            config: Mapping[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
            off = [name for name in _NEEDED if config.get(name, True) is not True]
            if off:
                raise ModelError(f"Can't prepare images as {path} says: {off[0]} is not true.")
            return cls(
                longest_edge=int(config["size"]["longest_edge"]),
                tile_edge=int(config["max_image_size"]["longest_edge"]),
                splits=config.get("do_image_splitting", True) is True,
                filter=Image.Resampling(config.get("resample", Image.Resampling.LANCZOS)),
                scale=float(config.get("rescale_factor", 1 / 255)),
                mean=tuple(map(float, config["image_mean"])),
                deviation=tuple(map(float, config["image_std"])),
            )
        except (OSError, KeyError, TypeError, ValueError, msgspec.DecodeError) as error:
            raise ModelError(f"Can't read how images are prepared from {path}: {error!r}.") from error

    def tiles(self, image: Image.Image, *, splits: bool = True) -> Tiles:
        """The image as tiles; without `splits` as the whole image alone."""
        edge = self.tile_edge
        image = image.resize(_scaled(image.size, self.longest_edge), self.filter)
        if not (splits and self.splits):
            return Tiles(self._pixels([image.resize((edge, edge), self.filter)]), 0, 0)
        image = image.resize(_multiple(image.size, edge), self.filter)
        columns, rows = image.width // edge, image.height // edge
        if columns == rows == 1:
            return Tiles(self._pixels([image]), 0, 0)
        parts = [
            image.crop((column * edge, row * edge, (column + 1) * edge, (row + 1) * edge))
            for row in range(rows)
            for column in range(columns)
        ]
        return Tiles(self._pixels([*parts, image.resize((edge, edge), self.filter)]), rows, columns)

    def _pixels(self, parts: list[Image.Image]) -> npt.NDArray[np.float32]:
        scaled = np.stack([np.asarray(part, np.uint8) for part in parts]).astype(np.float64) * self.scale
        pixels = (scaled.astype(np.float32) - np.array(self.mean, np.float32)) / np.array(self.deviation, np.float32)
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)


def _scaled(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """The size with `longest` as its longest edge; the other edge is even."""
    width, height = size
    ratio = width / height
    if width >= height:
        other = int(longest / ratio)
        width, height = longest, max(other + other % 2, 1)
    else:
        other = int(longest * ratio)
        width, height = max(other + other % 2, 1), longest
    if max(width, height) > _LARGEST_EDGE:
        ratio = width / height
        if width >= height:
            width, height = _LARGEST_EDGE, max(int(_LARGEST_EDGE / ratio), 1)
        else:
            width, height = max(int(_LARGEST_EDGE * ratio), 1), _LARGEST_EDGE
    return width, height


def _multiple(size: tuple[int, int], edge: int) -> tuple[int, int]:
    """The size rounded up to multiples of `edge`, the longer one first."""
    width, height = size
    ratio = width / height
    if width >= height:
        width = math.ceil(width / edge) * edge
        height = math.ceil(int(width / ratio) / edge) * edge
    else:
        height = math.ceil(height / edge) * edge
        width = math.ceil(int(height * ratio) / edge) * edge
    return width, height
