"""The services that the routes of one server share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from crossette.accounts.ledger import Ledger
from crossette.api.admin.administration import KeyAdministration
from crossette.api.dialect import Dialect
from crossette.api.grammar_pool import GrammarPool
from crossette.api.guards.admission import AdmissionController
from crossette.api.http import HttpSettings
from crossette.api.images import ImageReader
from crossette.api.models import ServedModels
from crossette.api.puller import Puller
from crossette.api.responses.service import ResponsesService
from crossette.api.storage import Storage
from crossette.api.usage import UsageReader
from crossette.observability.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Services:
    models: ServedModels
    settings: HttpSettings
    dialects: tuple[Dialect, ...]
    admissions: AdmissionController
    ledger: Ledger
    metrics: Metrics
    is_leaving: Callable[[], bool]
    """Whether it is about to end, so that it is not ready. It may still accept requests."""
    is_draining: Callable[[], bool]
    """Whether it rejects new requests."""
    usage: UsageReader
    grammars: GrammarPool
    images: ImageReader
    puller: Puller
    responses: ResponsesService
    storage: Storage | None = None
    """None for a server that stores no files."""
    keys: KeyAdministration | None = None
    """None for a server without a database of keys."""
