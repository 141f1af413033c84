"""What exporters are known to leave out of a model's graph, by its config.json."""

from __future__ import annotations

from pathlib import Path

from crossette.models.facts import read_config


def known_differences(folder: Path) -> tuple[str, ...]:
    """Warnings about what the graph of a folder computes otherwise than its model, at any length."""
    cap = read_config(folder).get("attn_logit_softcapping")
    if not isinstance(cap, int | float) or not cap:
        return ()
    return (
        f"The model caps attention scores at {cap:g} (attn_logit_softcapping), and its graph does not: its text may be "
        "another one than the model's, the more the larger the scores are.",
    )
