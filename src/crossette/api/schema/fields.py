"""The fields that crossette knows and does not build yet, with the values that ask for nothing.

A field of this table is accepted where its value is null or neutral, and refused by name otherwise. A field that is
in no table is unknown. So none is ever accepted and ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from crossette.errors import Unsupported

Neutral = tuple[Any, ...]
"""Values beside null that change nothing."""

BOTH: Mapping[str, Neutral] = {
    # sampling
    "stop_token_ids": ([],),
    "allowed_token_ids": (),
    "bad_words": ([],),
    # raw data
    "raw_output": (False,),
    "return_token_ids": (False,),
    "perf_metrics_in_response": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "detokenize": (True,),
    # decoding aids
    "response_format": ({"type": "text"},),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "guided_decoding_backend": (),
    "structured_outputs": (),
    "prompt_cache_max_len": (0,),
    "reasoning_effort": ("none", False),
    "reasoning_history": ("disabled",),
    "thinking": ({"type": "disabled"},),
    "include_reasoning": (False,),
    "use_beam_search": (False,),
    "length_penalty": (1,),
    # service
    "service_tier": ("auto", "default"),
    "priority": (0,),
    "store": (False,),
    "modalities": (["text"],),
    "audio": (),
    "moderation": (),
    "verbosity": ("medium",),
    "web_search_options": (),
    "prompt_cache_options": (),
    "prompt_cache_retention": ("in_memory",),
    "truncate_prompt_tokens": (),
}

COMPLETIONS: Mapping[str, Neutral] = {
    "suffix": ("",),
    "images": ([],),
}

CHAT: Mapping[str, Neutral] = {
    "tools": ([],),
    "tool_choice": ("auto", "none"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("auto", "none"),
    "prompt_truncate_len": (0,),
    "prompt_token_ids": (),
    "chat_template": (),
    "custom_chat_template": (),
    "chat_template_kwargs": ({},),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
}

MESSAGE: Mapping[str, Neutral] = {
    "tool_calls": ([],),
    "tool_call_id": (),
    "function_call": (),
    "reasoning_content": ("",),
    "reasoning": ("",),
    "refusal": ("",),
    "annotations": ([],),
    "audio": (),
    "id": (),
}

PART: Mapping[str, Neutral] = {
    "image_url": (),
    "video_url": (),
    "audio_url": (),
    "input_audio": (),
    "file": (),
    "refusal": (),
    "cache_control": (),
}


def taking(table: Mapping[str, Neutral], base: type[msgspec.Struct] = msgspec.Struct) -> type[msgspec.Struct]:
    """A base class for a wire type, that takes every field of a table, whatever its value."""
    fields = [(field, Any, None) for field in table]
    return msgspec.defstruct(f"{base.__name__}Taking", fields, bases=(base,), kw_only=True, forbid_unknown_fields=True)


def refuse_unbuilt(body: msgspec.Struct, table: Mapping[str, Neutral], path: str = "") -> None:
    """Raise Unsupported for the first field of the table that asks for something."""
    for field, neutral in table.items():
        value = getattr(body, field)
        if value is not None and not any(_same(value, other) for other in neutral):
            allowed = ", ".join(["null", *(msgspec.json.encode(other).decode() for other in neutral)])
            raise Unsupported(
                f"'{path}{field}' is not supported yet: leave it out, or send {allowed}.", param=f"{path}{field}"
            )


def _same(value: Any, neutral: Any) -> bool:
    """Equal, and not by Python's habit of taking true for 1."""
    return isinstance(value, bool) == isinstance(neutral, bool) and bool(value == neutral)
