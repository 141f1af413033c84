"""Configurations of tiny models of many families, as arguments of transformers' configuration classes."""

from __future__ import annotations

from typing import Any

WINDOW = 8192

_WIDTHS: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": WINDOW,
    "bos_token_id": 256,
    "eos_token_id": 258,
    "pad_token_id": 256,
    "tie_word_embeddings": False,
}
HEADS = {**_WIDTHS, "head_dim": 32}
FOUR = {**HEADS, "num_hidden_layers": 4}
_MIXTURE = {"num_local_experts": 4, "num_experts_per_tok": 2}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
DELTA = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
}

SLIDING = {"sliding_window": 256, "layer_types": ["sliding_attention", "full_attention"]}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 512,
    "rope_theta": 500000.0,
}
SHORT_WINDOW = 512
"""The original context length of the models with longrope."""


def _longrope(pairs: int, **more: Any) -> dict[str, Any]:
    return {
        "rope_type": "longrope",
        "short_factor": [1.0 + 0.02 * i for i in range(pairs)],
        "long_factor": [1.0 + 0.3 * i for i in range(pairs)],
        "original_max_position_embeddings": SHORT_WINDOW,
        "rope_theta": 10000.0,
        **more,
    }


_CONVS = ["conv", "conv", "full_attention", "conv"]
_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 32, "mamba_d_state": 32, "mamba_n_groups": 1, "mamba_chunk_size": 64}
_MLA = {
    "num_key_value_heads": 2,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 16,
    "v_head_dim": 32,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
}
_GPT = {"vocab_size": 259, "n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": WINDOW, "n_inner": 64}
SHARED: dict[str, Any] = {
    **HEADS,
    "num_hidden_layers": 4,
    "sliding_window": 256,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "vocab_size_per_layer_input": 259,
    "hidden_size_per_layer_input": 16,
    "num_kv_shared_layers": 2,
}
"""Of Gemma 3n and 4: embeddings for each layer, and layers that use the keys and values of others."""

PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", HEADS),
    "llama-scaled": ("LlamaConfig", {**HEADS, "rope_parameters": _LLAMA3}),
    "llama-dynamic": (
        "LlamaConfig",
        {**HEADS, "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}},
    ),
    "mistral": ("MistralConfig", {**HEADS, "sliding_window": None}),
    "mistral-sliding": ("MistralConfig", {**HEADS, "sliding_window": 256}),
    "mixtral": ("MixtralConfig", {**HEADS, **_MIXTURE}),
    "qwen2": ("Qwen2Config", _WIDTHS),
    "qwen2_moe": ("Qwen2MoeConfig", {**_WIDTHS, **EXPERTS, "shared_expert_intermediate_size": 32}),
    "qwen3": ("Qwen3Config", HEADS),
    "qwen3_moe": ("Qwen3MoeConfig", {**HEADS, **EXPERTS}),
    "phi3": ("Phi3Config", {**_WIDTHS, "sliding_window": None}),
    "phi3-longrope": (
        "Phi3Config",
        {
            **_WIDTHS,
            "sliding_window": None,
            "partial_rotary_factor": 0.75,
            "original_max_position_embeddings": SHORT_WINDOW,
            "rope_parameters": _longrope(12, partial_rotary_factor=0.75),
        },
    ),
    "phimoe": (
        "PhimoeConfig",
        {
            **_WIDTHS,
            **_MIXTURE,
            "original_max_position_embeddings": SHORT_WINDOW,
            "rope_parameters": _longrope(16, short_mscale=1.1, long_mscale=1.2),
        },
    ),
    "smollm3": ("SmolLM3Config", {**_WIDTHS, "no_rope_layers": [1, 0]}),
    "gpt_oss": ("GptOssConfig", {**HEADS, **_MIXTURE, **SLIDING}),
    "glm4": ("Glm4Config", {**HEADS, "partial_rotary_factor": 0.5}),
    "granite": (
        "GraniteConfig",
        {
            **_WIDTHS,
            "embedding_multiplier": 12.0,
            "residual_multiplier": 4.0,
            "attention_multiplier": 0.2,
            "logits_scaling": 8.0,
        },
    ),
    "granitemoe": ("GraniteMoeConfig", {**_WIDTHS, **_MIXTURE, "attention_multiplier": 0.2}),
    "olmo2": ("Olmo2Config", _WIDTHS),
    "starcoder2": ("Starcoder2Config", {**_WIDTHS, "sliding_window": 256}),
    "cohere2": ("Cohere2Config", {**HEADS, **SLIDING, "logit_scale": 0.25}),
    "arcee": ("ArceeConfig", HEADS),
    "hunyuan_v1_dense": ("HunYuanDenseV1Config", HEADS),
    "stablelm": ("StableLmConfig", _WIDTHS),
    "phi": ("PhiConfig", {**_WIDTHS, "num_key_value_heads": 2, "partial_rotary_factor": 0.5}),
    "gpt_neox": (
        "GPTNeoXConfig",
        {**_WIDTHS, "rotary_pct": 0.5},
    ),
    "gpt_bigcode": ("GPTBigCodeConfig", {**_GPT, "multi_query": True}),
    "gemma": ("GemmaConfig", HEADS),
    "olmo": ("OlmoConfig", _WIDTHS),
    "cohere": ("CohereConfig", {**_WIDTHS, "logit_scale": 0.25}),
    "falcon": (
        "FalconConfig",
        {
            "vocab_size": 259,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "multi_query": True,
            "alibi": False,
            "new_decoder_architecture": False,
            "max_position_embeddings": WINDOW,
        },
    ),
    "gpt2": ("GPT2Config", _GPT),
    "opt": (
        "OPTConfig",
        {
            "vocab_size": 259,
            "hidden_size": 64,
            "ffn_dim": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": WINDOW,
            "word_embed_proj_dim": 64,
        },
    ),
    "bloom": ("BloomConfig", {"vocab_size": 259, "hidden_size": 64, "n_layer": 2, "n_head": 2}),
    "granitemoehybrid": (
        "GraniteMoeHybridConfig",
        {
            **_WIDTHS,
            **_MIXTURE,
            **_MAMBA,
            "num_hidden_layers": 4,
            "shared_intermediate_size": 64,
            "layer_types": ["mamba", "mamba", "mamba", "attention"],
            "attention_multiplier": 0.25,
            "position_embedding_type": "nope",
        },
    ),
}
"""Exported with transformers 5.5.4, which optimum-intel 2.2.0 brings."""

