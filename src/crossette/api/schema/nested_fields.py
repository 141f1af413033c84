"""Every field of the objects nested in requests, and what becomes of it. As in `fields.py`."""

from __future__ import annotations

import math

from crossette.api.schema.table import REQUIRED, Description, Field, Table, refused

_UNUSED = "It has no effect."
_MARKER = "A marker for a prompt cache, with any `ttl`. It has no effect: every prompt is cached anyway."

MESSAGE = Table(
    {
        "role": Field(
            "`system`, `developer` (same as `system`), `user`, `assistant`, `tool` or `function` (same as `tool`), or "
            "another role that the model's chat template knows.",
            default=REQUIRED,
        ),
        "content": Field(
            "A text, or parts, which are joined with line breaks; an empty part adds nothing. Null only in an "
            "assistant message."
        ),
        "name": Field("Passed to the chat template."),
        "tool_calls": Field(
            "The calls of the assistant, passed to the chat template, or as text if it does not support tools."
        ),
        "tool_call_id": Field("The id of the call that a tool message answers."),
        "function_call": Field("The older form of `tool_calls`."),
        "reasoning_content": Field("The reasoning of the assistant, passed to the chat template."),
        "reasoning": Field("The same as `reasoning_content`."),
        "refusal": Field("The text of an assistant message without content."),
        "audio": refused("A spoken answer: models get text. Leave it out, and send its transcript as `content`."),
        "id": Field(f"The id of an earlier answer. {_UNUSED}"),
        "type": Field(f"The kind of a client's record. {_UNUSED}"),
        "annotations": Field(f"The sources of an earlier answer. {_UNUSED}"),
        "reasoning_details": Field(f"The reasoning of an earlier answer in the format of another API. {_UNUSED}"),
        "parsed": Field(f"What a client parsed from the content and sends back. {_UNUSED}"),
        "cache_control": Field(_MARKER),
    }
)

TOOL_CALL = Table(
    {
        "id": Field("The `tool_call_id` of the result."),
        "type": Field("`function`.", default="function"),
        "function": Field("The call, or the function's name alone.", default=REQUIRED),
        "index": Field(f"The index in a stream, which clients send back. {_UNUSED}"),
    }
)

FUNCTION_CALL = Table(
    {
        "name": Field("The name of the function.", default=REQUIRED),
        "arguments": Field("An object, or its JSON text."),
        "parsed_arguments": Field(f"What a client parsed from the arguments and sends back. {_UNUSED}"),
    }
)

TOOL = Table(
    {
        "type": Field("`function`.", default="function"),
        "function": Field("The function.", default=REQUIRED),
        "custom": refused("A tool with free-text input. Send a function with a text as its parameter."),
        "cache_control": Field(_MARKER),
        "prompt_cache_breakpoint": Field(_MARKER),
    }
)

FUNCTION = Table(
    {
        "name": Field("Up to 64 letters, digits, `_`, `-` and `.`.", default=REQUIRED),
        "description": Field("The purpose of the function, for the model."),
        "parameters": Field("A JSON schema for an object.", default=Description("an object without properties")),
        "strict": Field(
            "True: `parameters` are rejected if a grammar cannot enforce all of them. False: what it cannot enforce is "
            "checked when the call is complete: `docs/structured-output.md`.",
            default=False,
        ),
        "cache_control": Field(_MARKER),
        "prompt_cache_breakpoint": Field(_MARKER),
    }
)

NAMED = Table({"name": Field("The name of the function.", default=REQUIRED)})

ALLOWED_TOOL = Table(
    {
        "type": Field("`function`.", default="function"),
        "function": Field("An object with its `name`."),
        "name": Field("The same, without the object."),
    }
)

ALLOWED_TOOLS = Table(
    {
        "mode": Field("`auto` or `required`.", default=REQUIRED),
        "tools": Field("The functions that may be called.", default=REQUIRED),
    }
)

TOOL_CHOICE = Table(
    {
        "type": Field(
            "`function`: call the named function. `allowed_tools`: call functions of a list. Or one of the values that "
            "`tool_choice` has as text.",
            default="function",
        ),
        "function": Field("An object with its `name`."),
        "name": Field("The same, without the object."),
        "allowed_tools": Field("For `allowed_tools`: an object with `mode` and `tools`."),
        "mode": Field("The same, without the object."),
        "tools": Field("The same, without the object."),
    }
)

