"""Remote models for tests: upstreams that are probed at once, with all fields."""

from __future__ import annotations

from crossette.api.remote.fields import EXTENSIONS
from crossette.remote.model import RemoteModel
from crossette.remote.upstream import Upstream

ALL_FIELDS = frozenset(EXTENSIONS)
FIRST_PROBE_S = 0.01
LIMIT_S = 20.0


def remote(
    *urls: str,
    name: str = "fake",
    model: str = "",
    fields: frozenset[str] = ALL_FIELDS,
    image_urls: bool = False,
    key: str = "",
    read_timeout_s: float = LIMIT_S,
) -> RemoteModel:
    """A model at these base URLs."""
    upstreams = [Upstream(url, key, read_timeout_s=read_timeout_s, first_probe_s=FIRST_PROBE_S) for url in urls]
    return RemoteModel(name, upstreams, model=model, fields=fields, image_urls=image_urls)
