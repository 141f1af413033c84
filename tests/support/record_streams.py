"""Record what the default model says, token by token, into tests/data/streams.json.

    PYTHONPATH=tests python -m support.record_streams

The tests of streams play it back: real tokens cut characters and words where a model cuts them. It is recorded anew
only when that is wanted; the tests compare streams with whole answers, and never with what this model says today.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from crossette.engines.openvino.convert import convert
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.models.catalogue import DEFAULT
from crossette.models.pull import pull
from crossette.models.store import ModelStore, default_root
from crossette.server.served import model_files
from crossette.types import GenerationRequest, SamplingParams

STREAMS = Path(__file__).parents[1] / "data" / "streams.json"

PROMPTS = (
    ("Once upon a time", 0.0),
    ("1. One\n2. Two\n3.", 0.0),
    ("def fib(n):\n", 0.0),
    ("Fête, über, naïve, façade, señor, Straße,", 0.9),
    ("🎆🎇✨ 👩‍👩‍👧 🇩🇪 🎆🎇✨ 👩‍👩‍👧 🇩🇪 🎆", 0.7),
    ("日本語 世界 日本語 世界 日", 0.7),
    ("🎆 日", 1.8),  # so hot that half characters stand side by side
    ("<|im_start|>user\nSay hi.<|im_end|>\n<|im_start|>assistant\n", 0.0),  # ends with its end token
)
NUM_TOKENS = 32


async def record(engine: OpenVINOEngine, prompt: str, temperature: float) -> dict[str, object]:
    tokens = tuple(engine.tokenizer.encode(prompt, specials=True))
    request = GenerationRequest(
        prompt,
        tokens,
        SamplingParams(NUM_TOKENS, temperature=temperature, seed=5),
        logprobs=0,
        end_token_ids=engine.info.end_token_ids,
    )
    said: list[int] = []
    logprobs: list[float] = []
    reason = None
    async for output in engine.generate(request):
        said += output.token_ids
        logprobs += [one.logprob for one in output.logprobs or ()]
        reason = output.finish_reason
    return {"prompt": tokens, "tokens": said, "logprobs": logprobs, "finish_reason": reason}


async def record_all(engine: OpenVINOEngine) -> list[dict[str, object]]:
    return [await record(engine, prompt, temperature) for prompt, temperature in PROMPTS]


def main() -> None:
    model = pull(ModelStore(default_root()), DEFAULT.name, convert)
    engine = OpenVINOEngine.load(model_files(model), OpenVINOSettings(kv_cache="256MiB"))
    streams = asyncio.run(record_all(engine))
    used = sorted({token for stream in streams for name in ("prompt", "tokens") for token in stream[name]})  # type: ignore[attr-defined]  # lists of ids
    table = engine.tokenizer
    head = {
        "recorded": f"PYTHONPATH=tests python -m support.record_streams, with {model.name}",
        "bytes": {token: table.token_bytes(token).hex() for token in used},
        "control": {token: table.token_text(token).decode() for token in used if not table.token_bytes(token)},
    }
    engine.close()
    lines = ",\n".join(json.dumps(stream) for stream in streams)
    STREAMS.write_text(f'{json.dumps(head)[:-1]}, "streams": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
