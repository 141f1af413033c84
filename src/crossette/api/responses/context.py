"""What the server has for a request to /responses: its settings, and what it stores."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from crossette.api.exchange import Exchange
from crossette.api.responses.schema import Item, ResponsesRequest
from crossette.api.responses.tools import tools_of
from crossette.api.services import Services

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Context:
    """Without a server it is empty."""

    history: list[Item] = field(default_factory=list)
    """The items of the stored responses that the request continues."""
    skips_tools: bool = False


class LoadedRequest(ResponsesRequest, kw_only=True, forbid_unknown_fields=True):
    """A request and its context."""

    context: Any  # Any: `Context`, which is no wire type


def context_of(sent: ResponsesRequest) -> Context:
    context: Context = sent.context if isinstance(sent, LoadedRequest) else Context()
    return context


async def load(sent: ResponsesRequest, request: Request, services: Services) -> ResponsesRequest:
    """Complete a request. Raises InvalidRequest for what the settings of the server do not allow."""
    skips_tools = services.responses.skips_builtin_tools
    if skips_tools and (skipped := tools_of(sent.tools or (), skips_others=True).skipped):
        listed = ", ".join(skipped)
        Exchange.of(request.scope).notes["x-crossette-skipped-tools"] = listed
        log.info("x-crossette-skipped-tools: %s", listed)
    fields = {name: getattr(sent, name) for name in sent.__struct_fields__}
    return LoadedRequest(**fields, context=Context(skips_tools=skips_tools))
