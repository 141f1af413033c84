"""Logging, with the id of the request in every line, and of its trace: for people, or as JSON for programs."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

FIELDS = "fields"
"""The key in a line's `extra` under which it brings a call that gives facts for programs, by name."""

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request that the running task serves; copied into tasks that it starts."""

trace_id: ContextVar[str] = ContextVar("trace_id", default="")
"""The trace that this request belongs to, as 32 hex digits; "" for none."""

# What a client sends must not forge lines or steer a terminal: control characters are spelled out.
_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def visible(text: str) -> str:
    """A text on one line, fit for a terminal."""
    return text.translate(_VISIBLE).encode(errors="backslashreplace").decode()


@contextmanager
def ids(request: str, trace: str) -> Iterator[None]:
    """Let every line that is logged meanwhile have these ids, also in tasks that are started meanwhile."""
    request_token, trace_token = request_id.set(request), trace_id.set(trace)
    try:
        yield
    finally:
        trace_id.reset(trace_token)
        request_id.reset(request_token)


class _WithIds(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id, record.trace_id = request_id.get(), trace_id.get()
        return True


class _Json(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, ids, message, and what else the line knows."""

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
        return json.dumps(line, default=repr)  # in ASCII: nothing that a client sent can break it


def configure(level: str, format: Literal["console", "json"] = "console") -> None:
    """Send crossette's and uvicorn's log lines from `level` up to standard error."""
    handler = logging.StreamHandler()
    handler.addFilter(_WithIds())
    console = logging.Formatter("%(asctime)s %(levelname)s %(request_id)s %(message)s")
    handler.setFormatter(_Json() if format == "json" else console)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # It has a line at info for each request that fetches a model, of which there are dozens.
    logging.getLogger("httpx").setLevel("NOTSET" if level == "debug" else "WARNING")
