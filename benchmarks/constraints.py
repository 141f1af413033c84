"""Measure the cost of constraints: concurrent streams with and without grammars, and the share of masks in a step.

    scripts/bench-constraints [--streams 8] [--tokens 128] [--rounds 3] [--write docs/benchmarks.md]

Greedy, on the default model, through the engine alone. The kinds alternate in every round, so that a drift of the
machine's speed affects all alike; the figures are medians over the rounds. Each stream has its own prompt; all share
one grammar, which is compiled before, and hardly any output ends early. The time of masks is all of the engine's time
in a matcher: the mask, the forced tokens, and accepting a token.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common import machine, write

from crossette.engine import Engine
from crossette.engines.grammar.compiler import Matcher
from crossette.engines.openvino.convert import convert
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.generation.prompt import token_id
from crossette.models.catalogue import DEFAULT
from crossette.models.pull import pull
from crossette.models.store import ModelStore, default_root
from crossette.server.served import model_files
from crossette.text import output_format
from crossette.text.output_plan import output_plan
from crossette.text.tool_calls.families import HERMES, LLAMA_3
from crossette.text.tool_calls.tool_set import ToolSet
from crossette.text.tool_calls.tools import Tool, ToolChoice
from crossette.types import Constraint, GenerationRequest, SamplingParams

MARKER = "constraints"
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "likes": {"type": "array", "items": {"type": "string"}, "minItems": 3},
        "story": {"type": "string", "minLength": 600},
    },
    "required": ["name", "age", "likes", "story"],
    "additionalProperties": False,
}
TOOLS = [
    Tool("search", "Search the web.", {"type": "object", "properties": {"query": {"type": "string"}}}),
    Tool("note", "Keep a note about a person.", PERSON),
    Tool("now"),
]
GBNF = r"""
root ::= (sentence " ")+ "THE END"
sentence ::= [A-Z] [a-z']* ([,]? " " word)* [.!?]
word ::= [a-zA-Z] [a-z']* | number
number ::= [0-9]+ ("." [0-9]+)?
"""
GBNF_JSON = r"""
root   ::= "[" ws (object "," ws)+ "\"the end\"]"
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""


@dataclass(frozen=True)
class Run:
    """The measurement of one run of all streams."""

    tokens_per_s: float
    step_ms: float
    masks_ms: float
    """Time of masks per step."""

    @property
    def share(self) -> float:
        return self.masks_ms / self.step_ms


@contextmanager
def matchers_timed() -> Iterator[Callable[[], float]]:
    """Yields a function that returns the seconds spent in matchers so far. Assumes one engine thread."""
    spent = 0.0

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            nonlocal spent
            begun = time.perf_counter()
            try:
                return method(*args)
            finally:
                spent += time.perf_counter() - begun

        return call

    originals = {name: getattr(Matcher, name) for name in ("allowed", "forced", "accept_token")}
    for name, method in originals.items():
        setattr(Matcher, name, timed(method))
    try:
        yield lambda: spent
    finally:
        for name, method in originals.items():
            setattr(Matcher, name, method)


def kinds(engine: Engine) -> dict[str, Constraint | None]:
    marker = partial(token_id, engine.tokenizer)

    def auto(tool_format: Any) -> Constraint | None:
        return output_plan(marker, tool_set=ToolSet.of(tool_format, TOOLS, ToolChoice("auto"))).constraint

    return {
        "free": None,
        "JSON schema": output_format.json_schema(PERSON, "response_format").constraint,
        "tools, `auto`, in free text (hermes)": auto(HERMES),
        "tools, `auto`, in free text (llama3-json)": auto(LLAMA_3),
        "GBNF, prose": output_format.gbnf(GBNF, "grammar").constraint,
        "GBNF, llama.cpp's JSON": output_format.gbnf(GBNF_JSON, "grammar").constraint,
    }


def run(engine: Engine, constraint: Constraint | None, streams: int, max_tokens: int) -> Run:
    async def one(number: int) -> int:
        text = f"Write about person number {number}, who lives in a small town and likes {number} things.\n"
        prompt = tuple(engine.tokenizer.encode(text, specials=False))
        sampling = SamplingParams(max_tokens, temperature=0, ignore_eos=constraint is None)
        request = GenerationRequest(
            f"constraints-{number}", prompt, sampling, constraint=constraint, end_token_ids=engine.info.end_token_ids
        )
        return sum([len(output.token_ids) async for output in engine.generate(request)])

    async def all_of_them() -> int:
        return sum(await asyncio.gather(*map(one, range(streams))))

    if constraint is not None:
        engine.prepare(constraint)
    with matchers_timed() as spent:
        steps, begun = engine.stats().steps, time.perf_counter()
        num_tokens = asyncio.run(all_of_them())
        seconds, num_steps = time.perf_counter() - begun, engine.stats().steps - steps
        return Run(num_tokens / seconds, 1e3 * seconds / num_steps, 1e3 * spent() / num_steps)


def measure(streams: int, max_tokens: int, rounds: int) -> dict[str, list[Run]]:
    stored = pull(ModelStore(default_root()), DEFAULT.name, convert)
    engine = OpenVINOEngine.load(model_files(stored), OpenVINOSettings())
    constraints = kinds(engine)
    runs: dict[str, list[Run]] = {name: [] for name in constraints}
    run(engine, None, streams, 8)
    for _ in range(rounds):
        for name, constraint in constraints.items():
            runs[name].append(run(engine, constraint, streams, max_tokens))
            print(name, runs[name][-1], file=sys.stderr, flush=True)
    engine.close()
    return runs


def report(runs: dict[str, list[Run]], streams: int, max_tokens: int, command: str) -> str:
    num_rounds = len(runs["free"])
    lines = [
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}; crossette {version('crossette')}, "
        f"openvino {version('openvino')}, llguidance {version('llguidance')}, {DEFAULT.name}.",
        f"{streams} streams at once, up to {max_tokens} output tokens each, greedy, prefill included; medians of "
        f"{num_rounds} alternating rounds.",
        f"Command: `{command}`",
        "",
        f"| {streams} streams | output tokens/s | to free | a step, ms | masks of it, ms | masks / step |",
        "|---|---|---|---|---|---|",
    ]
    for name, several in runs.items():
        tokens, step, masks, share = (
            statistics.median(getattr(one, figure) for one in several)
            for figure in ("tokens_per_s", "step_ms", "masks_ms", "share")
        )
        ratios = [one.tokens_per_s / free.tokens_per_s for one, free in zip(several, runs["free"], strict=True)]
        lines.append(
            f"| {name} | {tokens:.0f} | {statistics.median(ratios):.2f} | {step:.1f} | {masks:.2f} | {share:.1%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path, help="page to update, with the markers of this report")
    options = parser.parse_args()
    runs = measure(options.streams, options.tokens, options.rounds)
    text = report(runs, options.streams, options.tokens, " ".join(["scripts/bench-constraints", *sys.argv[1:]]))
    print(text)
    if options.write is not None:
        write(options.write, MARKER, text)


if __name__ == "__main__":
    main()
