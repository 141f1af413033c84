"""The streaming example of Fireworks' page of 2023, verbatim but for the host."""

# mypy: ignore-errors
# Its imports are found beside it, where mypy does not look.

import json
import os
import subprocess

from asked import ASKED, tell

COMMAND = r"""
curl --request POST \
     --url $HOST/inference/v1/completions \
     --header "accept: application/json" \
     --header "authorization: Bearer $API_KEY" \
     --header "content-type: application/json" \
     --data '{"model": "accounts/fireworks/models/starcoder-16b-w8a16", "prompt": "def say_hello_world():", "max_tokens": 100, "stream": true}'
"""  # noqa: E501  # verbatim


def said_by(host):
    environment = {**os.environ, "HOST": host, "API_KEY": "none"}
    ran = subprocess.run(["sh", "-c", COMMAND], env=environment, capture_output=True, check=True, encoding="utf-8")
    *lines, end = ran.stdout.rstrip("\n").split("\n\n")
    *before, last = [json.loads(line.removeprefix("data: ")) for line in lines]
    return {
        "usage before the last chunk": sorted({str(chunk["usage"]) for chunk in before}),
        "reason before the last chunk": sorted({str(chunk["choices"][0]["finish_reason"]) for chunk in before}),
        "reason": last["choices"][0]["finish_reason"],
        "counts": sorted(key for key, value in last["usage"].items() if isinstance(value, int) and value > 0),
        "end": end,
    }


def scenarios(base_url):
    return {
        "example of the page": lambda: said_by(ASKED["root"]),
        "example of the page, real model": lambda: said_by(ASKED["real_root"]),
    }


tell(["/inference/v1"], scenarios)
