"""An engine of a reasoning model, and its template."""

from __future__ import annotations

from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import FakeTokenizer
from crossette.types import GenerationRequest

TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}:{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>"
    "{% endif %}{{ m['content'] }}]{% endfor %}[assistant:"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
)


class ReasoningEngine:
    """An engine whose output the test defines, with `</think>` as one token. It records its prompts."""

    def __init__(
        self, output: str, template: str = TEMPLATE, special_tokens: tuple[str, ...] = ("<think>", "</think>")
    ) -> None:
        self.prompts: list[str] = []
        self._tokenizer = FakeTokenizer(extra_specials=special_tokens)
        self._output = self._tokenizer.encode(output, specials=True)
        self.engine = FakeEngine(self._say, tokenizer=self._tokenizer, chat_template=template)

    def _say(self, request: GenerationRequest, index: int) -> list[int]:
        self.prompts.append(b"".join(map(self._tokenizer.token_text, request.prompt)).decode())
        return self._output
