"""What the types of the Open Responses specification lack or reject of each event, by its type."""

# mypy: ignore-errors
# It runs in an environment of its own.

import json
import sys
from enum import Enum

import pydantic
from openresponses_types import types

EVENTS = {
    next(iter(kind.model_fields["type"].annotation)).value: kind
    for name, kind in vars(types).items()
    if name.endswith("StreamingEvent") and issubclass(kind.model_fields["type"].annotation, Enum)
}


def faults(event):
    kind = EVENTS.get(event["type"])
    if kind is None:
        return ["unknown"]
    try:
        kind.model_validate_json(json.dumps(event))
    except pydantic.ValidationError as error:
        return [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
    return []


found = {}
for event in json.loads(sys.argv[1]):
    found.setdefault(event["type"], []).extend(faults(event))
print(json.dumps(found))
