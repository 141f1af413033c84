"""How a batch and live streams share an engine: tokens a second of each, alone and together.

Start a server with `crossette serve --store-files 1d`, then: scripts/bench-batches --url http://127.0.0.1:8000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time

import httpx
from openai import OpenAI

NUM_LINES = 3000
MAX_TOKENS = 64


def body(model: str, prompt: str) -> dict[str, object]:
    return {"model": model, "prompt": prompt, "max_tokens": MAX_TOKENS, "ignore_eos": True, "temperature": 0}


class Measurement:
    """Phases of some seconds on one server."""

    def __init__(self, url: str, streams: int, seconds: float) -> None:
        self.url, self.streams, self.seconds = url, streams, seconds
        self.sdk = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=600)
        self.model = self.sdk.models.list().data[0].id

    def begin_batch(self) -> str:
        """Create a batch that lasts longer than a phase."""
        lines = [
            {
                "custom_id": str(number),
                "method": "POST",
                "url": "/v1/completions",
                "body": body(self.model, f"Story {number}: Once upon a time"),
            }
            for number in range(NUM_LINES)
        ]
        raw = "\n".join(map(json.dumps, lines)).encode()
        file = self.sdk.files.create(file=("in.jsonl", raw), purpose="batch")
        batch = self.sdk.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h")
        return batch.id

    async def phase(self, name: str, streams: int) -> None:
        """Measure all tokens of the engine, and those of live streams."""
        before, begun = self.counter("generated_tokens"), time.monotonic()
        preempted = self.counter("preemptions")
        live = await self.live_tokens(streams)
        seconds = time.monotonic() - begun
        total = self.counter("generated_tokens") - before
        print(
            f"{name:12} all {total / seconds:6.1f} tokens/s, live {live / self.seconds:6.1f}, "
            f"{self.counter('preemptions') - preempted:.0f} preemptions",
            flush=True,
        )

    async def live_tokens(self, streams: int) -> int:
        async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=None)) as client:
            stop = time.monotonic() + self.seconds
            counts = await asyncio.gather(*(self.stream(client, number, stop) for number in range(streams)))
            await asyncio.sleep(max(0.0, stop - time.monotonic()))
        return sum(counts)

    async def stream(self, client: httpx.AsyncClient, number: int, stop: float) -> int:
        """The tokens of one closed loop of streams."""
        num_tokens = num_sent = 0
        while time.monotonic() < stop:
            sent = {**body(self.model, f"Live {number} {num_sent}: In the morning"), "stream": True}
            num_sent += 1
            async with client.stream("POST", f"{self.url}/v1/completions", json=sent) as answer:
                async for line in answer.aiter_lines():
                    if time.monotonic() >= stop:
                        break
                    num_tokens += line.startswith("data: {")
        return num_tokens

    def counter(self, name: str) -> float:
        page = httpx.get(f"{self.url}/metrics").text
        return sum(map(float, re.findall(rf"^crossette_{name}_total{{[^}}]*}} (\S+)", page, re.MULTILINE)))


async def measure(measurement: Measurement, rounds: int) -> None:
    for _ in range(rounds):
        await measurement.phase("live alone", measurement.streams)
        batch_id = measurement.begin_batch()
        await asyncio.sleep(2)
        await measurement.phase("batch alone", 0)
        await measurement.phase("together", measurement.streams)
        measurement.sdk.batches.cancel(batch_id)
        await asyncio.sleep(2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    asyncio.run(measure(Measurement(given.url, given.streams, given.seconds), given.rounds))


if __name__ == "__main__":
    main()
