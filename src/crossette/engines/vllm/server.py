"""A vLLM server, given by its URL or run as a child process: its state, and restarts of the child."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import httpx

from crossette.certificates import client_context
from crossette.engines.vllm import wire
from crossette.engines.vllm.process import END_S, VllmProcess
from crossette.errors import ConfigError, ModelError
from crossette.urls import split_http

log = logging.getLogger(__name__)

VERSIONS = ("0.32", "0.33")
"""The minor releases of vLLM whose protocol is known."""

CHECK_S = 1.0
"""The time between two health checks."""
_TIMEOUT_S = 10.0
_END_OF_LOAD_S = 3.0
"""How long a child may take to end that has not loaded its model: a request that waits for it learns of it soon."""
_LONGEST_PAUSE_S = 60.0
"""Between two attempts to restart a child; the first pause is a second, then they double."""

_CACHE = "vllm:cache_config_info{"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a running vLLM server reports of itself."""

    version: str
    model: str
    """Where its weights are from: a folder, or ORG/NAME on the Hub."""
    context_length: int
    num_blocks: int
    """Blocks of its KV cache; 0 if unknown."""
    block_size: int
    """Tokens of a block."""
    kv_bytes: int


class VllmServer:
    """Watches a vLLM server from a thread. `is_up` is whether it can be used now.

    `begin` starts a child process; None for a server at `url`, which someone else restarts. Raises ConfigError for a
    wrong URL or key.
    """

    def __init__(self, url: str, begin: Callable[[], VllmProcess] | None, *, start_timeout_s: float) -> None:
        self.url = url if begin is not None else _checked_url(url)
        self.key = "" if begin is not None else _key()
        self.is_up = False
        self.num_restarts = 0
        self._begin = begin
        self._start_timeout_s = start_timeout_s
        self._process: VllmProcess | None = None
        self._closing = threading.Event()
        self._check_now = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="vllm-watch", daemon=True)

    @property
    def headers(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self.key}"} if self.key else {}

    def start(self, cancelled: threading.Event) -> ServerFacts:
        """Start the child if there is one, wait until the server is up, and check that it can be used.

        Raises ModelError or ConfigError, with the child ended.
        """
        try:
            self._begin_child()
            self._wait_until_up(cancelled)
            facts = self._facts()
            self._probe()
        except BaseException:
            self._end_child(_END_OF_LOAD_S)
            raise
        self._thread.start()
        return facts

    def report_failure(self) -> None:
        """Note that a connection has failed: the server is not used until the next check has passed."""
        with self._lock:
            self.is_up = False
            self._check_now.set()

    def check_soon(self) -> None:
        """Check now whether the server is up: a request has failed, and the next ones may."""
        self._check_now.set()

    def close(self) -> None:
        """End the child. Returns once it has ended."""
        self._closing.set()
        self._check_now.set()
        if self._thread.is_alive():
            self._thread.join()
        self._end_child()
        self.is_up = False

    # --- watching ---

    def _watch(self) -> None:
        pause_s = 1.0
        while not self._closing.is_set():
            if self._process is not None and self._process.wait(0):
                self.is_up = False
                log.error("%s", self._process.failure())
                self._closing.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                self._restart()
                continue
            self._check_now.clear()
            is_healthy = self._is_healthy()
            with self._lock:
                if not self._check_now.is_set():  # else a connection has failed since the check
                    self.is_up = is_healthy
            if self.is_up:
                pause_s = 1.0
            self._wait_for_next_check()

    def _wait_for_next_check(self) -> None:
        """Wait for the time of the next check; less if the child ends or a connection fails."""
        until = monotonic() + CHECK_S
        while monotonic() < until and not self._check_now.is_set():
            if self._process is None:
                self._check_now.wait(CHECK_S)
            elif self._process.wait(0.05):
                return

    def _restart(self) -> None:
        self._end_child()
        if self._closing.is_set():
            return
        try:
            self._begin_child()
            self._wait_until_up(self._closing)
        except Exception as error:  # whatever it is, the next attempt may succeed
            log.error("vLLM cannot be restarted: %s", error)
        else:
            self.num_restarts += 1
            self.is_up = True
            log.info("vLLM runs again at %s", self.url)

    def _begin_child(self) -> None:
        if self._begin is not None:
            self._process = self._begin()
            self.url, self.key = self._process.url, self._process.key

    def _end_child(self, within_s: float = END_S) -> None:
        if self._process is not None:
            self._process.end(within_s)

    def _wait_until_up(self, cancelled: threading.Event) -> None:
        until = monotonic() + (self._start_timeout_s if self._begin is not None else _TIMEOUT_S)
        while not self._is_healthy():
            if self._process is not None and self._process.wait(0):
                raise ModelError(self._process.failure())
            if cancelled.wait(0.2):
                raise ModelError("The server is shutting down.")
            if monotonic() > until:
                raise ModelError(
                    f"vLLM at {self.url} does not answer GET /health with 200. "
                    + ("Raise --vllm-start-timeout." if self._begin is not None else "Start it, or correct --vllm-url.")
                )
        self.is_up = True

    # --- requests ---

    def _is_healthy(self) -> bool:
        try:
            return self._get("/health").status_code == 200
        except httpx.HTTPError:
            return False

    def _facts(self) -> ServerFacts:
        """Read the version and the limits. Raises ModelError for a server that cannot be used."""
        version = str(self._json("/version").get("version", "unknown"))
        if not version.startswith(tuple(f"{one}." for one in VERSIONS)):
            raise ModelError(
                f"vLLM at {self.url} has version {version}. Its protocol is known of {', '.join(VERSIONS)}: install one"
                " of these."
            )
        models = self._json("/v1/models")["data"]
        labels = _cache_labels(self._get("/metrics").text)
        return ServerFacts(
            version,
            str(models[0]["root"]),
            int(models[0]["max_model_len"]),
            _number(labels, "num_gpu_blocks"),
            _number(labels, "block_size"),
            _number(labels, "kv_cache_memory_bytes"),
        )

    def _probe(self) -> None:
        """Generate a token under a grammar. Raises ModelError if that is not possible."""
        params = {"max_tokens": 1, "structured_outputs": {"grammar": "%llguidance {}\nstart: /(.|\\n)+/\n"}}
        response = self._request("POST", wire.PATH, json={"token_ids": [0], "sampling_params": params})
        if response.status_code == 404:
            raise ModelError(f"vLLM at {self.url} has no {wire.PATH}. Start it with --enable-scale-out.")
        if response.status_code != 200:
            raise ModelError(f"vLLM at {self.url} cannot generate: {response.status_code} {response.text[:500]}")

    def _json(self, path: str) -> Any:  # Any: JSON
        response = self._get(path)
        if response.status_code != 200:
            hint = " Set VLLM_API_KEY." if response.status_code == 401 else ""
            raise ModelError(f"vLLM at {self.url} answers GET {path} with {response.status_code}.{hint}")
        return response.json()

    def _get(self, path: str) -> httpx.Response:
        return self._request("GET", path, timeout=_TIMEOUT_S)

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        options.setdefault("timeout", self._start_timeout_s)
        tls = client_context(urlsplit(self.url).scheme)
        with httpx.Client(trust_env=False, headers=self.headers, verify=tls) as client:
            return client.request(method, self.url + path, **options)


def _checked_url(url: str) -> str:
    try:
        parts = split_http(url)
        if parts.query or parts.fragment:
            raise ValueError("it has a query or a fragment")
        if "@" in parts.netloc:
            raise ValueError("it has a user or a password. Put the key into the environment variable VLLM_API_KEY")
    except ValueError as error:
        raise ConfigError(f"--vllm-url cannot be {url.rpartition('@')[2]!r}: {error}.") from None
    return url.rstrip("/")


def _key() -> str:
    key = os.environ.get("VLLM_API_KEY", "").strip()
    if not key.isascii() or not key.isprintable():
        raise ConfigError("The key in the environment variable VLLM_API_KEY has characters that a header cannot have.")
    return key


def _cache_labels(metrics: str) -> dict[str, str]:
    """The labels of vLLM's metric of its KV cache; {} without it."""
    line = next((line for line in metrics.splitlines() if line.startswith(_CACHE)), "")
    return dict(re.findall(r'(\w+)="([^"]*)"', line))


def _number(labels: Mapping[str, str], name: str) -> int:
    value = labels.get(name, "")
    return int(value) if value.isdigit() else 0
