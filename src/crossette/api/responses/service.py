"""What a server has for /responses, beside its models."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ResponsesService:
    skips_builtin_tools: bool = False
    """Whether tools that are no functions are left out, instead of rejected."""
