"""Configurations of tiny image-text models of many families, as arguments of transformers' configuration classes."""

from __future__ import annotations

from typing import Any

from support.family_configs import DELTA, EXPERTS, FOUR, HEADS, SHARED, SLIDING

IMAGE_TOKEN = 257
"""A token that no prompt has."""

_SIGLIP = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_QWEN_VISION = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_heads": 2,
    "out_hidden_size": 64,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
_TOKENS = {"image_token_id": IMAGE_TOKEN, "tie_word_embeddings": False}
_QWEN_TOKENS = {
    **_TOKENS,
    "video_token_id": IMAGE_TOKEN,
    "vision_start_token_id": IMAGE_TOKEN,
    "vision_end_token_id": IMAGE_TOKEN,
}
_GEMMA_ROPE = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
}
_MROPE = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [8, 4, 4], "mrope_interleaved": True}
_GEMMA = {**HEADS, **SLIDING, "query_pre_attn_scalar": 32}
Config = tuple[str, dict[str, Any]]

IMAGE_TEXT: dict[str, dict[str, Config]] = {
    "5.5.4": {
        "gemma3": (
            "Gemma3Config",
            {
                "text_config": {**_GEMMA, "rope_parameters": _GEMMA_ROPE},
                "vision_config": _SIGLIP,
                "mm_tokens_per_image": 1,
                "image_token_index": IMAGE_TOKEN,
                "tie_word_embeddings": False,
            },
        ),
        "gemma4": (
            "Gemma4Config",
            {
                "text_config": {**SHARED, "global_head_dim": 64, "use_double_wide_mlp": True},
                "vision_config": {
                    "hidden_size": 32,
                    "intermediate_size": 32,
                    "num_hidden_layers": 1,
                    "num_attention_heads": 2,
                    "num_key_value_heads": 2,
                    "head_dim": 16,
                    "position_embedding_size": 64,
                },
                **_TOKENS,
            },
        ),
        "gemma4-moe": (
            "Gemma4Config",
            {
                "text_config": {
                    **HEADS,
                    **SLIDING,
                    "hidden_size_per_layer_input": 0,
                    "global_head_dim": 64,
                    "num_key_value_heads": 2,
                    "num_global_key_value_heads": 1,
                    "attention_k_eq_v": True,
                    "use_bidirectional_attention": "vision",
                    "enable_moe_block": True,
                    "num_experts": 4,
                    "top_k_experts": 2,
                    "moe_intermediate_size": 32,
                    "final_logit_softcapping": 30.0,
                },
                "vision_config": {
                    "hidden_size": 32,
                    "intermediate_size": 32,
                    "num_hidden_layers": 1,
                    "num_attention_heads": 2,
                    "num_key_value_heads": 2,
                    "head_dim": 16,
                    "position_embedding_size": 64,
                },
                **_TOKENS,
            },
        ),
        "mistral3": (
            "Mistral3Config",
            {
                "text_config": {"model_type": "mistral", **HEADS, "sliding_window": None},
                "vision_config": {"model_type": "pixtral", **_SIGLIP, "head_dim": 16},
                "image_token_index": IMAGE_TOKEN,
                "tie_word_embeddings": False,
            },
        ),
        "llava": (
            "LlavaConfig",
            {
                "text_config": {"model_type": "llama", **HEADS},
                "vision_config": {"model_type": "clip_vision_model", **_SIGLIP},
                "image_token_index": IMAGE_TOKEN,
                "tie_word_embeddings": False,
            },
        ),
    },
    "5.2.0": {
        "qwen3_5": (
            "Qwen3_5Config",
            {
                "text_config": {**FOUR, **DELTA, "rope_parameters": {**_MROPE, "partial_rotary_factor": 1.0}},
                "vision_config": {**_QWEN_VISION, "num_position_embeddings": 16},
                **_QWEN_TOKENS,
            },
        ),
        "qwen3_5_moe": (
            "Qwen3_5MoeConfig",
            {
                "text_config": {
                    **FOUR,
                    **DELTA,
                    **EXPERTS,
                    "shared_expert_intermediate_size": 32,
                    "rope_parameters": {**_MROPE, "partial_rotary_factor": 1.0},
                },
                "vision_config": {**_QWEN_VISION, "num_position_embeddings": 16},
                **_QWEN_TOKENS,
            },
        ),
    },
    "5.0.0": {
        "gemma3n": (
            "Gemma3nConfig",
            {
                "text_config": {
                    **SHARED,
                    "activation_sparsity_pattern": [0.95, 0.95, 0.0, 0.0],
                    "laurel_rank": 16,
                },
                "vision_config": {"vocab_size": 2},
                "audio_config": {
                    "vocab_size": 2,
                    "hidden_size": 32,
                    "conf_num_hidden_layers": 1,
                    "conf_num_attention_heads": 2,
                },
                **_TOKENS,
            },
        ),
        "qwen3_vl": (
            "Qwen3VLConfig",
            {
                "text_config": {**HEADS, "rope_parameters": _MROPE},
                "vision_config": {**_QWEN_VISION, "deepstack_visual_indexes": [0], "num_position_embeddings": 16},
                **_QWEN_TOKENS,
            },
        ),
        "qwen2_5_vl": (
            "Qwen2_5_VLConfig",
            {
                "text_config": {**HEADS, "rope_parameters": {**_MROPE, "mrope_section": [4, 6, 6]}},
                "vision_config": {**_QWEN_VISION, "window_size": 28, "fullatt_block_indexes": [0]},
                **_QWEN_TOKENS,
            },
        ),
    },
    "4.57.6": {
        "llama4": (
            "Llama4Config",
            {
                "text_config": {
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
                "vision_config": {
                    **_SIGLIP,
                    "intermediate_size": 128,
                    "projector_input_dim": 32,
                    "projector_output_dim": 32,
                    "vision_output_dim": 32,
                },
                "image_token_index": IMAGE_TOKEN,
                "tie_word_embeddings": False,
            },
        ),
    },
}
"""By the transformers that these are exported with."""

IMAGE_TEXT_CONFIGS = {name: config for configs in IMAGE_TEXT.values() for name, config in configs.items()}
