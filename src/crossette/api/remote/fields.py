"""What becomes of each request field for a model that an upstream runs: sent on, translated, used here, or refused.

A field is in exactly one of the tables below, unless its wire type refuses it for all models
(tests/api/remote/test_fields.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SENT = frozenset(
    {
        *("n", "stop", "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "logit_bias"),
        *("tools", "parallel_tool_calls", "functions", "function_call"),
    }
)
"""Fields of OpenAI's API, sent as they are."""

TRANSLATED = frozenset(
    {
        *("model", "messages", "prompt", "max_tokens", "max_completion_tokens", "stream", "stream_options"),
        *("response_format", "prediction", "tool_choice", "reasoning_effort"),
    }
)
"""Fields that are sent in OpenAI's notation: `request.py` writes them."""

HERE = frozenset(
    {
        *("include_reasoning", "user", "safety_identifier", "metadata", "prompt_cache_key", "prompt_cache_options"),
        *("prompt_cache_retention", "prompt_cache_breakpoint", "cache_control"),
    }
)
"""Fields that have their effect in this server, and are not sent."""

EXTENSIONS: Mapping[str, tuple[Any, ...]] = {
    "top_k": (0, -1),
    "min_p": (0,),
    "typical_p": (1,),
    "mirostat_target": (),
    "mirostat_lr": (),
    "repetition_penalty": (1,),
    "min_tokens": (0,),
    "ignore_eos": (False,),
    "priority": (0,),
    "echo": (False,),
    "suffix": ("",),
    "include_stop_str_in_output": (False,),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "structured_outputs": (),
    "context_length_exceeded_behavior": (),
    "cache_prompt": (True,),
    "prompt_cache_isolation_key": ("",),
    "safe_tokenization": (),
    "prompt_truncate_len": (0,),
    "truncate_prompt_tokens": (0,),
    "thinking": (),
    "reasoning": (),
    "enable_thinking": (),
    "reasoning_history": (),
    "chat_template_kwargs": ({},),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
}
"""Fields beyond OpenAI's API, with the values that have no effect.

They are sent only to upstreams that know them, by `upstream_fields`: many servers ignore unknown fields in silence.
"""

REFUSED: Mapping[str, tuple[Any, ...]] = {
    "stop_token_ids": ([],),
    "prompt_token_ids": (),
    "continue_token_ids": ([],),
    "return_token_ids": (False,),
    "return_token_details": (False,),
    "raw_output": (False,),
    "perf_metrics_in_response": (False,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "echo_last": (0,),
    "best_of": (1,),
    "speculation": ("", []),
    "service_tier": ("auto", "default"),
}
"""Fields that need the tokens, the times or the queue of an engine, with the values that have no effect."""
