"""How models that were trained to fill a gap are shown one: the text before it and the text behind it, with marks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FimFormat:
    """The marks of a family of models. Each must be a single token of the vocabulary."""

    prefix: str
    """Stands before the text before the gap."""
    suffix: str
    """Stands before the text behind the gap."""
    middle: str = ""
    """Stands at the end, where the model goes on; "" where it needs no mark."""
    suffix_first: bool = False
    ends: tuple[str, ...] = ()
    """Tokens that end the filling, beside the model's end tokens. Not every vocabulary has them."""

    @property
    def marks(self) -> tuple[str, ...]:
        return tuple(mark for mark in (self.prefix, self.suffix, self.middle) if mark)

    def prompt(self, before: str, behind: str) -> str:
        """The gap as the model knows it."""
        pieces = [self.prefix + before, self.suffix + behind]
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
    # Code Llama, whose marks were learnt with the space that SentencePiece writes so
    FimFormat("▁<PRE>", "▁<SUF>", "▁<MID>", ends=("▁<EOT>",)),
    # DeepSeek: the hole stands where the suffix begins
    FimFormat("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # noqa: RUF001
    # Codestral
    FimFormat("[PREFIX]", "[SUFFIX]", suffix_first=True),
)


def fim_format(is_token: Callable[[str], bool]) -> FimFormat | None:
    """The format whose marks are tokens of a vocabulary; None for a model that was not trained to fill gaps."""
    return next((known for known in FORMATS if all(is_token(mark) for mark in known.marks)), None)