THINKING = Table(
    {
        "type": Field("`enabled` or `disabled`.", default=REQUIRED),
        "budget_tokens": Field("Maximum tokens of reasoning.", limits=(0, math.inf)),
    }
)

REASONING = Table(
    {
        "effort": Field("The same as `reasoning_effort`: send one of them."),
        "max_tokens": Field("Maximum tokens of reasoning. Send it or `effort`.", limits=(0, math.inf)),
        "enabled": Field("The same as `enable_thinking`."),
        "exclude": Field("True leaves reasoning out of the answer, as `include_reasoning: false` does.", default=False),
        "summary": refused("A summary of the reasoning: it is returned whole."),
        "generate_summary": refused("A summary of the reasoning: it is returned whole."),
    }
)

PART = Table(
    {
        "type": Field(
            "`text`, also as `input_text` or `output_text`, its names in OpenAI's newer API; an assistant's `refusal`; "
            "or `image_url`, for models that see, in user messages.",
            default=REQUIRED,
        ),
        "text": Field("The text."),
        "refusal": Field("The reason why the assistant did not answer."),
        "image_url": Field("For `image_url`: an object with its `url`, or the URL alone."),
        "detail": Field("For `image_url` that is the URL alone: what `image_url.detail` is."),
        "video_url": refused("A video: models get text."),
        "audio_url": refused("Audio: models get text."),
        "input_audio": refused("Audio: models get text."),
        "file": refused("A file: models get text."),
        "cache_control": Field(_MARKER),
        "prompt_cache_breakpoint": Field(_MARKER),
    }
)

IMAGE_URL = Table(
    {
        "url": Field(
            "A data URL of a PNG, JPEG, GIF or WebP image: `data:image/png;base64,…`. An HTTP URL is fetched if "
            "`--image-host` allows its host, or sent on if the model is of another server whose table allows it.",
            default=REQUIRED,
        ),
        "detail": Field(
            "`low`: as few tokens as the model can spend on an image. `auto`, `high`, `original`: as it was trained.",
            default="auto",
        ),
    }
)

STREAM_OPTIONS = Table(
    {
        "include_usage": Field(
            "True: usage in a separate last chunk. False: none. "
            "Left out: none in the OpenAI dialect; in the Fireworks dialect, in the chunk that ends the last choice."
        ),
        "continuous_usage_stats": Field("Usage so far in every chunk, unless `include_usage` is false.", default=False),
        "include_obfuscation": refused("Padding that hides the lengths of chunks: there is none.", False),
        "buffer_tokens": refused("Chunks of this many tokens: each token is sent at once."),
        "buffer_ms": refused("A chunk after this many milliseconds: each token is sent at once."),
        "buffer_mode": refused("How chunks are combined: each token is sent at once."),
    }
)

RESPONSE_FORMAT = Table(
    {
        "type": Field("The kind of format. `json_object` without `schema` is any JSON object.", default=REQUIRED),
        "json_schema": Field(
            "For `json_schema`: a schema, or an object with `name`, `schema`, `strict` and `description`, or the JSON "
            "text of either. With `strict: true` it is rejected unless a grammar can enforce all of it "
            "(`docs/structured-output.md`)."
        ),
        "schema": Field("For `json_object`: a schema, as older clients send it."),
        "grammar": Field("For `grammar`: GBNF with the rule `root`."),
    }
)

STRUCTURED_OUTPUTS = Table(
    {
        "json": Field("Same as `guided_json`."),
        "regex": Field("Same as `guided_regex`."),
        "choice": Field("Same as `guided_choice`."),
        "grammar": Field("Same as `guided_grammar`."),
        "json_object": Field("True: any JSON object.", default=False),
        "disable_any_whitespace": refused("JSON output has a fixed whitespace format.", True, False),
        "disable_additional_properties": refused("An object with `properties` never has additional ones.", True, False),
        "whitespace_pattern": refused("JSON output has a fixed whitespace format."),
        "structural_tag": refused("Formats that start at a tag. Send `tools`, or a grammar for the whole answer."),
    }
)

PREDICTION = Table(
    {
        "type": Field("`content`.", default=REQUIRED),
        "content": Field("A text, or parts.", default=REQUIRED),
    }
)

PREDICTION_PART = Table(
    {
        "type": Field("`text`.", default=REQUIRED),
        "text": Field("The text.", default=REQUIRED),
    }
)
