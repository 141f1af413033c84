"""Logging with the request id and trace id in every line, as console text or JSON."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, Literal

FIELDS = "fields"
"""The key in a record's `extra` for a callable that returns additional JSON fields."""

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the current task's request; inherited by tasks that it starts."""

trace_id: ContextVar[str] = ContextVar("trace_id", default="")
"""The trace id of the current request, as 32 hex digits; "" for none."""

# Client input must not forge log lines or control a terminal: control characters are escaped.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def escape_controls(text: str) -> str:
    """Escape control characters and lone surrogates, so that the text is one printable line."""
    return text.translate(_ESCAPES).encode(errors="backslashreplace").decode()


IdTokens = tuple[Token[str], Token[str]]


def set_ids(request: str, trace: str) -> IdTokens:
    """Set the ids of all log lines in this context, including those of tasks that are started in it."""
    return request_id.set(request), trace_id.set(trace)


def reset_ids(tokens: IdTokens) -> None:
    """Restore the ids before `set_ids`, which returned `tokens`."""
    request_token, trace_token = tokens
    trace_id.reset(trace_token)
    request_id.reset(request_token)


@contextmanager
def ids(request: str, trace: str) -> Iterator[None]:
    """`set_ids` for a block."""
    tokens = set_ids(request, trace)
    try:
        yield
    finally:
        reset_ids(tokens)


class _WithIds(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id, record.trace_id = request_id.get(), trace_id.get()
        return True


class _Json(logging.Formatter):
    """One JSON object per line: time (UTC), level, logger, ids, message and the record's additional fields."""

    def format(self, record: logging.LogRecord) -> str:
        trace = getattr(record, "trace_id", "")
        milliseconds = int(record.created * 1000) % 1000
        line: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{milliseconds:03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": getattr(record, "request_id", "-"),
            **({"trace_id": trace} if trace else {}),
            "message": record.getMessage(),
            **getattr(record, FIELDS, dict)(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=repr)  # ASCII, so that client input cannot break the line


def configure(level: str, format: Literal["console", "json"] = "console") -> None:
    """Log crossette's and uvicorn's records of at least `level` to standard error."""
    handler = logging.StreamHandler()
    handler.addFilter(_WithIds())
    console = logging.Formatter("%(asctime)s %(levelname)s %(request_id)s %(message)s")
    handler.setFormatter(_Json() if format == "json" else console)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # httpx logs each request of a download at level info.
    logging.getLogger("httpx").setLevel("NOTSET" if level == "debug" else "WARNING")
