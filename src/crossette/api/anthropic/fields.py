"""Every field of POST /messages and of the objects in it, and what becomes of it. As in `api/schema/fields.py`."""

from __future__ import annotations

import math

from crossette.api.schema.fields import MAX_RECORDED, MAX_STOP, MAX_STOP_TOTAL, MAX_STOPS
from crossette.api.schema.table import REQUIRED, Description, Field, Table, recorded, refused

MAX_USER_ID = 256
MIN_BUDGET = 1024
MAX_EDITS = 16
_MARKER = "A marker for a prompt cache, with any `ttl`. It has no effect: every prompt is cached anyway."
_TIER = "`auto` or `standard_only`. There is one tier, and the answer's usage says `standard`."

_PROMPT = {
    "model": Field("A name or an alias of GET /models. The answer repeats it.", default=REQUIRED),
    "messages": Field(
        "The conversation. Consecutive messages of one role are one message. If the last one is the assistant's, the "
        "answer continues it.",
        default=REQUIRED,
    ),
    "system": Field("The system prompt: a text, or text blocks, which are joined with line breaks."),
    "thinking": Field(
        "Whether to reason, and for how many tokens.",
        default=Description("the model's default"),
        engine="constraint",
    ),
    "output_config": Field("The effort of the reasoning, and the format of the answer.", engine="constraint"),
    "tools": Field("Functions that the model may call. Their inputs match `input_schema`.", engine="constraint"),
    "tool_choice": Field("Whether, and which of them, to call.", default={"type": "auto"}, engine="constraint"),
    "context_management": Field("What is removed from the conversation: earlier reasoning."),
    "cache_control": recorded(
        "The end of a prefix to cache, and for how long. Every prompt is cached as long as memory allows, with or "
        f"without it. Up to {MAX_RECORDED} characters, as JSON."
    ),
    "mcp_servers": refused("Servers whose tools are called before the answer. Call them, and send `tools`.", []),
    "speed": refused("Another speed of the same model: there is one.", "standard"),
    "user_profile_id": refused("A profile that is stored elsewhere. Send `metadata.user_id`."),
    "workspace_id": refused("A workspace: there are keys only."),
}

COUNT_TOKENS = Table(_PROMPT)

MESSAGES = Table(
    {
        **_PROMPT,
        "max_tokens": Field(
            "Maximum tokens of the answer, with its thinking. It is lowered to the room left in the context window; an "
            "answer that ends there has the `stop_reason` `model_context_window_exceeded`.",
            default=lambda dialect: (
                REQUIRED if dialect.messages_need_max_tokens else Description("the rest of the context window")
            ),
            limits=(1, math.inf),
            engine="max_tokens",
        ),
        "stop_sequences": Field(
            f"Strings that end the answer, of up to {MAX_STOP} characters each and {MAX_STOP_TOTAL} together. Its text "
            "excludes them, and its `stop_sequence` is the one that ended it.",
            limits=(0, MAX_STOPS),
        ),
        "stream": Field("Stream the answer as server-sent events.", default=False),
        "temperature": Field(
            "0 selects the most probable token. A model may have another default.",
            default=1.0,
            limits=(0, 1),
            engine="temperature",
        ),
        "top_p": Field(
            "Keep the fewest tokens whose probabilities sum to this value. A model may have another default.",
            default=1.0,
            limits=(0, 1),
            engine="top_p",
        ),
        "top_k": Field(
            "Keep the k most probable tokens; 0 keeps all. A model may have another default.",
            default=0,
            limits=(0, math.inf),
            engine="top_k",
        ),
        "metadata": Field("The caller's user."),
        "service_tier": Field(_TIER, default="auto"),
        "raw_output": Field("Add the raw prompt and output of the model, as text and as token ids.", default=False),
        "container": refused("A container of server tools: there are none."),
        "inference_geo": refused("Where the answer is computed: here."),
        "diagnostics": refused("Why a prompt missed the cache: usage says how much of it was cached."),
        "output_format": refused("The older notation of `output_config.format`. Send that."),
    }
)

TURN = Table(
    {
        "role": Field("`user`, `assistant`, or `system` for a later system message.", default=REQUIRED),
        "content": Field("A text, or blocks.", default=REQUIRED),
    }
)

SYSTEM_TEXT = Table(
    {
        "type": Field("`text`.", default=REQUIRED),
        "text": Field("The text.", default=REQUIRED),
        "citations": refused("Sources of the text: they have no meaning here.", []),
        "cache_control": Field(_MARKER),
    }
)

_DOCUMENT = {
    "source": Field("For `document`: a text. For `image`: the image."),
    "title": Field("For `document`: a line before its text."),
    "context": Field("For `document`: a line before its text, after the title."),
    "citations": refused("Citations of documents: answers have none.", [], {"enabled": False}),
}

