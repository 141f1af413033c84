"""The body for an upstream, in the notation of OpenAI, from a request in any notation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from crossette.api.dialect import Dialect
from crossette.api.remote.fields import EXTENSIONS, REFUSED, SENT
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.common import GenerationFields, Prediction
from crossette.api.schema.completions import CompletionRequest
from crossette.api.schema.messages import (
    IMAGE,
    FunctionCall,
    Message,
    Part,
    ToolCall,
    conversation,
    images_of,
    is_data_url,
)
from crossette.api.schema.response_format import ResponseFormat, output_format_of
from crossette.api.schema.table import is_neutral
from crossette.api.schema.tools import MODES, ToolChoiceSent
from crossette.errors import Unsupported
from crossette.remote.model import RemoteModel

_UNUSED = frozenset(
    ("id", "annotations", "reasoning_details", "parsed", "cache_control", "prompt_cache_breakpoint", "path"),
)
"""Keys of messages and tools that have no effect: strict servers reject them."""

_IMAGE_TOKENS = 1000
"""An estimate of the tokens of an image: most models take a few hundred to a few thousand."""

_EFFORTS = {True: "medium", False: "none"}
"""The names of efforts that were sent as booleans."""


def upstream_body(body: GenerationFields, model: RemoteModel, dialect: Dialect, isolation_key: str) -> dict[str, Any]:
    """The body for the model's upstreams. It always streams.

    Raises Unsupported, or InvalidRequest, naming the field.
    """
    _refuse(body, REFUSED, "is not possible for a model that another server runs")
    known = {name: neutral for name, neutral in EXTENSIONS.items() if name not in model.fields}
    _refuse(body, known, "is not known to the server that runs this model")
    _refuse_continuous_usage(body)
    sent = {name: _sent(value) for name in SENT | model.fields if (value := _given(body, name)) is not None}
    if isolation_key:
        sent["prompt_cache_isolation_key"] = _isolation(isolation_key, model)
    if "include_stop_str_in_output" in model.fields and body.stop:
        sent["include_stop_str_in_output"] = body.stops(dialect).include
    output_format_of(body)  # raises for several formats at once
    if body.response_format is not None:
        sent["response_format"] = _response_format(body.response_format)
    if body.prediction is not None:
        text = body.prediction.text if isinstance(body.prediction, Prediction) else body.prediction
        sent["prediction"] = {"type": "content", "content": text}
    effort = _given(body, "reasoning_effort")
    if effort is not None and effort not in dialect.default_efforts:
        sent["reasoning_effort"] = _EFFORTS[effort] if isinstance(effort, bool) else effort
    if (limit := body.requested_max_tokens()) is not None:
        sent["max_tokens" if body.max_completion_tokens is None else "max_completion_tokens"] = limit
    if isinstance(body, ChatRequest):
        sent |= _messages(body, model)
    elif isinstance(body, CompletionRequest):
        sent["prompt"] = _prompts(body)
    return sent | {"model": model.model, "stream": True, "stream_options": {"include_usage": True}}


def _refuse(body: GenerationFields, fields: Mapping[str, tuple[Any, ...]], reason: str) -> None:
    for name, neutral in fields.items():
        value = _given(body, name)
        if value is not None and not is_neutral(value, neutral):
            allowed = ", ".join(["null", *(msgspec.json.encode(each).decode() for each in neutral)])
            raise Unsupported(f"'{name}' {reason}: leave it out, or send {allowed}.", param=name)


def _given(body: GenerationFields, name: str) -> Any:
    """The value of a field; None if this endpoint does not have it, whatever it was sent without effect."""
    field = body.table.get(name)
    return None if field is None or field.state == "refused" else getattr(body, name)


def _refuse_continuous_usage(body: GenerationFields) -> None:
    if body.stream_options is not None and body.stream_options.continuous_usage_stats:
        name = "stream_options.continuous_usage_stats"
        raise Unsupported(
            f"'{name}' is not possible for a model that another server runs, which counts at the end. Leave it out.",
            param=name,
        )


def _isolation(key: str, model: RemoteModel) -> str:
    """The isolation key of a header. Raises Unsupported if the upstreams cannot isolate."""
    if "prompt_cache_isolation_key" not in model.fields:
        raise Unsupported(
            "The header x-prompt-cache-isolation-key is not known to the server that runs this model: leave it out.",
            param="prompt_cache_isolation_key",
        )
    return key


def _response_format(sent: ResponseFormat) -> dict[str, Any]:
    """Raises Unsupported for a grammar, which OpenAI's API does not have."""
    if sent.type == "grammar":
        raise Unsupported(
            "'response_format.type' is 'grammar', which is not known to the server that runs this model. "
            "Send a JSON schema.",
            param="response_format.type",
        )
    found = sent.schema_sent()
    if found is None:
        return {"type": sent.type}
    schema, wrapper = found
    return {"type": "json_schema", "json_schema": {"name": "answer", **wrapper, "schema": schema}}


