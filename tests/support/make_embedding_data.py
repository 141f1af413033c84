"""Write tests/data/qwen3_embedding: a tiny decoder with random weights, exported by optimum, and its vectors.

    python make_embedding_data.py FOLDER

It runs in an environment of its own, with optimum-intel[openvino] (recorded: 2.2.0, with transformers 4.57.6, torch
2.14.1 and openvino 2026.4.1). Then copy what the folder has.
"""

# mypy: ignore-errors

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

END = "<|endoftext|>"
TEXTS = [
    "The cat sits on the mat.",
    "Rates rose.",
    "crossette serves open models that you run yourself " * 5,
]


def write_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=600, special_tokens=[END], initial_alphabet=alphabet)
    )
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)
    fast.save_pretrained(folder)
    return fast


def main(folder: Path) -> None:
    torch.manual_seed(0)
    source = folder / "source"
    source.mkdir(parents=True)
    tokenizer = write_tokenizer(source)
    config = Qwen3Config(
        vocab_size=600,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=512,
    )
    model = Qwen3Model(config).eval().float()
    model.save_pretrained(source)
    command = ["optimum-cli", "export", "openvino", "-m", str(source), "--task", "feature-extraction"]
    command += ["--disable-convert-tokenizer", str(folder)]
    subprocess.run(command, check=True)
    vectors = []
    for text in TEXTS:
        last = model(tokenizer(text, return_tensors="pt").input_ids).last_hidden_state[0, -1]
        vectors.append([round(value, 7) for value in torch.nn.functional.normalize(last, dim=0).tolist()])
    (folder / "reference.json").write_text(json.dumps({"texts": TEXTS, "vectors": vectors}))
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    types = [{"path": path, "type": f"sentence_transformers.models.{name}"} for path, name in modules]
    (folder / "modules.json").write_text(json.dumps(types))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps({"pooling_mode_lasttoken": True}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
