"""Performance figures of an answer, in headers and in the body."""

from __future__ import annotations

from dataclasses import fields
from time import perf_counter

import msgspec

from crossette.api.dialect import Dialect
from crossette.api.schema.answer import PerfMetrics
from crossette.generation.answer import DeltaSource
from crossette.types import SamplingParams

_OPTIONS = [field.name for field in fields(SamplingParams) if field.name not in ("logit_bias", "ignore_eos")]
"""The sampling options in a header: without `logit_bias`, which may be large, and `ignore_eos`, which is none."""


def perf_metrics(answer: DeltaSource) -> PerfMetrics:
    """The figures known so far, under Fireworks' names; times in seconds."""
    usage, timings = answer.usage, answer.timings
    num_predicted = answer.num_predicted
    metrics: PerfMetrics = {"prompt-tokens": answer.num_prompt_tokens}  # headers may precede the prompts' start
    if timings.ended is not None or (timings.first_token is not None and answer.num_prompts == 1):
        metrics["cached-prompt-tokens"] = usage.cached_tokens
    if answer.queued_s is not None and (timings.ended is not None or len(answer.choices) == 1):
        metrics["prefill-queue-duration"] = round(answer.queued_s, 3)  # others of several choices may still wait
    if timings.first_token is not None:
        metrics["server-time-to-first-token"] = round(timings.first_token - timings.begun, 3)
    if num_predicted:
        metrics["speculation-prompt-tokens"] = num_predicted
    if timings.ended is not None:
        metrics["server-processing-time"] = round(timings.ended - timings.begun, 3)
        if num_predicted:
            metrics["speculation-prompt-matched-tokens"] = usage.accepted_prediction_tokens
    return metrics


def metric_headers(answer: DeltaSource, dialect: Dialect) -> dict[str, str]:
    """The figures as headers of the dialect, and the sampling options."""
    if dialect.metric_headers == "openai":
        seconds = (answer.timings.ended or perf_counter()) - answer.timings.begun
        return {"openai-processing-ms": str(round(1000 * seconds))}
    headers = {f"fireworks-{name}": str(value) for name, value in perf_metrics(answer).items()}
    if answer.sampling is None:
        return headers
    sampling = answer.sampling
    options = msgspec.json.encode({name: getattr(sampling, name) for name in _OPTIONS})
    return headers | {"fireworks-sampling-options": options.decode()}
