"""Export a tiny random model of each family, with what transformers says with it: run by hand, `--help` says how.

Needs packages that no test needs: `pip install "optimum-intel[openvino]==2.2.0" torch`, and for the families of
`OLDER` the transformers that is named there. The matrices have two values each, so that they compress well. At the end,
in the folder: `tar --sort=name -c * | xz --lzma2=preset=9e,dict=128MiB,lc=0,lp=2 > tests/data/families.tar.xz`.
"""

# mypy: ignore-errors

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.family_configs import CONFIGS
from support.image_text_configs import IMAGE_TEXT_CONFIGS

PROSE = (Path(__file__).parents[1] / "data/prose.txt").read_bytes()
LENGTHS = {"short": 60, "long": 1100}
OTHER_LENGTHS = {name: {"short": 60, "long": 200} for name in ("llama4", "llama4_text")}
"""Of families whose served window is shorter."""
NEW_TOKENS = 24
TASKS = ("text-generation-with-past", "image-text-to-text")
SPREAD = 2.5
"""Standard deviation of the logits."""
GRAPHS = ("model", "language_model", "text_embeddings_model", "text_embeddings_per_layer_model")
"""Of image-text models those that their text needs."""
FILES = (
    *(f"openvino_{graph}.{end}" for graph in GRAPHS for end in ("xml", "bin")),
    "config.json",
    "generation_config.json",
)
KEPT = ("A_log", "dt_bias", "dt_proj", ".D", "conv1d", "x_proj", "conv.conv", "inv_freq")
"""Parameters of recurrent layers that only work with values as their authors initialise them."""
SHARP = ("q_proj", "query", "q_norm", "q_layernorm", "qkv", "Wqkv", "c_attn", "q_b_proj")
"""Parameters that are scaled so that attention picks some tokens: an average over all shows little."""


def make(name):
    kind, values = (CONFIGS | IMAGE_TEXT_CONFIGS)[name]
    config = getattr(transformers, kind)(**values)
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    auto = transformers.AutoModelForImageTextToText if name in IMAGE_TEXT_CONFIGS else transformers.AutoModelForCausalLM
    model = auto.from_config(config, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter, weights in model.named_parameters():
            fill(parameter, weights, generator)
        spread(model)
    return model


def fill(name, weights, generator):
    if any(part in name for part in KEPT):
        weights.copy_(weights.half().float())
    elif weights.dim() >= 2:
        signs = torch.randint(0, 2, weights.shape, generator=generator) * 2.0 - 1
        fan_in = weights.shape[-1]
        scale = 1.0 if "embed" in name and "proj" not in name else 1 / math.sqrt(fan_in)
        weights.copy_(signs * scale * (2 if any(part in name for part in SHARP) else 1))
    elif "sinks" in name:
        weights.copy_(torch.randint(-8, 8, weights.shape, generator=generator) / 4)
    else:
        signs = torch.randint(-2, 3, weights.shape, generator=generator) / 16
        weights.copy_(weights.round() + signs if "norm" in name.lower() and "bias" not in name else signs)


def spread(model):
    """Scale the head so that the logits have the standard deviation `SPREAD`."""
    head = model.get_output_embeddings().weight
    found = model(torch.tensor([list(PROSE[:200])]), use_cache=False).logits.std()
    head.mul_(SPREAD / found)


def reference(name, model):
    """Greedy tokens and their logprobs; each token from the whole sequence.

    The cache is always new. Layers that share keys and values with others find them there only.
    """
    cases = {}
    for label, length in OTHER_LENGTHS.get(name, LENGTHS).items():
        ids, tokens, logprobs, margins = list(PROSE[:length]), [], [], []
        for _ in range(NEW_TOKENS):
            with torch.no_grad():
                logits = model(torch.tensor([ids]), use_cache=True).logits[0, -1].float()
            best = torch.log_softmax(logits, -1).topk(2)
            tokens.append(int(best.indices[0]))
            logprobs.append(round(float(best.values[0]), 5))
            margins.append(float(best.values[0] - best.values[1]))
            ids.append(tokens[-1])
        cases[label] = {"length": length, "tokens": tokens, "logprobs": logprobs}
        print(
            f"  {label}: {len(set(tokens))} distinct, mean logprob {sum(logprobs) / len(logprobs):.2f}, "
            f"smallest margin {min(margins):.4f}"
        )
    return cases


def export(model, folder, task):
    from optimum.exporters.openvino import main_export
    from optimum.intel import OVConfig

    with TemporaryDirectory() as scratch:
        model.save_pretrained(f"{scratch}/hf")
        main_export(
            f"{scratch}/hf",
            f"{scratch}/ov",
            task=task,
            library_name="transformers",
            ov_config=OVConfig(dtype="fp32"),
            convert_tokenizer=False,
        )
        folder.mkdir(parents=True, exist_ok=True)
        for file in FILES:
            if (Path(scratch) / "ov" / file).exists():
                shutil.copy(f"{scratch}/ov/{file}", folder / file)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="+")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    for name in given.names:
        if (given.folder / name / "reference.json").exists():
            continue
        print(name, transformers.__version__, flush=True)
        try:
            model = make(name)
            cases = reference(name, model)
            export(model, given.folder / name, TASKS[name in IMAGE_TEXT_CONFIGS])
        except Exception as error:  # the others go on; by hand, and printed
            print("  not exported:", type(error).__name__, str(error)[:500])
            continue
        record = {"transformers": transformers.__version__, **cases}
        (given.folder / name / "reference.json").write_text(json.dumps(record))
        print("  exported", sum(p.numel() for p in model.parameters()), flush=True)


if __name__ == "__main__":
    main()
