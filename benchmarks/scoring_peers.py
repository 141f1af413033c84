"""Engines that score prompts in a process of their own, for scoring.py.

Each takes a line of JSON, prompts of token ids, and answers with one: the seconds it took, its CPU seconds, and the sum
of the logprobs of each prompt.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Prompts = list[list[int]]

_LOOP = """
import json, os, sys, time
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what libraries print is not an answer
def serve(score):
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        prompts, begun, cpu = json.loads(line), time.perf_counter(), time.process_time()
        sums = score(prompts)
        print(json.dumps([time.perf_counter() - begun, time.process_time() - cpu, sums]), file=answers, flush=True)
"""

LLAMA_CPP = (
    _LOOP
    + """
from pathlib import Path
import numpy as np
from accuracy.llama_cpp import LlamaCpp
model = LlamaCpp(Path(sys.argv[1]))
def total(tokens):
    logits = model.logits(tokens)[:-1]
    best = logits.max(axis=1)
    normaliser = best + np.log(np.exp(logits - best[:, None]).sum(axis=1, dtype=np.float64))
    return float((logits[np.arange(len(tokens) - 1), tokens[1:]] - normaliser).sum())
serve(lambda prompts: [total(tokens) for tokens in prompts])
"""
)
"""llama.cpp by xllamacpp, as llama-cpp-python calls it: the logprob of each token from the logits."""

VLLM = (
    _LOOP
    + """
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # so that its CPU time is that of this process
from vllm import LLM, SamplingParams
model = LLM(sys.argv[1], skip_tokenizer_init=True, dtype="float32", max_model_len=2048, enable_prefix_caching=False,
            gpu_memory_utilization=0.3)
options = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0, detokenize=False)
def score(prompts):
    given = [{"prompt_token_ids": tokens} for tokens in prompts]
    outputs = model.generate(given, options, use_tqdm=False)
    return [sum(some[token].logprob for some, token in zip(output.prompt_logprobs[1:], tokens[1:], strict=True))
            for output, tokens in zip(outputs, prompts, strict=True)]
if __name__ == "__main__":
    serve(score)
"""
)
"""vLLM with the same weights in f32, all prompts at once."""


@dataclass(frozen=True)
class Scored:
    """One side's time for all prompts, in seconds, and the sum of each prompt's logprobs."""

    seconds: float
    cpu_s: float
    sums: list[float]


@contextmanager
def scorer(python: str, code: str, model: Path) -> Iterator[Callable[[Prompts], Scored]]:
    """A function that scores prompts with one of these engines, which `python` must have."""
    environment = {"PYTHONPATH": str(Path(__file__).parent), "HOME": str(Path.home()), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        [python, "-c", code, str(model)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        given, read = process.stdin, process.stdout
        if read.readline() != "ready\n":
            raise SystemExit(f"{python} cannot run this engine: its error is above.")

        def score(prompts: Prompts) -> Scored:
            given.write(json.dumps(prompts) + "\n")
            given.flush()
            return Scored(*json.loads(read.readline()))

        try:
            yield score
        finally:
            given.close()
