"""What a server says of itself once it listens: to people on standard output, to programs as a line of the log."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crossette import __version__
from crossette.engine import Engine
from crossette.machine import show_memory

_EVERYWHERE = "*"


@dataclass(frozen=True, slots=True)
class Banner:
    """What is served, and at which roots: http://localhost:8000. The first is the one to try."""

    engine: Engine
    roots: Sequence[str]
    needs_key: bool

    def text(self) -> str:
        """For a person, with a request to try."""
        engine, info, stats, base = self.engine, self.engine.info, self.engine.stats(), self.roots[0]
        lines = [
            f"crossette {__version__}",
            f"  model      {info.name} ({info.architecture}, {info.quantization})",
            f"  context    {info.context_length} tokens",
            *(f"  {name:<9}  {value}" for name, value in engine.details.items()),
            f"  KV cache   {show_memory(stats.kv_bytes)}, {stats.blocks_total} blocks",
            f"  OpenAI     {base}/v1",
            f"  Fireworks  {base}/inference/v1  (fireworks-ai SDK: {base}/inference)",
            *(f"  also at    {root}" for root in self.roots[1:]),
            *(["  key        needed: crossette keys create NAME makes one"] if self.needs_key else []),
            *(f"  warning    {warning}" for warning in engine.warnings),
            "",
            f"curl {base}/v1/chat/completions -H 'content-type: application/json' \\",
            *(["""  -H "authorization: Bearer $KEY" \\"""] if self.needs_key else []),
            f"""  -d '{{"model": "{info.name}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'""",
            "",
        ]
        return "\n".join(lines)

    def fields(self) -> dict[str, Any]:
        """For a program: the same, but for the request."""
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


def roots_of(scheme: str, host: str, listener: socket.socket, allowed: Sequence[str]) -> list[str]:
    """The URLs by which a server can be asked that was told to listen on `host`.

    On all addresses, it is asked by the names of its machine: 0.0.0.0 is no address to ask. `allowed` are the only
    names that it answers by, if there are any.
    """
    address, port = listener.getsockname()[:2]
    is_everywhere = ipaddress.ip_address(address).is_unspecified
    names = ["localhost", socket.gethostname()] if is_everywhere else [host]
    if allowed and _EVERYWHERE not in allowed:
        plain = [name for name in allowed if not name.startswith(_EVERYWHERE)]
        names = [name for name in names if name.lower() in allowed] or plain or names
    return [f"{scheme}://{_in_url(name)}:{port}" for name in dict.fromkeys(names)]


def _in_url(name: str) -> str:
    return f"[{name}]" if ":" in name and not name.startswith("[") else name
