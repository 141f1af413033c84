"""One model over two processes of a real vLLM: `python -m support.vllm_trial FOLDER VLLM ARGUMENT...`, in a namespace.

It serves a tiny model with random weights by one process, then by two as the arguments say, one of which it kills, and
prints what clients saw as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from crossette import log
from crossette.engines.vllm.engine import VllmEngine
from crossette.engines.vllm.settings import VllmSettings
from support.api_server import ApiServer, serving
from support.tiny_checkpoint import tiny_checkpoint_files, write_random_weights, write_tiny_checkpoint

LIMIT_S = 300
PROMPTS = ("Once upon a time", "the quick brown fox", "1, 2, 3,", "a")
SMALL = ("--dtype=float32", "--enforce-eager")
"""Without compilation, which takes minutes on two cores."""
RANKS = (b"VLLM::Worker", b"ray::RayWorker")
"""The beginning of the title of a process that computes a part of the model."""
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "0|0",
    "VLLM_HOST_IP": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
    "HF_HUB_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "120",
}


@contextmanager
def served(folder: Path, program: str, *arguments: str) -> Iterator[ApiServer]:
    """The model, by a vLLM with these arguments, behind the real server."""
    settings = VllmSettings(vllm_command=program, vllm_args=(*SMALL, *arguments), vllm_max_sequences=8)
    engine = VllmEngine.load(tiny_checkpoint_files(folder), settings)
    try:
        with serving(engine) as server:
            yield server
    finally:
        engine.close()


def texts(server: ApiServer) -> list[str]:
    """Greedy texts of the prompts."""

    def text_of(prompt: str) -> str:
        answer = httpx.post(f"{server.root}/v1/completions", json=_body(prompt, 24), timeout=LIMIT_S)
        text: str = answer.json()["choices"][0]["text"]
        return text

    return [text_of(prompt) for prompt in PROMPTS]


def _body(prompt: str, max_tokens: int) -> dict[str, Any]:
    return {"model": "tiny", "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True}


async def killed_under_streams(server: ApiServer) -> dict[str, Any]:
    """Kill one process once all streams have begun; returns the ends of the streams."""
    async with httpx.AsyncClient(base_url=server.root, timeout=LIMIT_S) as client:
        begun = [asyncio.Event() for _ in PROMPTS]
        streams = [
            asyncio.create_task(_stream(client, prompt, event)) for prompt, event in zip(PROMPTS, begun, strict=True)
        ]
        await asyncio.gather(*(event.wait() for event in begun))
        ranks = ranks_of_model()
        os.kill(ranks[-1], signal.SIGKILL)
        ends = await asyncio.gather(*streams)
        return {"ranks": len(ranks), "streams": ends}


async def _stream(client: httpx.AsyncClient, prompt: str, begun: asyncio.Event) -> dict[str, int]:
    """The numbers of error frames and of ends."""
    seen = {"errors": 0, "done": 0}
    body = {**_body(prompt, 900), "stream": True}
    async with client.stream("POST", "/v1/completions", json=body) as response:
        async for line in response.aiter_lines():
            begun.set()
            seen["errors"] += line.startswith('data: {"error"')
            seen["done"] += line == "data: [DONE]"
    return seen


def ranks_of_model() -> list[int]:
    """The processes of this namespace that compute a part of the model."""
    titles = {int(file.parent.name): file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline")}
    return sorted(number for number, title in titles.items() if title.startswith(RANKS))


def main(folder: Path, program: str, *parallel: str) -> None:
    os.environ.update(ENVIRONMENT)
    os.environ.pop("PYTHONPATH", None)  # vLLM has packages of its own
    log.configure("info")
    write_tiny_checkpoint(folder / "tiny")
    write_random_weights(folder / "tiny")
    with served(folder / "tiny", program) as server:
        alone = texts(server)
    with served(folder / "tiny", program, *parallel) as server:
        together = texts(server)
        killed = asyncio.run(killed_under_streams(server))
        _wait_for(server, 503)
        refused = httpx.post(f"{server.root}/v1/completions", json=_body("a", 1), timeout=LIMIT_S).status_code
        _wait_for(server, 200)
        again = texts(server)
    print(json.dumps({"alone": alone, "together": together, "again": again, "refused": refused, **killed}), flush=True)


def _wait_for(server: ApiServer, status: int) -> None:
    """Wait until /health/ready has this status."""
    for _ in range(LIMIT_S * 5):
        if httpx.get(f"{server.root}/health/ready", timeout=LIMIT_S).status_code == status:
            return
        time.sleep(0.2)
    raise AssertionError(f"/health/ready is not {status}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
