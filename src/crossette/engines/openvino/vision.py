"""The vision graph of an image-text model: from an image file to the tokens and embeddings that stand for it.

Tiles are computed one by one, so an image's embeddings never depend on other images.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import openvino as ov

from crossette.engine import Tokenizer
from crossette.engines.admission import shutting_down
from crossette.engines.openvino.images import EmbeddedImage
from crossette.errors import ModelError

VISION_XML = "openvino_vision_embeddings_model.xml"
_CACHE_BYTES = 128 * 2**20
_INPUTS = {"pixel_values", "patch_attention_mask", "patch_position_ids"}


class Vision:
    """Computes and keeps the embeddings of images. Thread-safe: one image is computed at a time."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, *, threads: int, width: int, max_pixels: int) -> None:
        """`width` is that of the language model's embeddings. Raises ModelError for a model that is not supported."""
        from crossette.engines.openvino.image_files import Tiling  # Pillow, which only models that see need

        self._tiling = Tiling.read(folder)
        self._max_pixels = max_pixels
        self._tokenizer = tokenizer
        config = _read(folder / "config.json")
        self.image_token_id = int(config.get("image_token_id", -1))
        self._image_token = tokenizer.token_text(self.image_token_id).decode()
        _check_patches(config.get("vision_config", {}), self._tiling.tile_edge)
        self._patches = self._tiling.tile_edge // int(config["vision_config"]["patch_size"])
        compiled = ov.Core().compile_model(
            folder / VISION_XML,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
                "INFERENCE_NUM_THREADS": threads,
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": 1,
            },
        )
        names = {port.get_any_name() for port in compiled.inputs}
        shape = compiled.output(0).get_partial_shape()
        if names != _INPUTS or shape[2].get_length() != width:
            raise ModelError(f"{folder / VISION_XML} has inputs {sorted(names)}: images of it are not supported yet.")
        self._rows_per_tile = int(shape[1].get_length())
        self._request: ov.InferRequest | None = compiled.create_infer_request()
        self._lock = threading.Lock()
        self._cache: OrderedDict[bytes, EmbeddedImage] = OrderedDict()

    def see(self, data: bytes, *, low_detail: bool = False) -> EmbeddedImage:
        """The embeddings of an image file, of the whole image alone with `low_detail`. Raises InvalidRequest.

        Takes seconds for a large model.
        """
        from crossette.engines.openvino.image_files import decode

        digest = blake2b(data, digest_size=16, person=b"low" if low_detail else b"").digest()
        with self._lock:
            if (known := self._cache.get(digest)) is not None:
                self._cache.move_to_end(digest)
                return known
        tiles = self._tiling.tiles(decode(data, self._max_pixels), splits=not low_detail)
        tokens = self._tokens(tiles.rows, tiles.columns)
        with self._lock:
            rows = np.concatenate([self._embedded(tile) for tile in tiles.pixels])
            positions = np.flatnonzero(np.array(tokens) == self.image_token_id)
            image = EmbeddedImage(tokens=tokens, digest=digest, rows=rows, positions=positions)
            self._keep(image)
        return image

    def close(self) -> None:
        """Free the graph and the embeddings, once the current image is computed."""
        with self._lock:
            self._request = None
            self._cache.clear()

    def _keep(self, image: EmbeddedImage) -> None:
        self._cache[image.digest] = image
        size = sum(each.rows.nbytes for each in self._cache.values())
        while size > _CACHE_BYTES:
            _, oldest = self._cache.popitem(last=False)
            size -= oldest.rows.nbytes

    def _embedded(self, tile: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Embeddings `[rows, width]` of a tile."""
        if self._request is None:
            raise shutting_down()
        side = self._patches
        for name, value in (
            ("pixel_values", tile[None]),
            ("patch_attention_mask", np.ones((1, side, side), np.bool_)),
            ("patch_position_ids", np.arange(side * side)[None]),
        ):
            self._request.set_tensor(name, ov.Tensor(value))
        self._request.infer()
        embeddings: npt.NDArray[np.float32] = self._request.get_output_tensor(0).data[0].copy()
        return embeddings

    def _tokens(self, rows: int, columns: int) -> tuple[int, ...]:
        """The tokens of an image: those of each tile, with its row and column, then those of the whole image."""
        border, tile = "<fake_token_around_image>", self._image_token * self._rows_per_tile
        lines = (
            "".join(f"{border}<row_{row}_col_{column}>{tile}" for column in range(1, columns + 1)) + "\n"
            for row in range(1, rows + 1)
        )
        text = "".join(lines) + ("\n" if rows else "") + f"{border}<global-img>{tile}{border}"
        return tuple(self._tokenizer.encode(text, specials=True))


def _check_patches(config: Mapping[str, Any], tile_edge: int) -> None:
    if config.get("image_size") != tile_edge or not isinstance(config.get("patch_size"), int):
        raise ModelError(
            f"The model's tiles have {tile_edge} pixels, and its vision model is for {config.get('image_size')}: "
            "this is not supported yet."
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"Can't read {path}: {error}.") from error
