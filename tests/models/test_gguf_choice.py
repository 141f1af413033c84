"""The GGUF file that is taken of a repository with several."""

from __future__ import annotations

import pytest

from crossette.models.gguf_choice import choose_gguf, quantization_of


@pytest.mark.parametrize(
    ("file", "quantization"),
    [
        ("Qwen3-0.6B-Q8_0.gguf", "Q8_0"),
        ("qwen2.5-0.5b-instruct-q4_k_m.gguf", "Q4_K_M"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("BF16/m-BF16-00001-of-00002.gguf", "BF16"),
        ("m-UD-IQ2_XXS.gguf", "IQ2_XXS"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("Qwen3.gguf", None),
    ],
)
def test_the_quantisation_is_read_from_the_name(file: str, quantization: str | None) -> None:
    assert quantization_of(file) == quantization


@pytest.mark.parametrize(
    ("files", "wanted", "taken"),
    [
        (["m-Q8_0.gguf", "m-Q4_K_M.gguf", "m-Q2_K.gguf"], None, "m-Q4_K_M.gguf"),
        (["m-F16.gguf", "m-Q8_0.gguf"], None, "m-Q8_0.gguf"),
        (["m-Q8_0.gguf", "m-Q2_K.gguf"], "q2_k", "m-Q2_K.gguf"),
        (["mmproj-F16.gguf", "m.imatrix.gguf", "m.gguf"], None, "m.gguf"),
        (["m-Q4_K_M-00001-of-00002.gguf", "m-Q4_K_M-00002-of-00002.gguf", "m-Q4_0.gguf"], None, "m-Q4_0.gguf"),
    ],
)
def test_the_first_of_the_order_or_the_wanted_one_is_taken(files: list[str], wanted: str | None, taken: str) -> None:
    assert choose_gguf(dict.fromkeys(files, 5), wanted) == taken


@pytest.mark.parametrize(
    ("files", "wanted", "reason"),
    [
        (["a-Q4_0.gguf", "b-Q4_0.gguf"], None, r"several of its files are Q4_0\. Its GGUF files: a-Q4_0\.gguf \("),
        (["a-Q2_K.gguf", "b-Q3_K.gguf"], None, "do not tell which one is usual"),
        (["m-Q8_0.gguf"], "Q4_0", "none of its files is Q4_0"),
        (["m-Q8_0-00001-of-00002.gguf"], None, "joined with llama-gguf-split first.*none in one piece"),
        (["m-Q8_0-00001-of-00002.gguf", "m-Q4_0.gguf"], "Q8_0", "joined with llama-gguf-split first.*m-Q4_0"),
        ([], "Q8_0", "none of its files is Q8_0"),
    ],
)
def test_without_one_file_the_choices_are_listed(files: list[str], wanted: str | None, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        choose_gguf(dict.fromkeys(files), wanted)