BLOCK = Table(
    {
        "type": Field(
            "`text`, `image`, `document`, `tool_use`, `tool_result` or `thinking`. `redacted_thinking` is refused, as "
            "it is encrypted. Texts are joined with line breaks, unless a message has images.",
            default=REQUIRED,
        ),
        "text": Field("For `text`: the text."),
        **_DOCUMENT,
        "id": Field("For `tool_use`: the `tool_use_id` of its result."),
        "name": Field("For `tool_use`: the name of the tool."),
        "input": Field("For `tool_use`: the arguments of the call."),
        "tool_use_id": Field("For `tool_result`: the `id` of the call."),
        "content": Field("For `tool_result`: a text, or blocks."),
        "is_error": Field(
            "For `tool_result`: true puts `Error: ` before the text, which the model reads.", default=False
        ),
        "thinking": Field("For `thinking`: earlier reasoning, passed to the chat template."),
        "signature": Field("For `thinking`: the signature of an earlier answer. It is not verified."),
        "data": Field("For `redacted_thinking`."),
        "caller": refused("For `tool_use`: a server tool that called it.", {"type": "direct"}),
        "tool_name": refused("For `tool_reference`."),
        "toolset_name": refused("For `tool_use` and `tool_result`: a toolset of the server."),
        "cache_control": Field(_MARKER),
    }
)

RESULT_BLOCK = Table(
    {
        "type": Field("`text` or `document`. `image` is refused: results of tools are text.", default=REQUIRED),
        "text": Field("For `text`: the text."),
        **_DOCUMENT,
        "tool_name": refused("For `tool_reference`: a tool found by tool search. Send all `tools`."),
        "cache_control": Field(_MARKER),
    }
)

SOURCE = Table(
    {
        "type": Field(
            "Of a document `text`, or `content` for text blocks; of an image `base64` or `url`.", default=REQUIRED
        ),
        "media_type": Field("For `text`: `text/plain`. For `base64`: `image/png`, `image/jpeg` and the like."),
        "data": Field("For `text`: the text. For `base64`: the image."),
        "content": Field("For `content`: a text, or text blocks."),
        "url": Field("For `url`: the address of an image, which is fetched if `--image-host` allows its host."),
        "file_id": refused("A file that is stored elsewhere. Send its text."),
    }
)

THINKING = Table(
    {
        "type": Field(
            "`enabled` needs `budget_tokens`, `disabled` turns reasoning off, `adaptive` is the model's default.",
            default=REQUIRED,
        ),
        "budget_tokens": Field(
            "Maximum tokens of reasoning, and less than `max_tokens`. A model with efforts reasons with `low` below "
            "5000, `medium` below 10000, else `high`. `output_config.effort` takes precedence.",
            limits=(MIN_BUDGET, math.inf),
        ),
        "display": Field(
            "`summarized`: the reasoning is returned, and whole. `omitted`: it is left out of its block.",
            default="summarized",
        ),
    }
)

OUTPUT_CONFIG = Table(
    {
        "effort": Field(
            "`low`, `medium`, `high`, `xhigh` or `max`. The last two are `high` for a model that has no higher effort. "
            "A model that does not reason accepts `high`, which is Anthropic's default.",
            default=Description("the template's"),
        ),
        "format": Field("The format that the answer must match."),
    }
)

OUTPUT_SCHEMA = Table(
    {
        "type": Field("`json_schema`.", default=REQUIRED),
        "schema": Field("The schema: `docs/structured-output.md`.", default=REQUIRED),
    }
)

TOOL = Table(
    {
        "name": Field("Up to 128 letters, digits, `_`, `-` and `.`.", default=REQUIRED),
        "description": Field("The purpose of the tool, for the model."),
        "input_schema": Field("A JSON schema for an object.", default=REQUIRED),
        "strict": Field(
            "True: `input_schema` is rejected if a grammar cannot enforce all of it. False: what it cannot enforce is "
            "checked when the call is complete: `docs/structured-output.md`.",
            default=False,
        ),
        "type": Field("`custom`. Tools with other types are Anthropic's own.", default="custom"),
        "eager_input_streaming": Field("Inputs are streamed as they are generated, with or without it."),
        "cache_control": Field(_MARKER),
        "defer_loading": refused("A tool that is found by tool search: there is none.", False),
        "allowed_callers": refused("Server tools that may call it: there are none.", ["direct"]),
        "input_examples": refused("Examples of inputs. Put them into `description`.", []),
    }
)

TOOL_CHOICE = Table(
    {
        "type": Field(
            "`auto`: the model decides. `any`: at least one call. `tool`: one call of the named tool. `none`: no call.",
            default=REQUIRED,
        ),
        "name": Field("For `tool`: the name of the tool."),
        "disable_parallel_tool_use": Field("Whether the answer may contain one call at most.", default=False),
    }
)

METADATA = Table({"user_id": recorded(f"Identifies the caller's user, in up to {MAX_USER_ID} characters.")})

CONTEXT_MANAGEMENT = Table({"edits": Field("The edits, in order.", limits=(0, MAX_EDITS))})

EDIT = Table(
    {
        "type": Field("`clear_thinking_20251015`: remove reasoning of earlier turns.", default=REQUIRED),
        "keep": Field(
            '`"all"`, or an object: `{"type": "thinking_turns", "value": 2}` keeps the reasoning of the last two '
            "assistant messages that have any.",
            default={"type": "thinking_turns", "value": 1},
        ),
    }
)

KEEP = Table(
    {
        "type": Field("`thinking_turns` or `all`.", default=REQUIRED),
        "value": Field("For `thinking_turns`: how many.", limits=(1, math.inf)),
    }
)
