"""Request paths in canonical form. Clients double slashes and base paths, and old ones name the model in the path.

Routing, authentication and records all use the canonical form, so no notation of a path is treated differently.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_DOUBLED_SLASHES = re.compile("//+")
_MODELS = "/models/"
"""What follows is a model name, whose slashes are its own."""
_BASES = (
    (re.compile("(?:(?:/inference)+(?:/v1)+)+(?=/|$)"), "/inference/v1"),
    (re.compile("(?:/v1)+(?=/|$)"), "/v1"),
)
"""Base paths, also repeated: the fireworks SDK adds /v1 to a base URL that may end in it already."""
_ENGINE = re.compile("(?P<base>(?:/inference)?/v1)/engines/(?P<model>.+?)/(?P<endpoint>completions|chat/completions)")

_AT_THE_ROOT = frozenset(("/tokenize", "/detokenize", "/apply-template"))
"""Paths of vLLM and llama-server, which have no base path."""


class CanonicalPath(NamedTuple):
    path: str
    model: str
    """The model of `/engines/MODEL/completions`, OpenAI's path until 2022; "" for other paths."""


def canonical_path(sent: str) -> CanonicalPath:
    """The canonical form of a path.

    A path with two different base paths is left alone: each of them is a dialect, and the client must choose.
    """
    path = _without_doubled_slashes(sent).rstrip("/") or "/"
    if path in _AT_THE_ROOT:
        path = "/v1" + path
    for doubled, base in _BASES:
        if found := doubled.match(path):
            path = base + path[found.end() :]
            break
    if named := _ENGINE.fullmatch(path):
        return CanonicalPath(f"{named['base']}/{named['endpoint']}", named["model"])
    return CanonicalPath(path, "")


def _without_doubled_slashes(path: str) -> str:
    path, models, name = path.partition(_MODELS)
    return _DOUBLED_SLASHES.sub("/", path + models) + name.lstrip("/")
