"""Write tests/data/reference.json: logits by transformers for tiny GGUF files, to test the reference implementation.

    python -m venv .venvs/transformers
    .venvs/transformers/bin/pip install torch transformers accelerate gguf
    PYTHONPATH=tests .venvs/transformers/bin/python -m support.make_reference_data

transformers reads metadata and weights from the GGUF file; only rope scaling, which it does not read, is set in its
configuration here.
"""

from __future__ import annotations

import hashlib
import json
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from support.reference_cases import CASES, DATA, NUM_KEPT, TOKENS, write_case
from support.tiny_model import LINEAR_ROPE, LLAMA3_ROPE, YARN_ROPE

ROPE = {
    "llama3": {"rope_type": "llama3", "rope_theta": 10_000.0, **LLAMA3_ROPE},
    "yarn": {"rope_type": "yarn", "rope_theta": 10_000.0, **YARN_ROPE},
    "linear": {"rope_type": "linear", "rope_theta": 10_000.0, **LINEAR_ROPE},
}


def last_logits(file: Path, rope: str | None) -> list[float]:
    torch, transformers = import_module("torch"), import_module("transformers")  # not installed in the test environment
    config = transformers.AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    if rope:
        config.rope_parameters = ROPE[rope]
    model = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, config=config, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        row = model(torch.tensor([TOKENS])).logits[0, -1, :NUM_KEPT]
    return [round(value, 5) for value in row.tolist()]


def main() -> None:
    made: dict[str, Any] = {"by": f"transformers {version('transformers')}, torch {version('torch')}"}
    with TemporaryDirectory() as folder:
        for name, (_, weights) in CASES.items():
            file = write_case(Path(folder) / f"{name}.gguf", name)
            sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
            made[name] = {"sha256": sha256, "logits": last_logits(file, weights.rope)}
    DATA.write_text(json.dumps(made).replace("}, ", "},\n") + "\n")


if __name__ == "__main__":
    main()
