"""Fill-in-the-middle prompts: the text before a gap and the text after it, with the tags of each family of models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FimFormat:
    """The tags of a family of models. Each must be a single token of the vocabulary."""

    prefix: str
    """The tag before the text before the gap."""
    suffix: str
    """The tag before the text after the gap."""
    middle: str = ""
    """The tag at the end, where the model continues; "" if there is none."""
    suffix_first: bool = False
    """Whether the text after the gap comes first."""
    ends: tuple[str, ...] = ()
    """Further end tokens, beside the model's own. Not every vocabulary has them."""

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(tag for tag in (self.prefix, self.suffix, self.middle) if tag)

    def prompt(self, before: str, after: str) -> str:
        """Render the prompt."""
        pieces = [self.prefix + before, self.suffix + after]
        return "".join(reversed(pieces) if self.suffix_first else pieces) + self.middle


FORMATS = (
    # Qwen, CodeGemma, Granite 4
    FimFormat(
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
        ends=("<|endoftext|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<|file_separator|>"),
    ),
    # StarCoder, Granite, and SantaCoder before them
    FimFormat(
        "<fim_prefix>",
        "<fim_suffix>",
        "<fim_middle>",
        ends=("<|endoftext|>", "<fim_pad>", "<repo_name>", "<file_sep>"),
    ),
    FimFormat("<fim-prefix>", "<fim-suffix>", "<fim-middle>", ends=("<|endoftext|>",)),
    # Code Llama, trained on tags with a leading space, which SentencePiece writes as ▁
    FimFormat("▁<PRE>", "▁<SUF>", "▁<MID>", ends=("▁<EOT>",)),
    # DeepSeek: the hole tag comes where the suffix begins
    FimFormat("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # noqa: RUF001
    # Codestral
    FimFormat("[PREFIX]", "[SUFFIX]", suffix_first=True),
)


def fim_format(is_token: Callable[[str], bool]) -> FimFormat | None:
    """The format whose tags are tokens of a vocabulary; None for a model without fill-in-the-middle."""
    return next((known for known in FORMATS if all(is_token(tag) for tag in known.tags)), None)
