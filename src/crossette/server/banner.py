"""The startup banner, for standard output or as JSON log fields, and the URLs of the server."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crossette import __version__
from crossette.engine import Engine
from crossette.machine import format_memory

_ANY_HOST = "*"


@dataclass(frozen=True, slots=True)
class Banner:
    """The startup banner. `roots` are root URLs such as http://localhost:8000, the preferred one first."""

    engine: Engine
    roots: Sequence[str]
    needs_key: bool

    def text(self) -> str:
        """The banner for the console, with an example request."""
        engine, info, stats, base = self.engine, self.engine.info, self.engine.stats(), self.roots[0]
        lines = [
            f"crossette {__version__}",
            f"  model      {info.name} ({info.architecture}, {info.quantization})",
            f"  context    {info.context_length} tokens",
            *(f"  {name:<9}  {value}" for name, value in engine.details.items()),
            f"  KV cache   {format_memory(stats.kv_bytes)}, {stats.blocks_total} blocks",
            f"  OpenAI     {base}/v1",
            f"  Fireworks  {base}/inference/v1  (fireworks-ai SDK: {base}/inference)",
            *(f"  also at    {root}" for root in self.roots[1:]),
            *(["  key        required: crossette keys create NAME"] if self.needs_key else []),
            *(f"  warning    {warning}" for warning in engine.warnings),
            "",
            f"curl {base}/v1/chat/completions -H 'content-type: application/json' \\",
            *(["""  -H "authorization: Bearer $KEY" \\"""] if self.needs_key else []),
            f"""  -d '{{"model": "{info.name}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'""",
            "",
        ]
        return "\n".join(lines)

    def fields(self) -> dict[str, Any]:
        """The banner as JSON fields, without the example request."""
        engine, info = self.engine, self.engine.info
        return {
            "version": __version__,
            "url": self.roots[0],
            "urls": list(self.roots),
            "needs_key": self.needs_key,
            "model": info.name,
            "context_length": info.context_length,
            **engine.details,
            "kv_cache_bytes": engine.stats().kv_bytes,
            "warnings": list(engine.warnings),
        }


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
