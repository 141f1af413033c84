"""DELETE /models/{id}: admins remove a model from the server and its files from the store."""

from __future__ import annotations

import logging

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crossette.api.dialect import Dialect
from crossette.api.exchange import Exchange
from crossette.api.http import json_response
from crossette.api.model_load import unload
from crossette.api.services import Services
from crossette.errors import ADMIN_HINT, Forbidden, ModelInUse, Unsupported
from crossette.pool.model import PooledModel
from crossette.pool.pool import ModelPool

log = logging.getLogger(__name__)


class ModelRemoved(msgspec.Struct):
    id: str
    object: str = "model"
    deleted: bool = True


async def remove_model(request: Request, services: Services, dialect: Dialect) -> Response:
    """Remove a model. Raises Forbidden for a key that is not an admin key, ModelInUse, Unsupported for other files."""
    caller = Exchange.of(request.scope).caller
    if not caller.is_admin:
        raise Forbidden("Only an admin key may remove models.", hint=ADMIN_HINT)
    name: str = request.path_params["name"]
    model = services.models.find(name)
    if not isinstance(model, PooledModel) or model.source.stored is None or model.source.adapters:
        raise Unsupported(
            f"The model '{name}' cannot be removed: its files are not in the store, or it has adapters.", param="model"
        )
    _check_unused(model, services.models.pool)
    await unload(model, services.models.pool)
    _check_unused(model, services.models.pool)  # a request may have come meanwhile
    services.models.remove(model.name)
    await services.puller.remove(model.source.stored)
    log.info("The model %s was removed by %s", model.name, caller.label)
    return json_response(ModelRemoved(name))


def _check_unused(model: PooledModel, pool: ModelPool) -> None:
    """Raise ModelInUse for a model that requests use or wait for, or whose files another served model has."""
    if model.num_users or model.loading is not None:
        raise ModelInUse(f"The model '{model.name}' is loading, or requests use it. Retry later.")
    others = (other for other in pool.models.values() if other is not model)
    if shared := next((other.name for other in others if other.source.stored == model.source.stored), None):
        raise ModelInUse(f"The files of the model '{model.name}' are also those of '{shared}'.")
