"""What can be set about the embedded engine."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.settings import Amount, Count, Interval, setting


@dataclass(frozen=True, slots=True)
class OpenVINOSettings:
    """How much of the machine the engine takes, and how wide its steps are."""

    kv_cache: str = setting("30%", "Memory for keys and values: bytes (2GiB), or a share of what is free (30%).")
    max_model_len: Count | None = setting(None, "Serve a shorter context than the model's window, in tokens.")
    max_sequences: Count = setting(64, "Sequences in the running batch at most; further ones wait.")
    max_step_tokens: Count = setting(256, "Tokens in one step at most; narrowed to what is exact on this CPU.")
    step_time: Interval = setting(0.15, "Seconds a step may take while answers stream: the largest gap between tokens.")
    max_draft_rows: Amount = setting(8, "Rows up to which a narrow step is filled with guesses to check; 0 for none.")
    threads: Count | None = setting(None, "Threads of the kernels; as many as affinity and cgroup allow if not given.")