def _messages(body: ChatRequest, model: RemoteModel) -> dict[str, Any]:
    """The fields that only a chat has. Raises InvalidRequest, naming the invalid message or tool."""
    conversation(body.messages, sees=True)
    if not model.image_urls:
        _refuse_image_urls(body.messages)
    body.tools_and_choice()
    sent: dict[str, Any] = {"messages": [_message(message) for message in body.messages]}
    if body.tool_choice is not None:
        sent["tool_choice"] = _tool_choice(body.tool_choice)
    return sent


def _refuse_image_urls(messages: Sequence[Message]) -> None:
    """Raise Unsupported for an image that the upstream would fetch: it may reach hosts that the client may not."""
    for path, image in images_of(messages):
        if not is_data_url(image.url or ""):
            raise Unsupported(
                f"'{path}.url' is an HTTP URL, which the server that runs this model may not be sent. "
                "Send the image itself, as a data URL.",
                param=f"{path}.url",
                hint="image_urls = true in the model's table allows it",
            )


def _tool_choice(sent: str | ToolChoiceSent) -> Any:
    """`auto`, `none` or `required` as texts, which may have been sent as objects; else as sent."""
    mode = sent if isinstance(sent, str) else sent.type
    if mode in MODES:
        return MODES[mode]
    if isinstance(sent, ToolChoiceSent) and sent.type == "function":
        return {"type": "function", "function": {"name": sent.named("tool_choice.")}}
    return _sent(sent)


def _message(message: Message) -> dict[str, Any]:
    sent = _sent(message)
    sent.pop("type", None)
    reasoning = sent.pop("reasoning", None)
    return sent if reasoning is None else {"reasoning_content": reasoning, **sent}


def _prompts(body: CompletionRequest) -> str | list[str]:
    """The prompts as texts. Raises Unsupported for token ids."""
    prompts: list[str] = []
    for index, prompt in enumerate(body.prompts()):
        if not isinstance(prompt, str):
            path = body.prompt_path(index)
            raise Unsupported(
                f"'{path}' has token ids, and another server runs this model. Send the prompt as text.", param=path
            )
        prompts.append(prompt)
    return prompts if isinstance(body.prompt, list) else prompts[0]


def _sent(value: Any) -> Any:
    """A decoded value as it was sent, without null fields and those without effect. Schemas stay as they are."""
    if isinstance(value, list):
        return [_sent(item) for item in value]
    if isinstance(value, ToolCall) and isinstance(value.function, str):
        value = ToolCall(function=FunctionCall(name=value.function), id=value.id)
    if isinstance(value, Part) and isinstance(value.image_url, str):
        return {"type": value.type, "image_url": _sent(value.image)}
    if isinstance(value, FunctionCall):
        return {"name": value.name, "arguments": _arguments(value.arguments)}
    if isinstance(value, ToolCall):
        return {"id": value.id or "", "type": "function", "function": _sent(value.function)}
    if not isinstance(value, msgspec.Struct):
        return value
    names = [name for name in value.__struct_fields__ if name not in _UNUSED]
    return {name: _sent(item) for name in names if (item := getattr(value, name)) is not None}


def _arguments(sent: str | dict[str, Any] | None) -> str:
    return sent if isinstance(sent, str) else msgspec.json.encode(sent or {}).decode()


def check_fields(names: frozenset[str]) -> None:
    """Raise ValueError, with the reason, for names that are not extensions."""
    if unknown := sorted(names - EXTENSIONS.keys()):
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(EXTENSIONS)}")


def prompt_size(body: dict[str, Any]) -> int:
    """An estimate of the prompt's tokens, for limits: four bytes of JSON each. Upstreams count them at the end.

    The data of an image is not counted by its bytes.
    """
    prompt = {name: body[name] for name in ("messages", "prompt", "tools", "functions") if name in body}
    images = [
        len(part["image_url"]["url"])
        for message in body.get("messages", ())
        for part in (message["content"] if isinstance(message.get("content"), list) else ())
        if part["type"] == IMAGE
    ]
    text = len(msgspec.json.encode(prompt)) - sum(images)
    return max(1, text // 4) + len(images) * _IMAGE_TOKENS


def upstream_path(body: GenerationFields) -> str:
    """The endpoint of the upstreams."""
    return "/completions" if isinstance(body, CompletionRequest) else "/chat/completions"


def num_prompts(body: GenerationFields) -> int:
    return len(body.prompts()) if isinstance(body, CompletionRequest) else 1
