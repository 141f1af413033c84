"""Write tests/data/smolvlm: a tiny image-text model with random weights, exported, and what transformers says with it.

Needs packages that no test needs: `pip install "optimum-intel[openvino]" "transformers==4.57.6" pillow num2words`.
Run as `python tests/support/make_vision_data.py`. The weights are numbers of 16 bits, which compress well.
"""

# mypy: ignore-errors

from __future__ import annotations

import base64
import json
import shutil
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from optimum.exporters.openvino import main_export
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
)
from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor

DATA = Path(__file__).parents[1] / "data/smolvlm"
EDGE, LONGEST, NEW_TOKENS = 32, 64, 24
SPECIALS = (
    *("<|endoftext|>", "<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<global-img>", "<image>"),
    *(f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4)),
)
TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
UNUSED = ("tokenizer.json", "special_tokens_map.json", "video_preprocessor_config.json")
PICTURES = {"wide": (90, 40, 1), "other": (90, 40, 5), "square": (20, 20, 2), "tall": (30, 80, 3), "flat": (200, 9, 4)}
"""Width, height and seed."""
CASES = (
    (("wide",), "What is this?"),
    (("other",), "What is this?"),
    (("square",), "a" * 100),
    (("tall",), "Hello there, tell me " + "more " * 40),
    (("flat",), "x"),
    (("wide", "tall"), "Compare them."),
    ((), "Only text here."),
)


def tokenizer():
    vocabulary = {token: index for index, token in enumerate((*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet())))}
    vocabulary["he"] = len(vocabulary)
    made = Tokenizer(models.BPE(vocabulary, [("h", "e")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    first, begin, end, *_ = SPECIALS
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=begin, eos_token=end, pad_token=first, unk_token=first
    )


def model(vocab_size):
    text = {
        "model_type": "llama",
        "vocab_size": vocab_size,
        "hidden_size": 128,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "max_position_embeddings": 4096,
        "pad_token_id": 0,
        "tie_word_embeddings": False,
    }
    vision = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": EDGE,
        "patch_size": 4,
    }
    config = SmolVLMConfig(
        text_config=text,
        vision_config=vision,
        scale_factor=2,
        image_token_id=SPECIALS.index("<image>"),
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    made = SmolVLMForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, weights in made.named_parameters():
            _fill(name, weights)
    return made


def _fill(name, weights):
    if weights.ndim >= 2:
        scale = 2.0 if "lm_head" in name else 1.0
        weights.normal_(0, 1.0 if "embed_tokens" in name else scale / weights[0].numel() ** 0.5)
    elif "norm" in name and name.endswith("weight"):
        weights.normal_(1, 0.1)
    else:
        weights.normal_(0, 0.1)
    weights.copy_(weights.half().float())


def processor(text):
    images = SmolVLMImageProcessor(size={"longest_edge": LONGEST}, max_image_size={"longest_edge": EDGE})
    video = SmolVLMVideoProcessor(size={"longest_edge": LONGEST}, max_image_size={"longest_edge": EDGE})
    return SmolVLMProcessor(
        image_processor=images, tokenizer=text, video_processor=video, image_seq_len=16, chat_template=TEMPLATE
    )


def picture(width, height, seed):
    base = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    return Image.fromarray(base).resize((width, height), Image.Resampling.BICUBIC)


def export(source, target):
    with TemporaryDirectory() as temporary:
        main_export(str(source), output=temporary, task="image-text-to-text", convert_tokenizer=True)
        for path in Path(temporary).iterdir():
            if path.name not in UNUSED:
                shutil.copy(path, target)


def cases(made, process):
    # From 4.55 on, transformers shifts the positions of patches by one in f32, and not in 16 bits, as in training.
    torch.bucketize = lambda values, boundaries, right: torch.arange(len(values))
    for names, text in CASES:
        content = [*({"type": "image"} for _ in names), {"type": "text", "text": text}]
        prompt = process.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        images = {"images": [picture(*PICTURES[name]) for name in names]} if names else {}
        given = process(text=prompt, return_tensors="pt", **images)
        given.pop("token_type_ids", None)
        with torch.no_grad():
            answer = made.generate(
                **given,
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                eos_token_id=None,
                output_logits=True,
                return_dict_in_generate=True,
            )
        tokens = answer.sequences[0, given["input_ids"].shape[1] :].tolist()
        logprobs = [
            round(float(torch.log_softmax(logits[0], -1)[token]), 6)
            for logits, token in zip(answer.logits, tokens, strict=True)
        ]
        yield {
            "images": list(names),
            "text": text,
            "prompt": given["input_ids"][0].tolist(),
            "pixel_sum": round(float(given["pixel_values"].double().abs().sum()), 6) if names else 0,
            "tokens": tokens,
            "logprobs": logprobs,
        }


def main():
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir()
    text = tokenizer()
    made, process = model(len(text)), processor(text)
    with TemporaryDirectory() as source:
        made.save_pretrained(source)
        process.save_pretrained(source)
        export(source, DATA)
    files = {}
    for name, size in PICTURES.items():
        buffer = BytesIO()
        picture(*size).save(buffer, "PNG")
        files[name] = base64.b64encode(buffer.getvalue()).decode()
    (DATA / "cases.json").write_text(json.dumps({"pictures": files, "cases": list(cases(made, process))}) + "\n")


if __name__ == "__main__":
    main()
