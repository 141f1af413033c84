"""Settings of the embedded engine."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.settings import Amount, Count, Interval, setting


@dataclass(frozen=True, slots=True)
class OpenVINOSettings:
    """Resource limits and step sizes of the engine."""

    kv_cache: str = setting("30%", "Size of the KV cache: bytes (2GiB), or a share of free memory (30%).")
    max_model_len: Count | None = setting(None, "Longest context to serve, in tokens, if shorter than the model's.")
    max_sequences: Count = setting(64, "Most sequences in the running batch; further ones wait.")
    max_step_tokens: Count = setting(256, "Most tokens in one step; reduced to the measured exact width of this CPU.")
    step_time: Interval = setting(0.15, "Target seconds per step while sequences decode; bounds their token gaps.")
    max_draft_rows: Amount = setting(8, "Tokens up to which draft tokens fill a narrow step; 0 for no drafts.")
    threads: Count | None = setting(None, "Kernel threads; by default as many as CPU affinity and cgroup allow.")
