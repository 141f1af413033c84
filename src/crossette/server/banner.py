"""The startup banner, for standard output or as JSON log fields, and the URLs of the server."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from crossette import __version__
from crossette.engine import EngineStats
from crossette.machine import format_memory
from crossette.pool.model import PooledModel
from crossette.pool.pool import ModelPool
from crossette.remote.model import RemoteModel

_ANY_HOST = "*"


@dataclass(frozen=True, slots=True)
class Banner:
    """The startup banner. `roots` are root URLs such as http://localhost:8000, the preferred one first."""

    pool: ModelPool
    roots: Sequence[str]
    needs_key: bool
    remotes: Sequence[RemoteModel] = ()

    def text(self) -> str:
        """The banner for the console, with an example request."""
        base, first = self.roots[0], next(iter([*self.pool.models, *(remote.name for remote in self.remotes)]))
        lines = [
            f"crossette {__version__}",
            *(line for model in self.pool.models.values() for line in self._about(model)),
            *(f"  model      {remote.name} (remote, {_hosts(remote)})" for remote in self.remotes),
            f"  OpenAI     {base}/v1",
            f"  Fireworks  {base}/inference/v1  (fireworks-ai SDK: {base}/inference)",
            *(f"  also at    {root}" for root in self.roots[1:]),
            *(["  key        required: crossette keys create NAME"] if self.needs_key else []),
            *(f"  warning    {warning}" for engine in self.pool.engines.values() for warning in engine.warnings),
            "",
            f"curl {base}/v1/{self._example(first)[0]} -H 'content-type: application/json' \\",
            *(["""  -H "authorization: Bearer $KEY" \\"""] if self.needs_key else []),
            f"""  -d '{{"model": "{first}", {self._example(first)[1]}}}'""",
            "",
        ]
        return "\n".join(lines)

    def _example(self, name: str) -> tuple[str, str]:
        """An endpoint for a model, and what to ask."""
        model = self.pool.models.get(name)
        if model is not None and model.info.embedding is not None:
            return "embeddings", '"input": "Hello!"'
        return "chat/completions", '"messages": [{"role": "user", "content": "Hello!"}]'

    def fields(self) -> dict[str, Any]:
        """The banner as JSON fields, without the example request."""
        models = [*map(_fields, self.pool.models.values()), *map(_remote_fields, self.remotes)]
        common = {
            "version": __version__,
            "url": self.roots[0],
            "urls": list(self.roots),
            "needs_key": self.needs_key,
        }
        if len(models) > 1:
            return common | {"models": models}
        return common | models[0]

    def _about(self, model: PooledModel) -> Iterator[str]:
        """The lines of a model; one of several has details only if it is loaded."""
        info, engine = model.info, model.engine
        unloaded = "" if engine is not None else ", loaded on demand"
        yield f"  model      {info.name} ({info.architecture}, {info.quantization}{unloaded})"
        if engine is not None:
            stats = engine.stats()
            yield f"  context    {info.context_length} tokens"
            yield from (f"  {name:<9}  {value}" for name, value in engine.details.items())
            yield from _kv_cache(stats)


def _kv_cache(stats: EngineStats) -> Iterator[str]:
    """How many tokens fit, and what a token takes in each kind of layer."""
    if stats.blocks_total:
        room = f": {stats.kv_tokens} tokens" if stats.kv_tokens else f", {stats.blocks_total} blocks"
        yield f"  KV cache   {format_memory(stats.kv_bytes)}{room}"
    for layers in stats.kv_layers:
        reach = "all tokens" if layers.window is None else f"the last {layers.window} tokens"
        size = format_memory(layers.token_bytes)
        yield f"             {layers.num_layers} layers attend to {reach}, with {size} for each"


def _fields(model: PooledModel) -> dict[str, Any]:
    info, engine = model.info, model.engine
    fields: dict[str, Any] = {"model": info.name, "context_length": info.context_length}
    if engine is None:
        return fields | {"state": model.state}
    stats = engine.stats()
    cache: dict[str, Any] = {"kv_cache_bytes": stats.kv_bytes}
    if stats.kv_tokens:
        cache |= {"kv_cache_tokens": stats.kv_tokens, "kv_cache_layers": [asdict(one) for one in stats.kv_layers]}
    return fields | {**engine.details, **cache, "warnings": list(engine.warnings)}


def _remote_fields(remote: RemoteModel) -> dict[str, Any]:
    return {"model": remote.name, "upstreams": [upstream.name for upstream in remote.upstreams]}


def _hosts(remote: RemoteModel) -> str:
    return ", ".join(upstream.name for upstream in remote.upstreams)


def root_urls(scheme: str, host: str, listener: socket.socket, allowed: Sequence[str]) -> list[str]:
    """The root URLs of a server that listens on `host`.

    For a wildcard address such as 0.0.0.0 these are localhost and the hostname. If there are `allowed` hosts, the
    server accepts no other `Host`.
    """
    address, port = listener.getsockname()[:2]
    is_wildcard = ipaddress.ip_address(address).is_unspecified
    names = ["localhost", socket.gethostname()] if is_wildcard else [host]
    if allowed and _ANY_HOST not in allowed:
        exact = [name for name in allowed if not name.startswith(_ANY_HOST)]
        names = [name for name in names if name.lower() in allowed] or exact or names
    return [f"{scheme}://{_in_url(name)}:{port}" for name in dict.fromkeys(names)]


def _in_url(name: str) -> str:
    return f"[{name}]" if ":" in name and not name.startswith("[") else name
