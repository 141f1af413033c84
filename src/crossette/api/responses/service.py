"""What a server has for /responses, beside its models."""

from __future__ import annotations

from dataclasses import dataclass, field

from crossette.accounts.responses import ResponseStore
from crossette.api.responses.background import BackgroundRuns


@dataclass(frozen=True, slots=True)
class ResponsesService:
    skips_builtin_tools: bool = False
    """Whether tools that are no functions are left out, instead of rejected."""
    store: ResponseStore | None = None
    """None if responses are not stored."""
    background: BackgroundRuns = field(default_factory=BackgroundRuns)