OLDER: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "5.2.0": {
        "lfm2": (
            "Lfm2Config",
            {**_WIDTHS, "num_hidden_layers": 4, "layer_types": _CONVS, "block_auto_adjust_ff_dim": False},
        ),
        "lfm2_moe": (
            "Lfm2MoeConfig",
            {**_WIDTHS, **EXPERTS, "num_hidden_layers": 4, "layer_types": _CONVS, "num_dense_layers": 1},
        ),
        "qwen3_5_text": ("Qwen3_5TextConfig", {**FOUR, **DELTA}),
    },
    "5.0.0": {
        "gemma2": ("Gemma2Config", {**HEADS, **SLIDING, "query_pre_attn_scalar": 32}),
        "gemma3_text": ("Gemma3TextConfig", {**HEADS, **SLIDING, "query_pre_attn_scalar": 32}),
        "gemma3n_text": (
            "Gemma3nTextConfig",
            {**SHARED, "activation_sparsity_pattern": [0.95, 0.95, 0.0, 0.0], "laurel_rank": 16},
        ),
    },
    "4.57.6": {
        "llama4_text": (
            "Llama4TextConfig",
            {
                **HEADS,
                "intermediate_size_mlp": 64,
                "num_local_experts": 4,
                "num_experts_per_tok": 1,
                "interleave_moe_layer_step": 1,
                "attention_chunk_size": 256,
                "use_qk_norm": True,
                "no_rope_layers": [1, 0],
                "attn_temperature_tuning": True,
            },
        ),
        "glm": ("GlmConfig", {**HEADS, "partial_rotary_factor": 0.5}),
        "exaone4": ("Exaone4Config", {**HEADS, **SLIDING}),
        "qwen3_next": ("Qwen3NextConfig", {**FOUR, **EXPERTS, **DELTA, "shared_expert_intermediate_size": 32}),
        "codegen": ("CodeGenConfig", {**_GPT, "n_ctx": WINDOW, "rotary_dim": 16}),
        "gptj": ("GPTJConfig", {**_GPT, "rotary_dim": 16}),
    },
}
"""By the transformers that these need."""

CONFIGS = PLAIN | {name: config for configs in OLDER.values() for name, config in configs.items()}
