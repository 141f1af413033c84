"""Conversations over two replicas with a real engine find their cached prefixes as on one."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from support.haproxy import haproxy
from support.tiny_model import write_tiny_gguf
from support.waiting import wait_until

pytestmark = pytest.mark.all

LIMIT_S = 120
NUM_CONVERSATIONS = 20
NUM_TURNS = 5
SYSTEM = "You answer questions about trains, their times and their tickets, in few words. " * 2


@contextmanager
def serving(model: Path, home: Path) -> Iterator[int]:
    """`crossette serve` with this model. Yields its port once it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command = [sys.executable, "-m", "crossette", "serve", str(model), "--port", str(port), "--kv-cache", "64MiB"]
    environ = {**os.environ, "CROSSETTE_HOME": str(home), "CROSSETTE_DATABASE_URL": f"sqlite:///{home}/{port}.db"}
    with (home / f"{port}.log").open("w") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)

    def is_ready() -> bool:
        assert process.poll() is None, (home / f"{port}.log").read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=LIMIT_S).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(is_ready, LIMIT_S)
        yield port
    finally:
        process.kill()
        process.wait(LIMIT_S)


def cached_share(root: str, name: str) -> float:
    """The part of the prompt tokens of all conversations that was found in a cache."""
    with httpx.Client(base_url=root, timeout=LIMIT_S, verify=False) as client:
        model = client.get("/v1/models").json()["data"][0]["id"]

        def converse(number: int) -> list[tuple[int, int]]:
            first = f"{name} {number}: when does the train to city {number} leave, and from which platform? " * 2
            messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": first}]
            counts = []
            for _ in range(NUM_TURNS):
                body = {"model": model, "messages": messages, "max_tokens": 6, "temperature": 0}
                answer = client.post("/v1/chat/completions", json=body).json()
                usage = answer["usage"]
                counts.append((usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"]))
                text = re.sub(r"[^ -~]", "?", answer["choices"][0]["message"]["content"])
                messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "And the next one?"}]
            return counts

        with ThreadPoolExecutor(4) as pool:
            counts = [count for each in pool.map(converse, range(NUM_CONVERSATIONS)) for count in each]
    return sum(cached for cached, _ in counts) / sum(total for _, total in counts)


def test_conversations_over_two_replicas_find_their_prefixes(tmp_path: Path) -> None:
    model = write_tiny_gguf(tmp_path / "tiny.gguf", layers=2, width=128, context_length=4096)
    with ExitStack() as stack:
        ports = [stack.enter_context(serving(model, tmp_path)) for _ in range(2)]
        one = cached_share(f"http://127.0.0.1:{ports[0]}", "one")
        with haproxy(tmp_path, ports) as proxy:
            both = cached_share(proxy.root, "both")
        with haproxy(tmp_path, ports, random=True) as proxy:
            by_chance = cached_share(proxy.root, "by chance")

    print(f"cached share: one replica {one:.3f}, two with affinity {both:.3f}, two at random {by_chance:.3f}")
    assert both >= 0.9 * one
    assert by_chance < both
