"""Stores one response, and reads the stored ones that a request continues."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from crossette.accounts.responses import ResponseStore, StoredResponse
from crossette.api.responses.answer import Response
from crossette.api.responses.schema import Item
from crossette.errors import DatabaseError, EngineFailure, InvalidRequest, NotFound

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=12)
"""How long a response in the background counts as worked on, unless its server says so again."""
_UNFINISHED = ("queued", "in_progress")
_MAX_CHAIN = 1000
"""The most responses that a conversation by ids has."""
_OUTPUT_ID = re.compile(r"(?:msg|rs|fc)_([0-9a-f]{32})_(\d+)")
_INPUT_ID = re.compile(r"in_([0-9a-f]{32})_(\d+)")


@dataclass(frozen=True, slots=True)
class Keeper:
    """Stores a response under the key of its caller."""

    store: ResponseStore
    key_id: str
    previous_id: str | None
    records: list[dict[str, Any]]
    """The input items."""
    is_required: bool
    """Whether the request asked for it, so that a response that cannot be stored is a failure."""
    is_background: bool = False
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def save(self, response: Response) -> None:
        """Store a response as it is now. Raises EngineFailure if it must be stored and cannot be.

        One in the background that was queued before is stored unless it was cancelled or deleted meanwhile.
        """
        stored = StoredResponse(
            response.id,
            self.key_id,
            self.previous_id,
            self.created_at,
            msgspec.json.encode(self.records),
            msgspec.json.encode(response),
            datetime.now(UTC) + LEASE if response.status in _UNFINISHED else None,
        )
        is_update = self.is_background and response.status != "queued"
        try:
            await asyncio.to_thread(self.store.update if is_update else self.store.save, stored)
        except DatabaseError as error:
            log.warning("A response cannot be stored: %s", error)
            if self.is_required:
                raise EngineFailure(
                    "The response cannot be stored now. Retry, or send store: false.", param="store"
                ) from error
            response.store = False

    async def keep_alive(self, response_id: str) -> None:
        """Say every few seconds that a response is still worked on, until it is cancelled or deleted elsewhere."""
        is_wanted = True
        while is_wanted:
            await asyncio.sleep(LEASE.total_seconds() / 3)
            try:
                is_wanted = await asyncio.to_thread(self.store.keep_alive, response_id, datetime.now(UTC) + LEASE)
            except DatabaseError as error:
                log.warning("Can't tell that a response is still worked on: %s", error)


async def found(store: ResponseStore, key_id: str, response_id: str) -> StoredResponse | None:
    """A stored response, as `as_it_is`; None if there is none."""
    stored = await asyncio.to_thread(store.find, key_id, response_id)
    return None if stored is None else as_it_is(stored)


def as_it_is(stored: StoredResponse) -> StoredResponse:
    """A response that is not finished, and on which no server works any more, has failed."""
    if stored.alive_until is None or stored.alive_until > datetime.now(UTC):
        return stored
    raw = msgspec.json.decode(stored.response)
    error = {"code": "server_error", "message": "The server that worked on it has ended."}
    return replace(stored, response=msgspec.json.encode({**raw, "status": "failed", "error": error}), alive_until=None)


def as_cancelled(stored: StoredResponse) -> StoredResponse:
    """A response that another server works on, as that one will find it."""
    raw = msgspec.json.decode(stored.response)
    return replace(stored, response=msgspec.json.encode({**raw, "status": "cancelled"}), alive_until=None)


def records_of(sent: str | Sequence[Item], response_id: str) -> list[dict[str, Any]]:
    """Input items as they are stored and listed: each with an id, and messages with parts."""
    items = [Item(role="user", content=sent)] if isinstance(sent, str) else sent
    key = response_id.removeprefix("resp_")
    return [_record(item, f"in_{key}_{index}") for index, item in enumerate(items)]


def _record(item: Item, item_id: str) -> dict[str, Any]:
    record = {name: _without_nulls(getattr(item, name)) for name in item.__struct_fields__}
    record = {name: value for name, value in record.items() if value is not None}
    record = {"id": item_id, "type": "message", **record}
    if record["type"] == "message":
        kind = "output_text" if item.role == "assistant" else "input_text"
        if isinstance(item.content, str):
            record["content"] = [{"type": kind, "text": item.content}]
        record.setdefault("status", "completed")
    return record


def _without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if not isinstance(value, msgspec.Struct):
        return value
    found = {name: getattr(value, name) for name in value.__struct_fields__}
    return {name: inner for name, inner in found.items() if inner is not None}


async def history_of(store: ResponseStore, key_id: str, previous_id: str | None) -> list[Item]:
    """The items of a stored response and of those that it continues, oldest first. Raises NotFound."""
    parts: list[list[Item]] = []
    response_id = previous_id
    while response_id is not None:
        stored = await found(store, key_id, response_id)
        if stored is None:
            raise not_found(response_id, param="previous_response_id")
        status, output = _output(stored)
        if status in _UNFINISHED:
            raise InvalidRequest(f"Response '{response_id}' is not finished yet.", param="previous_response_id")
        parts.append([*msgspec.json.decode(stored.input, type=list[Item]), *output])
        response_id = stored.previous_id
        if len(parts) > _MAX_CHAIN:
            raise InvalidRequest(f"The conversation has over {_MAX_CHAIN} responses.", param="previous_response_id")
    return [item for part in reversed(parts) for item in part]


async def referred(store: ResponseStore, key_id: str, items: Sequence[Item]) -> list[Item]:
    """The items, with those of type `item_reference` replaced by what they name. Raises NotFound."""
    return [
        await _found(store, key_id, item.id or "", index) if item.type == "item_reference" else item
        for index, item in enumerate(items)
    ]


async def _found(store: ResponseStore, key_id: str, item_id: str, index: int) -> Item:
    for pattern in (_OUTPUT_ID, _INPUT_ID):
        if (matched := pattern.fullmatch(item_id)) is not None:
            stored = await asyncio.to_thread(store.find, key_id, f"resp_{matched[1]}")
            if stored is not None:
                is_input = pattern is _INPUT_ID
                items = msgspec.json.decode(stored.input, type=list[Item]) if is_input else _output(stored)[1]
                if int(matched[2]) < len(items):
                    return items[int(matched[2])]
    raise NotFound(f"Item '{item_id[:100]}' is not stored here, or no longer.", param=f"input[{index}].id")


class _Output(msgspec.Struct):
    status: str
    output: list[Item]


def _output(stored: StoredResponse) -> tuple[str, list[Item]]:
    found = msgspec.json.decode(stored.response, type=_Output)
    return found.status, found.output


def not_found(response_id: str, param: str | None = None) -> NotFound:
    return NotFound(f"Response '{response_id[:100]}' is not stored here, or no longer.", param=param)
