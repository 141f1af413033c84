"""Every field of a request to /responses and of the objects in it, and how each is treated. As in `fields.py`."""

from __future__ import annotations

import math

from crossette.api.schema.fields import BOTH, CHAT
from crossette.api.schema.table import REQUIRED, Description, Field, Table, elsewhere, recorded, refused

_UNUSED = "It has no effect."
_STORED = "Needs the server's setting `--store-responses`."

_SAME = (
    *("model", "context_length_exceeded_behavior", "stop", "stop_token_ids", "include_stop_str_in_output"),
    *("temperature", "top_p", "top_k", "min_p", "typical_p", "mirostat_target", "mirostat_lr"),
    *("repetition_penalty", "frequency_penalty", "presence_penalty", "min_tokens", "ignore_eos", "seed", "logit_bias"),
    *("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "stream"),
    *("prompt_cache_isolation_key", "cache_prompt", "prompt_cache_key", "prompt_cache_options"),
    *(
        "prompt_cache_retention",
        "prompt_cache_breakpoint",
        "cache_control",
        "service_tier",
        "priority",
        "user",
        "safety_identifier",
        "metadata",
    ),
)
_SAME_AS_CHAT = (
    *("parallel_tool_calls", "safe_tokenization", "chat_template_kwargs", "enable_thinking", "reasoning_history"),
)
PASSED = (*_SAME, *_SAME_AS_CHAT, "include_reasoning")
"""The fields that mean the same in a chat, under the same name."""

RESPONSES = Table(
    {
        "input": Field(
            "A user's message as text, or items: messages, calls and their outputs, reasoning.", default=REQUIRED
        ),
        **{name: BOTH[name] for name in _SAME},
        **{name: CHAT[name] for name in _SAME_AS_CHAT},
        "include_reasoning": Field("Whether reasoning is in the answer.", default=True),
        "instructions": Field("The system message. System messages at the start of `input` are added to it."),
        "max_output_tokens": Field(
            "Maximum tokens of the answer, its reasoning and calls included.",
            default=Description("the rest of the context window"),
            limits=(1, math.inf),
            engine="max_tokens",
        ),
        "max_tool_calls": Field(
            "Maximum number of calls in the answer. One more ends it, with the status `incomplete`.",
            limits=(1, math.inf),
        ),
        "reasoning": Field("How long to reason, and whether the answer has a summary of it."),
        "text": Field("The format that the answer must match.", default={"format": {"type": "text"}}),
        "tools": Field("Functions that the model may call. Their arguments match `parameters`.", engine="constraint"),
        "tool_choice": Field(
            "`none`: no call. `auto`: the model decides. `required` or `any`: at least one call. An object names a "
            "function, which is called once, or lists the allowed functions.",
            default="auto",
            engine="constraint",
        ),
        "truncation": Field(
            "`auto`: the oldest turns of an input that is too long are dropped, from one user message to the next, so "
            "that `max_output_tokens`, or an eighth of the context window, is left. `disabled`: it is rejected.",
            default="disabled",
        ),
        "include": Field(
            "`message.output_text.logprobs`: logprobs of the text. `reasoning.encrypted_content`: reasoning as one "
            "opaque text to send back. It is encoded, not encrypted. Others are rejected by name.",
            default=[],
        ),
        "top_logprobs": Field(
            "Number of alternatives at each position. Above 0 it implies `message.output_text.logprobs`.",
            limits=lambda dialect: (0, dialect.max_top_logprobs),
            engine="logprobs",
        ),
        "stream_options": Field("Options of a stream. Needs `stream`."),
        "client_metadata": Field("What a client says of itself. It has no effect, and is not logged."),
        "store": Field(
            f"Keep the response, so that it can be continued and retrieved. {_STORED}",
            default=Description("true with `--store-responses`, else false"),
        ),
        "previous_response_id": Field(f"Continue a stored response. Its `instructions` do not apply. {_STORED}"),
        "background": Field(
            f"Answer at once with the response as it is queued, to be retrieved later. Cannot be streamed. {_STORED}",
            default=False,
        ),
        "background_options": refused(
            "When a background response runs: at once.", {}, {"completion_window": "soonest"}
        ),
        "conversation": refused(
            "A conversation that the server keeps. Send `previous_response_id`, or all of `input`."
        ),
        "context_management": refused("Summaries of long conversations. Send `truncation`.", []),
        "prompt": refused("A prompt template that OpenAI stores. Send its text."),
        "moderation": refused("Moderate the answer: there is no moderation model."),
        "image": refused("Options of images."),
        "access_programs": refused("Programs of OpenAI's accounts: there are none."),
        **{name: elsewhere("/chat/completions") for name in ("n", "functions", "function_call", "verbosity")},
    }
)

ITEM = Table(
    {
        "type": Field(
            "`message`, `function_call`, `function_call_output`, or `reasoning`.", default=Description("`message`")
        ),
        "role": Field("Of a message: `system`, `developer` (same as `system`), `user` or `assistant`."),
        "content": Field(
            "Of a message: a text, or parts, which are joined with line breaks. Of reasoning: parts of type "
            "`reasoning_text`."
        ),
        "name": Field("The function of a call."),
        "arguments": Field("The arguments of a call, as JSON text."),
        "call_id": Field("The id of a call, which its output repeats."),
        "output": Field("The output of a call: a text, or parts."),
        "summary": Field("Of reasoning without `content`: parts of type `summary_text`."),
        "encrypted_content": Field("Of reasoning: what `include` requested. That of another service is dropped."),
        "id": Field(f"The id of an earlier answer. {_UNUSED}"),
        "status": Field(f"The status of an earlier answer. {_UNUSED}"),
    }
)

TOOL = Table(
    {
        "type": Field(
            "`function`. Others are rejected by name, or left out with `--skip-builtin-tools`.", default=REQUIRED
        ),
        "name": Field("Up to 64 letters, digits, `_`, `-` and `.`.", default=REQUIRED),
        "description": Field("The purpose of the function, for the model."),
        "parameters": Field("A JSON schema for an object.", default=Description("an object without properties")),
        "strict": Field(
            "True: `parameters` are rejected if a grammar cannot enforce all of them. False: what it cannot enforce is "
            "checked when the call is complete: `docs/structured-output.md`. The answer repeats which it was.",
            default=False,
        ),
        "allowed_callers": refused("Programs that may call it: the model calls it.", ["direct"]),
        "defer_loading": refused("Find the tool by a search: all tools are in the prompt.", False),
        "output_schema": refused("A schema of the output, which the client writes."),
        "cache_control": recorded(f"A marker for a prompt cache. {_UNUSED}"),
    }
)

REASONING = Table(
    {
        "effort": Field(
            "`none`, `minimal`, `low`, `medium` (or true), `high`, `xhigh`, `max`, or a limit in tokens. A model "
            "without reasoning accepts `none` only."
        ),
        "summary": Field(
            "`auto` or `detailed`: the reasoning is in the answer as its own summary, unabridged, and not as "
            "`reasoning_text`. `concise` is rejected: nothing shortens it."
        ),
        "generate_summary": Field("The older name of `summary`."),
        "context": refused("Which earlier reasoning the model gets. Send `reasoning_history`.", "auto"),
        "mode": refused("A mode of OpenAI's models.", "standard"),
    }
)

TEXT = Table(
    {
        "format": Field("The format.", default={"type": "text"}),
        "verbosity": refused("How verbose an answer is. Ask for it in the prompt.", "medium"),
    }
)

FORMAT = Table(
    {
        "type": Field("The kind of format. `json_object` is any JSON object.", default=REQUIRED),
        "name": Field("For `json_schema`: its name. It has no effect."),
        "description": Field("For `json_schema`: its purpose. It has no effect."),
        "schema": Field("For `json_schema`: the schema."),
        "strict": Field(
            "True: the schema is rejected unless a grammar can enforce all of it (`docs/structured-output.md`).",
            default=False,
        ),
        "grammar": Field("For `grammar`: GBNF with the rule `root`."),
    }
)

STREAM_OPTIONS = Table(
    {"include_obfuscation": refused("Padding that hides the lengths of events: there is none.", False)}
)
