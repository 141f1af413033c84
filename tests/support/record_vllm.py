"""Records the answers of a real vLLM server: `python -m support.record_vllm URL`, in the folder `tests`.

The server must serve the model of `support.tiny_checkpoint` with the arguments of `crossette.engines.vllm.process`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx

from crossette.engines.vllm import wire

RECORDINGS = Path(__file__).parents[1] / "data" / "vllm" / "recordings.json"

_PROMPT = list(b"Once upon a time")
_PARAMS = {"max_tokens": 3, "seed": 3, "ignore_eos": True, "detokenize": False}
_STREAM = {"stream": True, "stream_options": {"include_usage": True}}
_LARK = '%llguidance {}\nstart: main\nmain: %lark {\nstart: "ab" /[0-9]{3}/\n}\n'
_BODIES: dict[str, dict[str, Any]] = {
    "stream": {"token_ids": _PROMPT, "sampling_params": _PARAMS, **_STREAM},
    "stream_with_logprobs": {"token_ids": _PROMPT, "sampling_params": _PARAMS | {"logprobs": 2}, **_STREAM},
    "whole": {
        "token_ids": _PROMPT,
        "sampling_params": _PARAMS | {"logprobs": 2, "prompt_logprobs": 2},
        "stream": False,
    },
    "grammar": {
        "token_ids": _PROMPT,
        "sampling_params": _PARAMS
        | {"max_tokens": 9, "stop_token_ids": [257], "structured_outputs": {"grammar": _LARK}},
        **_STREAM,
    },
    "too_long": {"token_ids": _PROMPT * 100, "sampling_params": _PARAMS, **_STREAM},
    "refused": {"token_ids": _PROMPT, "sampling_params": _PARAMS | {"max_tokens": 0}, **_STREAM},
    "refused_grammar": {
        "token_ids": _PROMPT,
        "sampling_params": _PARAMS | {"structured_outputs": {"grammar": "start: ("}},
        **_STREAM,
    },
}


def main(url: str) -> None:
    with httpx.Client(base_url=url, timeout=60) as client:
        models = client.get("/v1/models").json()
        root = models["data"][0]["root"]
        metrics = client.get("/metrics").text.splitlines()
        recorded = {
            "version": client.get("/version").json(),
            "models": models,
            "cache": next(line for line in metrics if line.startswith("vllm:cache_config_info{")),
            **{name: _record(client, body) for name, body in _BODIES.items()},
        }
    text = json.dumps(recorded, indent=1, ensure_ascii=False).replace(json.dumps(root)[1:-1], "tiny")
    RECORDINGS.write_text(text + "\n", encoding="utf-8")


def _record(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(wire.PATH, json=body)
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return {"request": body, "status": answer.status_code, "body": answer.json()}
    return {"request": body, "status": answer.status_code, "events": answer.text.removesuffix("\n\n").split("\n\n")}


if __name__ == "__main__":
    main(sys.argv[1])
