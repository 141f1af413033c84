"""The images of requests: read and computed by the engine in a thread, and put into the prompt."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from crossette.api.image_fetch import ImageFetcher
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.common import GenerationFields
from crossette.api.schema.messages import ImageUrl, images_of, is_data_url
from crossette.api.worker_pool import WorkerPool
from crossette.engine import Engine, SeeingEngine
from crossette.errors import InvalidRequest, Unsupported
from crossette.types import PlacedImage, PromptImage

if TYPE_CHECKING:  # endpoints have the services, and these have the reader
    from crossette.api.endpoint import Call


class ImageReader:
    """Reads images one at a time: their computation uses all cores, and a large model takes seconds for each."""

    def __init__(
        self, fetcher: ImageFetcher, *, max_images: int, max_waiting: int = 64, timeout_s: float = 120.0
    ) -> None:
        self._fetcher = fetcher
        self._max_images = max_images
        self._workers = WorkerPool(
            "image", 1, max_waiting=max_waiting, waits_for="for their images to be read", timeout_s=timeout_s
        )

    async def placed(self, call: Call, body: GenerationFields, engine: Engine) -> Call:
        """The call with the images of its messages in the prompt: each takes the place of its token in the template.

        Raises InvalidRequest, naming the image, or Overloaded if too many wait.
        """
        sent = _images(body)
        if not sent:
            return call
        if not isinstance(engine, SeeingEngine):
            raise Unsupported("This model accepts text only, and a message has an image.", param="messages")
        if len(sent) > self._max_images:
            raise InvalidRequest(
                f"The messages have {len(sent)} images, and the limit is {self._max_images}. Send fewer.",
                param="messages",
                hint="--max-images is the limit",
            )
        images = [await self._read(path, image, engine) for path, image in sent]
        prompt, placed = expanded(call.prompts[0], images, engine.image_token_id)
        return replace(call, prompts=[prompt], images=placed)

    async def _read(self, path: str, image: ImageUrl, engine: SeeingEngine) -> PromptImage:
        try:
            url = image.url or ""
            data = decoded(url) if is_data_url(url) else await self._fetcher.fetch(url)
            return await self._workers.run(partial(engine.see, data, low_detail=image.detail == "low"))
        except TimeoutError:
            raise InvalidRequest(
                f"Reading the image takes longer than {self._workers.timeout_s:g} s. Send a smaller one.", param=path
            ) from None
        except InvalidRequest as error:
            error.rename(f"{path}.url")
            raise


def decoded(url: str) -> bytes:
    """The file in a data URL. Raises InvalidRequest."""
    head, comma, data = url.partition(",")
    if not comma or head.rpartition(";")[2].strip().lower() != "base64":
        raise InvalidRequest("The image's data URL must have its data in base64: data:image/png;base64,iVBORw0…")
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise InvalidRequest(f"The data of the image's URL is no base64: {error}.") from None


def expanded(
    prompt: Sequence[int], images: Sequence[PromptImage], image_token_id: int
) -> tuple[tuple[int, ...], tuple[PlacedImage, ...]]:
    """The prompt with the tokens of each image instead of the token that the template wrote for it.

    Raises InvalidRequest if the template wrote it more or less often than there are images.
    """
    count = sum(token == image_token_id for token in prompt)
    if count != len(images):
        raise InvalidRequest(
            f"The messages have {len(images)} images, and the model's chat template made places for {count}. "
            "Leave the text that stands for an image out of messages.",
            param="messages",
        )
    tokens: list[int] = []
    placed: list[PlacedImage] = []
    for token in prompt:
        if token == image_token_id:
            placed.append(PlacedImage(len(tokens), images[len(placed)]))
            tokens += placed[-1].image.tokens
        else:
            tokens.append(token)
    return tuple(tokens), tuple(placed)


def _images(body: GenerationFields) -> list[tuple[str, ImageUrl]]:
    """The images of a request. Raises Unsupported for options that do not know how long they are."""
    if not isinstance(body, ChatRequest) or body.prompt_token_ids is not None:
        return []
    images = list(images_of(body.messages))
    if images and body.truncate_len:
        name = "prompt_truncate_len" if body.prompt_truncate_len else "truncate_prompt_tokens"
        raise Unsupported(f"'{name}' is not supported for messages with images yet. Leave it out.", param=name)
    return images
