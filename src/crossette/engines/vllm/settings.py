"""Settings of the engine that runs models on vLLM."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.settings import Count, Interval, setting


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """Where vLLM runs, and how much of it is used."""

    vllm_url: str = setting(
        "",
        "The root URL of a running vLLM server, started with --enable-scale-out. Without it, a server is started for"
        " each model, and ended with this one.",
        metavar="URL",
    )
    vllm_command: str = setting(
        "vllm",
        "The program that starts vLLM, as a rule in an environment of its own: /opt/vllm/bin/vllm.",
        metavar="PROGRAM",
    )
    vllm_args: tuple[str, ...] = setting(
        (), "A further argument of `vllm serve`, such as --tensor-parallel-size=2. Repeatable.", metavar="ARGUMENT"
    )
    vllm_max_sequences: Count = setting(
        256,
        "Have vLLM generate at most this many choices at the same time; further ones wait here, in a queue that is"
        " fair to all keys.",
    )
    vllm_batch_invariant: bool = setting(
        False,
        "Run vLLM in its batch-invariant mode, in which a request has the same text in any batch. With --vllm-url, an"
        " assurance that the server there runs in it.",
    )
    vllm_start_timeout: Interval = setting(1800.0, "Most seconds that vLLM takes to load a model.")
