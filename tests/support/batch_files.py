"""Input files of batches, and what comes of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from time import monotonic, sleep
from typing import Any, Final

from openai import OpenAI
from openai.types import Batch

from support.api_server import LIMIT_S, say

CHAT: Final = "/v1/chat/completions"


def chat_line(custom_id: str, text: str, *, url: str = CHAT, **body: object) -> dict[str, object]:
    """A request whose answer is `text`."""
    messages = [{"role": "user", "content": say(text)}]
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": url,
        "body": {"model": "fake", "messages": messages, **body},
    }


def jsonl(lines: Iterable[object]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def create(sdk: OpenAI, lines: Iterable[object] | bytes, endpoint: str = CHAT, **fields: Any) -> Batch:
    """Upload lines, and create a batch of them."""
    raw = lines if isinstance(lines, bytes) else jsonl(lines)
    file = sdk.files.create(file=("in.jsonl", raw), purpose="batch")
    window = fields.pop("completion_window", "24h")
    return sdk.batches.create(
        input_file_id=file.id,
        endpoint=endpoint,  # type: ignore[arg-type]  # the SDK lists OpenAI's endpoints
        completion_window=window,
        **fields,
    )


def wait_for(sdk: OpenAI, batch_id: str, *statuses: str, limit_s: float = LIMIT_S) -> Batch:
    """Poll until a batch has one of these states, by default until it has ended."""
    wanted = statuses or ("completed", "failed", "expired", "cancelled")
    give_up = monotonic() + limit_s
    while (batch := sdk.batches.retrieve(batch_id)).status not in wanted:
        assert monotonic() < give_up, batch
        sleep(0.02)
    return batch


def results(sdk: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    """The lines of a result file; [] without one."""
    if file_id is None:
        return []
    return [json.loads(line) for line in sdk.files.content(file_id).text.splitlines()]


def texts(lines: Iterable[dict[str, Any]]) -> dict[str, str]:
    """The chat answers of output lines by custom_id."""
    return {line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"] for line in lines}
