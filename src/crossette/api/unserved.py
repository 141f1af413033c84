"""Paths without a route: what a client asked for, and what is served instead.

The tables list the paths of the APIs whose clients are pointed at this server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from crossette.api.dialect import Dialect
from crossette.api.paths import canonical_path
from crossette.errors import NotFound

_MAX_SHOWN = 200
"""Maximum characters of a path in an error message."""


class Unserved(NamedTuple):
    """A path of a known API that is not built."""

    name: str
    instead: str = ""
    """The endpoint that serves the same purpose, if there is one."""


_ENDPOINTS = ("/chat/completions", "/completions", "/responses", "/messages", "/embeddings", "/rerank")
"""The endpoints that people give as a base URL."""
BASE = "{base}"
"""In `Unserved.instead`: the base path of the dialect."""
_CHAT, _COMPLETIONS, _MODELS = f"POST {BASE}/chat/completions", f"POST {BASE}/completions", f"GET {BASE}/models"
_USAGE = f"GET {BASE}/usage"
_EMBEDDINGS, _RERANK = f"POST {BASE}/embeddings", f"POST {BASE}/rerank"

IN_A_DIALECT: Mapping[str, Unserved] = {
    "/conversations": Unserved("OpenAI's Conversations API", f"POST {BASE}/responses"),
    "/messages": Unserved("Anthropic's API of stored messages", f"POST {BASE}/messages"),
    "/messages/batches": Unserved("Anthropic's API of message batches", f"POST {BASE}/messages"),
    "/complete": Unserved("Anthropic's older completions API", _COMPLETIONS),
    "/chat/completions": Unserved("OpenAI's API of stored chat completions"),
    "/edits": Unserved("OpenAI's older edits API", _CHAT),
    "/engines": Unserved("OpenAI's older list of engines", _MODELS),
    "/audio": Unserved("the audio API"),
    "/images": Unserved("the image API"),
    "/videos": Unserved("OpenAI's video API"),
    "/workflows": Unserved("Fireworks' API of image workflows"),
    "/image_generation": Unserved("Fireworks' image API"),
    "/realtime": Unserved("OpenAI's Realtime API", _CHAT),
    "/moderations": Unserved("OpenAI's moderation API"),
    "/uploads": Unserved("OpenAI's API of uploads in parts", f"POST {BASE}/files"),
    "/fine_tuning": Unserved("OpenAI's fine-tuning API"),
    "/fine-tunes": Unserved("OpenAI's fine-tuning API"),
    "/assistants": Unserved("OpenAI's Assistants API", _CHAT),
    "/threads": Unserved("OpenAI's Assistants API", _CHAT),
    "/vector_stores": Unserved("OpenAI's vector store API"),
    "/containers": Unserved("OpenAI's container API"),
    "/skills": Unserved("OpenAI's skill API"),
    "/evals": Unserved("OpenAI's evaluation API"),
    "/chatkit": Unserved("OpenAI's ChatKit API"),
    "/organization": Unserved("OpenAI's administration API", _USAGE),
    "/dashboard": Unserved("OpenAI's billing API", _USAGE),
    "/accounts": Unserved("Fireworks' API of accounts, deployments and data sets", _MODELS),
    "/reranking": Unserved("llama-server's rerank API", _RERANK),
    "/embedding": Unserved("llama-server's embedding API", _EMBEDDINGS),
    "/score": Unserved("vLLM's scoring API", _RERANK),
    "/classify": Unserved("vLLM's classification API"),
    "/pooling": Unserved("vLLM's pooling API", _EMBEDDINGS),
    "/load_lora_adapter": Unserved("vLLM's LoRA API"),
    "/unload_lora_adapter": Unserved("vLLM's LoRA API"),
    "/health": Unserved("a health endpoint under a base path", "GET /health"),
}
"""By the path after a base path. A path also stands for the paths under it; the longest one applies."""

AT_THE_ROOT: Mapping[str, Unserved] = {
    "/api": Unserved("Ollama's API"),
    "/api/chat": Unserved("Ollama's chat API", _CHAT),
    "/api/generate": Unserved("Ollama's completion API", _COMPLETIONS),
    "/api/tags": Unserved("Ollama's list of models", _MODELS),
    "/api/ps": Unserved("Ollama's list of loaded models", _MODELS),
    "/api/show": Unserved("Ollama's model details", f"GET {BASE}/models/{{name}}"),
    "/api/embed": Unserved("Ollama's embedding API", _EMBEDDINGS),
    "/api/embeddings": Unserved("Ollama's older embedding API", _EMBEDDINGS),
    "/api/version": Unserved("Ollama's version endpoint", "GET /version"),
    "/api/v0": Unserved("LM Studio's API", _MODELS),
    "/api/v1": Unserved("LM Studio's API", _MODELS),
    "/completion": Unserved("llama-server's completion API", _COMPLETIONS),
    "/infill": Unserved("llama-server's infill API", f"POST {BASE}/completions with suffix"),
    "/embedding": Unserved("llama-server's embedding API", _EMBEDDINGS),
    "/props": Unserved("llama-server's properties", _MODELS),
    "/slots": Unserved("llama-server's list of slots", "GET /health/ready"),
    "/lora-adapters": Unserved("llama-server's LoRA API"),
    "/generate": Unserved("the generation API of vLLM's demo server and of TGI", _COMPLETIONS),
    "/generate_stream": Unserved("TGI's streaming API", _COMPLETIONS),
    "/info": Unserved("TGI's model details", _MODELS),
    "/invocations": Unserved("SageMaker's endpoint", _CHAT),
    "/v2": Unserved("KServe's inference protocol", _CHAT),
    "/v1beta": Unserved("Gemini's API", _CHAT),
    "/openai": Unserved("Azure's paths of OpenAI's API", _CHAT),
    "/load": Unserved("vLLM's load endpoint", "GET /metrics"),
    "/server_info": Unserved("vLLM's server details", "GET /version"),
    "/healthz": Unserved("Kubernetes' older health endpoint", "GET /health"),
    "/livez": Unserved("Kubernetes' liveness endpoint", "GET /health/live"),
    "/readyz": Unserved("Kubernetes' readiness endpoint", "GET /health/ready"),
}
"""By the path on the server. A path also stands for the paths under it; the longest one applies."""


class UnservedPaths:
    """The router's endpoint for paths without a route. Raises NotFound."""

    def __init__(self, routes: Sequence[Route], dialects: Sequence[Dialect]) -> None:
        self._routes = routes
        self._dialects = dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotFound(self.message(scope["method"], scope["path"]))

    def message(self, method: str, path: str) -> str:
        """What was asked, what is true of it if it is known, and what is served."""
        shown = path if len(path) <= _MAX_SHOWN else path[:_MAX_SHOWN] + "…"
        return " ".join(filter(None, [f"Path not found: {method} {shown}.", self._reason(path), self._served()]))

    def _reason(self, path: str) -> str:
        """Why a path is not found: it is not built, or its base path is wrong; "" for an unknown path."""
        for dialect in self._dialects:
            if path.startswith(dialect.prefix + "/"):
                rest = path.removeprefix(dialect.prefix)
                after = self._after_an_endpoint(rest, dialect)
                return after or _not_built(rest, IN_A_DIALECT, dialect) or self._two_base_paths(rest)
        if within := self._within(path):
            return f"Its base path is not at its start. Use {within}."
        return _not_built(path, AT_THE_ROOT, self._dialects[0]) or self._no_base_path(path.removeprefix("/inference"))

    def _two_base_paths(self, rest: str) -> str:
        for dialect in self._dialects:
            if rest.startswith(dialect.prefix + "/"):
                return f"It has two base paths. {self._choice(rest.removeprefix(dialect.prefix))}"
        return ""

    def _after_an_endpoint(self, rest: str, dialect: Dialect) -> str:
        """What to use if a base URL ends in an endpoint, so that a client appends another; "" if none does."""
        for endpoint in _ENDPOINTS:
            meant = canonical_path(dialect.prefix + rest.removeprefix(endpoint)).path
            if rest.startswith(endpoint + "/") and self._is_served(meant) and not _is_known_under(endpoint, rest):
                base = dialect.prefix
                return f"Its base path is followed by two endpoints. Use {meant}: a base URL ends in {base}."
        return ""

    def _within(self, path: str) -> str:
        """The part of a path that is served, from its base path on; "" if there is none."""
        starts = (path.find(dialect.prefix + "/") for dialect in reversed(self._dialects))
        parts = (canonical_path(path[start:]).path for start in starts if start > 0)
        return next(filter(self._is_served, parts), "")

    def _is_served(self, path: str) -> bool:
        meant = {"type": "http", "method": "GET", "path": path}
        return any(route.matches(meant)[0] != Match.NONE for route in self._routes)

    def _no_base_path(self, path: str) -> str:
        if self._is_served(canonical_path(self._dialects[0].prefix + path).path):
            return f"Its base path is missing. {self._choice(path)}"
        return _not_built(path, IN_A_DIALECT, self._dialects[0])

    def _choice(self, path: str) -> str:
        return "Use " + " or ".join(f"{one.prefix}{path} ({one.title})" for one in self._dialects) + "."

    def _served(self) -> str:
        """The served paths of a dialect, without those under another one."""
        prefix = self._dialects[0].prefix
        found = [route.path.removeprefix(prefix) for route in self._routes if route.path.startswith(prefix + "/")]
        paths = [path for path in found if not any(path.startswith(other + "/") for other in found)]
        bases = " and ".join(f"{dialect.prefix} ({dialect.title})" for dialect in self._dialects)
        return f"Served under {bases}: {', '.join(dict.fromkeys(paths))}. GET / lists all."


def endpoint_name(route: Route) -> str:
    """Methods and path of a route, such as `GET /v1/models`. HEAD, which goes with every GET, is left out."""
    methods = ", ".join(sorted((route.methods or set()) - {"HEAD"}))
    return f"{methods} {route.path.replace(':path}', '}')}"


def _is_known_under(endpoint: str, path: str) -> bool:
    """Whether a path is one of a known API that begins with the path of an endpoint: /messages/batches."""
    known = (one for one in IN_A_DIALECT if one.startswith(endpoint + "/"))
    return any(path == one or path.startswith(one + "/") for one in known)


def _not_built(path: str, known: Mapping[str, Unserved], dialect: Dialect) -> str:
    """That the API of a path is not built, and what to use instead; "" for an unknown path."""
    while path and path not in known:
        path = path.rpartition("/")[0]
    if not path:
        return ""
    instead = known[path].instead.replace(BASE, dialect.prefix)
    return f"Not built here: {known[path].name}." + (f" Use {instead}." if instead else "")
