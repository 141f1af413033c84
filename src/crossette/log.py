"""Logging, with the id of the request in every line: for people, or as JSON for programs."""

from __future__ import annotations

import json
import logging
import time
from contextvars import ContextVar
from typing import Any, Literal

FIELDS = "fields"
"""The key in a line's `extra` under which it brings a call that gives facts for programs, by name."""

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request that the running task serves; copied into tasks that it starts."""

# What a client sends must not forge lines or steer a terminal: control characters are spelled out.
_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def visible(text: str) -> str:
    """A text on one line, fit for a terminal."""
    return text.translate(_VISIBLE).encode(errors="backslashreplace").decode()


class _WithRequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class _Json(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, request id, message, and what else the line knows."""

    def format(self, record: logging.LogRecord) -> str:
        milliseconds = int(record.created * 1000) % 1000
        line: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{milliseconds:03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": getattr(record, "request_id", "-"),
            "message": record.getMessage(),
            **getattr(record, FIELDS, dict)(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=repr)  # in ASCII: nothing that a client sent can break it


def configure(level: str, format: Literal["console", "json"] = "console") -> None:
    """Send crossette's and uvicorn's log lines from `level` up to standard error."""
    handler = logging.StreamHandler()
    handler.addFilter(_WithRequestId())
    console = logging.Formatter("%(asctime)s %(levelname)s %(request_id)s %(message)s")
    handler.setFormatter(_Json() if format == "json" else console)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
