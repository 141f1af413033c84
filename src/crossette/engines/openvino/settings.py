"""Settings of the embedded engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crossette.settings import Amount, Count, Interval, setting

DEFAULT_KV_CACHE = "30%"


@dataclass(frozen=True, slots=True)
class OpenVINOSettings:
    """Resource limits and step sizes of the engine."""

    kv_cache: str = setting(
        "",
        "Memory for the KV cache of a model, in bytes (2GiB) or as a share of the free memory (30%). With more of it,"
        " more requests run at once and more prompts are reused.",
        metavar="SIZE",
        unset=f"{DEFAULT_KV_CACHE}, or less with several models",
    )
    kv_cache_dtype: Literal["auto", "u8", "f16", "f32"] = setting(
        "auto",
        "Type of the numbers in the KV cache. 16 bits are closer to the model's own values, and take nearly twice the"
        " memory of 8.",
        unset="what the model's files say, else u8",
    )
    max_model_len: Count | None = setting(
        None,
        "Serve at most this many tokens of context, prompt and answer together. Fewer keep a single request from"
        " filling the KV cache.",
        unset="what the model supports",
    )
    max_sequences: Count = setting(
        64,
        "Generate at most this many choices at the same time; further ones wait. More raise the total speed, and make"
        " each one slower.",
    )
    max_step_tokens: Count = setting(
        256,
        "Compute at most this many tokens in one step. Wider steps can read long prompts faster. The server narrows"
        " them to the width up to which this CPU gives the same text in any batch.",
    )
    step_time: Interval = setting(
        0.15,
        "Seconds that a step should take while answers are generated. Less makes streams smoother when a long prompt"
        " arrives, and the first token of that prompt later.",
    )
    max_draft_rows: Amount = setting(
        8,
        "Speed up answers that repeat text of their prompt, or of recent requests with the same key: draft tokens"
        " copied from it are verified in steps of at most this many tokens, so that one step can yield several. The"
        " text stays the same. 0 turns it off; more than the default pays only on a CPU where wide steps are cheap.",
    )
    threads: Count | None = setting(
        None, "CPU threads of the model's computation.", unset="as many as this process may use"
    )
    kernels: Literal["auto", "openvino"] = setting(
        "auto",
        "Whose code computes layers with quantised matrices. auto is crossette's own, which is faster, where a C++"
        " compiler such as g++ is installed: it is compiled for this CPU when a server first starts. The weights are"
        " the same; activations have 16 bits there, which changes logprobs by 0.0003 on average.",
    )
    max_image_pixels: Count = setting(
        16_000_000, "Accept images of at most this many pixels. Larger ones take more memory to decode."
    )
