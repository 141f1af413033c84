"""GET /models: the models and their states."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from crossette.api.dialect import Dialect
from crossette.api.exchange import Exchange
from crossette.api.http import json_response
from crossette.api.models import ServedModels
from crossette.pool.adapter import AdapterModel
from crossette.pool.model import ModelState
from crossette.remote.model import RemoteModel


class ModelEntry(msgspec.Struct, kw_only=True):
    id: str
    object: str = "model"
    created: int
    owned_by: str = "crossette"
    context_length: int | UnsetType = UNSET
    """Absent for a model that another server runs."""
    root: str
    """The name of the model: differs from `id` for an alias."""
    parent: str | UnsetType = UNSET
    """The model that an adapter belongs to; absent for all others."""
    state: ModelState
    """Whether the model is in memory. A request for one that is not waits until it is loaded."""
    error: str | UnsetType = UNSET
    """Why the last attempt to load it failed."""
    embedding_dimensions: int | UnsetType = UNSET
    """The length of the vectors of an embedding model; absent for a model that generates."""
    kind: Literal["HF_BASE_MODEL", "HF_PEFT_ADDON", "EMBEDDING_MODEL"] | UnsetType = UNSET
    """Fireworks' names for a model that generates, for an adapter of one, and for a model that computes vectors. It is
    only in that dialect, as are the next fields."""
    supports_chat: bool | UnsetType = UNSET
    """Whether the model has a chat template."""
    supports_tools: bool | UnsetType = UNSET
    """As `supports_chat`: every chat model can be given tools."""
    supports_image_input: bool | UnsetType = UNSET
    """Whether messages may have images. Absent for a model that another server runs, as are the two above."""


class ModelList(msgspec.Struct, kw_only=True):
    object: str = "list"
    data: list[ModelEntry]


async def list_models(request: Request, models: ServedModels, dialect: Dialect) -> Response:
    models = models.only(Exchange.of(request.scope).caller.models)
    return json_response(ModelList(data=[model_entry(name, models, dialect) for name in models.names()]))


async def retrieve_model(request: Request, models: ServedModels, dialect: Dialect) -> Response:
    models = models.only(Exchange.of(request.scope).caller.models)
    return json_response(model_entry(request.path_params["name"], models, dialect))


def model_entry(name: str, models: ServedModels, dialect: Dialect) -> ModelEntry:
    """The entry of a name. Raises ModelNotFound."""
    model = models.find(name)
    if isinstance(model, RemoteModel):
        return _remote_entry(name, model, dialect)
    info = model.info
    entry = ModelEntry(
        id=name,
        created=info.created,
        context_length=info.context_length,
        root=info.name,
        state=model.state,
        error=model.error or UNSET,
    )
    if isinstance(model, AdapterModel):
        entry.parent = model.base.name
    if info.embedding is not None:
        entry.embedding_dimensions = info.embedding.dimensions
    if dialect.model_details:
        entry.kind = "HF_BASE_MODEL" if info.embedding is None else "EMBEDDING_MODEL"
        if isinstance(model, AdapterModel):
            entry.kind = "HF_PEFT_ADDON"
        entry.supports_chat = entry.supports_tools = info.chat_template is not None
        entry.supports_image_input = info.sees
    return entry


def _remote_entry(name: str, model: RemoteModel, dialect: Dialect) -> ModelEntry:
    """The entry of a model that another server runs: what it supports is not known here."""
    entry = ModelEntry(id=name, created=model.created, root=model.name, state=model.state, error=model.error or UNSET)
    if dialect.model_details:
        entry.kind = "HF_BASE_MODEL"
    return entry
