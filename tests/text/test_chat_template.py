"""Messages to a prompt: the template's markup is markup, the messages' words are words, and nothing gets out."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.engines.fake import CHAT_TEMPLATE
from crossette.errors import InvalidRequest, ModelError
from crossette.text.chat_template import ChatTemplate, Message, Span

TRIMMING = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>{% endfor %}"


def user(content: Any, **fields: Any) -> Message:  # Any: whatever JSON can hold
    return {"role": "user", "content": content, **fields}


def test_a_conversation_is_rendered_up_to_where_the_assistant_speaks() -> None:
    template = ChatTemplate(CHAT_TEMPLATE)

    assert template.render([{"role": "system", "content": "Be brief."}, user("Hi")]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_templates_are_read_as_their_authors_wrote_them() -> None:
    """Block lines leave no line behind, loops can break, and the names that templates count on are there."""
    template = ChatTemplate(
        "{% for m in messages %}\n"
        "    {% if loop.index > 2 %}\n{% break %}\n{% endif %}\n"
        "{{ bos_token }}{{ m.content | tojson }}{{ eos_token }}\n"
        "{% endfor %}\n"
        "{{ enable_thinking }}{{ tools is defined }}",
        bos_token="<s>",
        eos_token="</s>",
    )

    rendered = template.render([user("<b> 'é'"), user({"a": 1}), user("no")], enable_thinking=True)

    assert rendered == "<s>\"<b> 'é'\"</s>\n" + '<s>{"a": 1}</s>\n' + "TrueFalse"


def test_the_date_is_there_for_templates_that_want_it() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", ChatTemplate("{{ strftime_now('%Y-%m-%d') }}").render([]))


@given(st.lists(st.text(), max_size=4))
def test_spans_are_the_prompt_and_the_words_are_no_markup(contents: list[str]) -> None:
    template = ChatTemplate(CHAT_TEMPLATE)
    messages = [user(content) for content in contents]

    spans = template.render_spans(messages)

    assert "".join(span.text for span in spans) == template.render(messages)
    assert [span.text for span in spans if not span.is_markup] == [c.strip() for c in contents if c.strip()]


@given(st.lists(st.text(), max_size=4))
def test_words_that_a_template_trims_are_still_told_apart(contents: list[str]) -> None:
    template = ChatTemplate(TRIMMING)
    messages = [user(content) for content in contents]

    spans = template.render_spans(messages)

    assert "".join(span.text for span in spans) == template.render(messages)
    assert [span.text for span in spans if not span.is_markup] == [c.strip() for c in contents if c.strip()]


def test_marks_are_characters_that_no_message_has() -> None:
    template = ChatTemplate(TRIMMING)

    assert template.render_spans([user("\ue000 \ue001")]) == [
        Span("<|user|>", is_markup=True),
        Span("\ue000 \ue001", is_markup=False),
        Span("<|end|>", is_markup=True),
    ]


def test_words_in_parts_and_in_other_fields_are_words_too() -> None:
    template = ChatTemplate(
        "{% for m in messages %}[{{ m.name }}]{% for p in m.content %}"
        "{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}{% endfor %}"
    )
    parts = [{"type": "text", "text": "one"}, {"type": "image", "text": "no"}, {"type": "text", "text": "two"}]

    spans = template.render_spans([user(parts, name="Ann")])

    assert [span.text for span in spans if not span.is_markup] == ["Ann", "one", "two"]


@pytest.mark.parametrize(
    "changes",
    [
        "{{ messages[0].content.split('b')[0] }}<|end|>",
        "{{ messages[0].content.split('b')[-1] }}<|end|>",
        "{{ messages[0].content[:3] }}<|end|>",
        "{{ messages[0].content[::-1] }}<|end|>",
        "{{ messages[0].content | length }}<|end|>",
        "{{ messages[0].content | replace('b<', '') }}<|end|>{{ messages[0].content | first }}",
    ],
)
def test_a_template_that_cuts_words_is_refused_where_they_must_be_told_apart(changes: str) -> None:
    with pytest.raises(InvalidRequest, match="this model's chat template rewrites messages") as raised:
        ChatTemplate(changes).render_spans([user("a <|end|> b <|end|>")])

    assert raised.value.param == "messages"


def test_a_template_that_refuses_is_quoted() -> None:
    template = ChatTemplate("{{ raise_exception('Roles must alternate user/assistant') }}")

    with pytest.raises(InvalidRequest, match="refused the messages: Roles must alternate user/assistant") as raised:
        template.render([user("Hi")])

    assert raised.value.param == "messages"


@pytest.mark.parametrize("template", ["{{ messages[9].content.x }}", "{{ 1 / 0 }}", "{{ messages[0].content + 1 }}"])
def test_whatever_a_template_raises_is_the_requests_error(template: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        ChatTemplate(template).render([user("Hi")])

    assert raised.value.param == "messages"


@pytest.mark.parametrize(
    "escape",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__['__builtins__']['open']('/etc/passwd').read() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ ('' | attr('__class__')).__mro__ }}",
        "{{ ('{0.__class__.__mro__}').format('') }}",
        "{% set x = messages.append({'role': 'user'}) %}",
        "{% set x = messages[0].update({'role': 'root'}) %}",
        "{% include '/etc/passwd' %}",
        "{{ range(10 ** 9) | list | length }}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(escape: str) -> None:
    messages = [{"role": "user", "content": "Hi"}]

    with pytest.raises(InvalidRequest):
        ChatTemplate(escape).render(messages)

    assert messages == [{"role": "user", "content": "Hi"}]


def test_what_is_in_a_message_is_never_run() -> None:
    template = ChatTemplate(TRIMMING)

    assert template.render([user("{{ 7 * 7 }}{% raw %}")]) == "<|user|>{{ 7 * 7 }}{% raw %}<|end|>"


def test_a_template_that_cannot_be_compiled_is_the_models_error() -> None:
    with pytest.raises(ModelError, match=r"chat template cannot be compiled: .*endfor"):
        ChatTemplate("{% for m in messages %}")
