"""What the Python programs of this folder offer a model: two tools as functions, and as JSON schemas."""

# mypy: ignore-errors
# Its imports are found beside it, where mypy does not look.

import json

from asked import ASKED

ORDERS = ASKED["orders"]


def capital_of(country):
    return {"Côte d'Ivoire": "Yamoussoukro"}[country]


def weather(city, unit):
    return {("Yamoussoukro", "celsius"): "31"}[city, unit]


TOOLS = {"capital_of": capital_of, "weather": weather}
SCHEMAS = [
    {
        "name": "capital_of",
        "description": "The capital of a country",
        "parameters": {
            "type": "object",
            "properties": {"country": {"type": "string", "maxLength": 40}},
            "required": ["country"],
            "additionalProperties": False,
        },
    },
    {
        "name": "weather",
        "description": "The temperature in a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 40},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
]
OFFER = [{"type": "function", "function": schema} for schema in SCHEMAS]
TRIES = 2
"""How often a real model is asked what it must always do."""


def called(name, arguments):
    """A call as all programs tell it. `arguments` are JSON, or what a client made of it."""
    return [name, json.loads(arguments) if isinstance(arguments, str) else arguments]


def is_weather(call):
    """Whether a call, as it is told, is one that `weather` could run."""
    name, arguments = call
    return name == "weather" and set(arguments) == {"city", "unit"} and arguments["unit"] in ("celsius", "fahrenheit")
