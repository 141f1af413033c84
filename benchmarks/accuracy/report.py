"""The report of all results, and their bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from common import machine

from accuracy.files import Measurable
from accuracy.measure import WINDOW, Measured

MARKER = "accuracy"

_REAL = (
    ("type", "file NLL", "served NLL", "KL", "mean Δ", "largest Δ", "argmax"),
    ("KL, f32 cache", "mean Δ, f32 cache", "argmax, f32 cache", "llama.cpp KL", "llama.cpp argmax", "within"),
)
_TINY = (
    ("family", "width", "type", "KL", "largest Δ", "argmax"),
    ("KL, f32 cache", "largest Δ, f32 cache", "clear argmax, f32 cache", "llama.cpp KL", "llama.cpp argmax", "within"),
)


def is_within(measured: Measured) -> bool:
    """Whether the bounds hold: for the default model's own file as served, for others with an f32 KV cache."""
    found = measured.served if measured.file.is_download else measured.precise
    if not measured.file.is_real:
        return bool(found.kl.mean() <= 0.002 and found.largest <= 0.1 and found.agrees[found.lead > 0.05].all())
    return bool(
        abs(found.found.mean() / found.expected.mean() - 1) <= 0.002
        and found.kl.mean() <= 0.002
        and found.mean <= 0.03
        and found.agrees.mean() >= 0.98
    )


def row(measured: Measured) -> str:
    """A row of the table of the default model or of the tiny models."""
    file, served, precise, peer = measured.file, measured.served, measured.precise, measured.llama_cpp
    peer_cells = ["", ""] if peer is None else [f"{peer.kl.mean():.5f}", f"{peer.agrees.mean():.1%}"]
    within = "yes" if is_within(measured) else "**no**"
    if file.is_real:
        nll, nll_served = -served.expected.mean(), -served.found.mean()
        cells = [
            *(file.quantization, f"{nll:.4f}", f"{nll_served:.4f} ({nll_served / nll - 1:+.2%})"),
            *(f"{served.kl.mean():.5f}", f"{served.mean:.3f}", f"{served.largest:.2f}", f"{served.agrees.mean():.1%}"),
            *(f"{precise.kl.mean():.6f}", f"{precise.mean:.4f}", f"{precise.agrees.mean():.1%}"),
        ]
    else:
        clear = precise.agrees[precise.lead > 0.05].mean()
        cells = [
            *(file.family, str(file.width), file.quantization),
            *(f"{served.kl.mean():.5f}", f"{served.largest:.3f}", f"{served.agrees.mean():.1%}"),
            *(f"{precise.kl.mean():.6f}", f"{precise.largest:.4f}", f"{clear:.1%}"),
        ]
    return f"| {' | '.join([*cells, *peer_cells, within])} |"


def report(measured: Sequence[Measured], refused: Mapping[Measurable, str], command: str) -> str:
    real = [one for one in measured if one.file.is_real]
    tiny = [one for one in measured if not one.file.is_real]
    own, others = (
        max((len(one.served.kl) for one in measured if one.file.is_download is download), default=0)
        for download in (True, False)
    )
    lines = [
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}; crossette {version('crossette')}, "
        f"openvino {version('openvino')}.",
        f"Windows of {WINDOW} tokens: {own} positions of the default model's own file, {others} of each other one."
        f" Command: `{command}`",
    ]
    for rows, (first, second) in ((real, _REAL), (tiny, _TINY)):
        if rows:
            headings = (*first, *second)
            lines += ["", f"| {' | '.join(headings)} |", "|---" * len(headings) + "|", *map(row, rows)]
    if refused:
        lines += ["", "Not convertible:", ""]
        lines += [f"- {file.family} {file.width or ''} {file.quantization}: {why}" for file, why in refused.items()]
    return "\n".join(lines)
