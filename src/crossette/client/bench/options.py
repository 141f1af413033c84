"""The validated options of a benchmark run. Defaults are those of the command line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from crossette.client.remote import ServerURL
from crossette.errors import ConfigError
from crossette.numerals import parse_count
from crossette.urls import split_http

ENDPOINTS: Final = ("completions", "chat/completions")
SHAPES: Final = {"short": 96, "shared": 1200, "long": 4000}
"""The prompt shapes and their default lengths in tokens; for `shared`, of the shared part."""


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """The options of a run. Raises ConfigError for invalid values."""

    url: str = "http://127.0.0.1:8000"
    """The URL of a server or its API, as in `ServerURL`."""
    concurrency: tuple[int, ...] = (1, 8, 32)
    num_requests: int | None = None
    """Requests per level; None: four per stream, at least 16."""
    endpoint: str = "completions"
    shape: str = "short"
    prompt_tokens: int | None = None
    token_ids: bool = False
    """Send prompts as token ids, which have exact lengths with any tokenizer."""
    max_tokens: int = 256
    ignore_eos: bool = False
    temperature: float = 0.0
    model: str | None = None
    """None: the first model that the server lists."""
    api_key: str | None = None
    seed: int | None = None
    """None: random and reported, so that prompts of earlier runs are not in the prefix cache."""
    timeout_s: float = 600.0
    command: tuple[str, ...] = ()
    """The command line, for the report."""

    def __post_init__(self) -> None:
        self.address()
        _one_of("--endpoint", self.endpoint, ENDPOINTS)
        _one_of("--shape", self.shape, tuple(SHAPES))
        _at_least("-c", min(self.concurrency, default=0), 1)
        _at_least("-n", self.requests_at(1), 1)
        _at_least("--prompt-tokens", self.num_prompt_tokens, 1)
        _at_least("--max-tokens", self.max_tokens, 1)
        if self.token_ids and self.endpoint != "completions":
            raise ConfigError("--token-ids needs --endpoint completions: chat messages are text.")
        if not self.timeout_s > 0:
            raise ConfigError(f"--timeout must be more than 0 seconds: {self.timeout_s}")

    @property
    def num_prompt_tokens(self) -> int:
        return SHAPES[self.shape] if self.prompt_tokens is None else self.prompt_tokens

    def requests_at(self, concurrency: int) -> int:
        return max(4 * concurrency, 16) if self.num_requests is None else self.num_requests

    @property
    def base(self) -> str:
        return ServerURL.parse(self.url).base

    def address(self) -> Address:
        return Address.parse(self.base)

    def resolved(self, model: str, seed: int) -> BenchOptions:
        """The options with model and seed filled in."""
        return replace(self, model=model, seed=seed)


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of a base URL."""

    host: str
    port: int
    tls: bool
    authority: str
    path: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Parse a base URL. Raises ValueError; URLs of users are validated by `ServerURL`."""
        parts = split_http(url)
        tls = parts.scheme == "https"
        authority = parts.netloc.rpartition("@")[2]
        port = parts.port or (443 if tls else 80)
        return cls(parts.hostname or "", port, tls, authority, parts.path.rstrip("/"))


def parse_concurrency(text: str) -> tuple[int, ...]:
    """Parse the argument of `-c`, such as `1,8,32`."""
    try:
        return tuple(parse_count(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"-c takes numbers of streams such as 1,8,32: {text!r}") from error


def _one_of(flag: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{flag} must be one of {', '.join(allowed)}: {value!r}")


def _at_least(flag: str, value: int, low: int) -> None:
    if value < low:
        raise ConfigError(f"{flag} must be at least {low}: {value}")
