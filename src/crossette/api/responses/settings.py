"""Settings of POST /responses."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.settings import Panel, setting


@dataclass(frozen=True, slots=True)
class ResponsesSettings:
    """Which tools are left out, and how long responses are stored."""

    skip_builtin_tools: bool = setting(
        False,
        "Under /responses, leave out the tools that only OpenAI's servers run, instead of rejecting the request. The"
        " header x-crossette-skipped-tools lists them.",
        panel=Panel.MODEL,
    )
    store_responses: str | None = setting(
        None,
        "Store the input and output of /responses for this long, so that clients can continue and retrieve them: 30d,"
        " 12h. They may contain secrets.",
        metavar="DURATION",
        unset="nothing is stored",
        panel=Panel.KEYS,
    )
