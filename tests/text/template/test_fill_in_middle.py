"""Fill-in-the-middle prompts of each family of models."""

from __future__ import annotations

import pytest

from crossette.text.template.fill_in_middle import FORMATS, fim_format

FAMILIES = {
    "Qwen": ("<|fim_prefix|>A<|fim_suffix|>B<|fim_middle|>", ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")),
    "StarCoder": ("<fim_prefix>A<fim_suffix>B<fim_middle>", ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")),
    "SantaCoder": ("<fim-prefix>A<fim-suffix>B<fim-middle>", ("<fim-prefix>", "<fim-suffix>", "<fim-middle>")),
    "Code Llama": ("▁<PRE>A▁<SUF>B▁<MID>", ("▁<PRE>", "▁<SUF>", "▁<MID>")),
    "DeepSeek": (
        "<\uff5cfim▁begin\uff5c>A<\uff5cfim▁hole\uff5c>B<\uff5cfim▁end\uff5c>",
        ("<\uff5cfim▁begin\uff5c>", "<\uff5cfim▁hole\uff5c>", "<\uff5cfim▁end\uff5c>"),
    ),
    "Codestral": ("[SUFFIX]B[PREFIX]A", ("[PREFIX]", "[SUFFIX]", "[MIDDLE]")),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_vocabulary_identifies_the_family_and_its_prompt(family: str) -> None:
    prompt, vocabulary = FAMILIES[family]

    found = fim_format({"<|endoftext|>", "the", *vocabulary}.__contains__)

    assert found is not None
    assert found.prompt("A", "B") == prompt


@pytest.mark.parametrize("vocabulary", [set(), {"<fim_prefix>", "<fim_suffix>"}, {"[PREFIX]"}])
def test_a_vocabulary_without_all_tags_of_a_family_has_no_format(vocabulary: set[str]) -> None:
    assert fim_format(vocabulary.__contains__) is None


def test_no_two_families_share_a_tag() -> None:
    tags = [tag for known in FORMATS for tag in known.tags]

    assert len(tags) == len(set(tags))
