"""Texts on which pre-tokenizers differ, and the file of their tokens by Hugging Face's tokenizers."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parents[1] / "data" / "splitters.json"

MORE_TOKENS, MORE_MERGES = ["12", "123", "1234"], ["1 2", "12 3", "123 4"]
"""Added to the default model's vocabulary, which has no token of several digits."""

TEXTS = (
    "Hello world! It's 2026, and they'll say I'D've known.",
    "HELLO'S WE'RE you'Re don'T",
    "1234567 12 3 100000.25 0x1F 1e-10 v2.0",
    "  two spaces   three\tTab\t\ttabs   ",
    "line\nline\n\n\nmore\r\nlines\r\n\r\n  indented\n    deeper\n",
    "def add(a, b):\n    return a + b  # sum\n\n\nclass Foo(Bar):\n\tpass\n",
    "if (x>=10 && y!=3) { z[i]++; } // done\n/* a/b */ http://a.b/c?d=e&f=g#h\n",
    "CamelCaseWords snake_case_words SCREAMING_CASE HTMLParser iPhone",
    "Grüße aus Köln, façade, naïve, Ångström, e\u0301te\u0301",
    "Привет, мир! Это тест 123.",
    "世界你好。日本語のテスト、한국어 시험",
    "שלום עולם مرحبا بالعالم १२३ ٤٥٦ ½ ² Ⅷ",
    "🎆 emoji 👨‍👩‍👧‍👦 flags 🇩🇪 done",
    "$100 = €90; 50% off @home #tag ^up ~about `code` |pipe|",
    "\u00a0no\u00a0break\u2003em\u3000wide",
    '{"a": [1, 2.5, null], "b": {"c": "d\\n"}}',
    "...!!!???---___***",
    " leading and trailing ",
    "\n",
    "a",
)
